//! Finding, without building.

use super::*;

#[test]
fn the_release_built_is_the_one_the_module_file_requires() {
    assert!(release().starts_with("v1."), "{}", release());
    assert!(build::release(Program::Etcd).starts_with("v3."));
}

#[test]
fn a_folder_that_lacks_a_program_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("etcd"), "").unwrap();
    let found = in_folder(folder.path(), Program::Etcd).unwrap();
    assert_eq!(found, folder.path().join("etcd"));
    let error = in_folder(folder.path(), Program::ApiServer).unwrap_err();
    assert!(
        error.to_string().contains("has no kube-apiserver"),
        "{error}"
    );
}

#[test]
fn what_is_in_the_cache_is_not_built_again() {
    let cache = tempfile::tempdir().unwrap();
    let kubectl = cache.path().join("kubectl");
    std::fs::write(&kubectl, "").unwrap();
    assert_eq!(
        build::built(Program::Kubectl, cache.path()).unwrap(),
        kubectl
    );
}
