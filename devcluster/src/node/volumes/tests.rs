//! What ends up in a volume's folder.

use std::net::Ipv4Addr;

use super::*;
use serde_json::{Value, json};

fn build(volume: Value) -> Result<Files, VolumeError> {
    let volume: Volume = serde_json::from_value(volume).unwrap();
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    let facts = Facts {
        pod: &pod,
        ip: Ipv4Addr::new(127, 1, 0, 2),
        node_ip: Ipv4Addr::new(127, 1, 0, 1),
        node_name: "n",
    };
    let mut sources = Sources::default();
    let cm = json!({"data": {"a": "1", "b": "2"}});
    sources.put_config_map("cm", serde_json::from_value(cm).unwrap());
    let secret = json!({"data": {"k": "aHVzaA=="}});
    sources.put_secret("s", serde_json::from_value(secret).unwrap());
    let mut tokens = Tokens::default();
    let token = Token {
        text: "t0k3n".into(),
        refresh: i64::MAX,
    };
    tokens.0.insert(("identity.l5d.io".into(), 86400), token);
    contents(&volume, facts, &sources, &tokens)
}

fn names(files: &Files) -> Vec<(&str, &str, bool)> {
    let entries = files.as_ref().unwrap().iter();
    entries
        .map(|(p, d)| {
            (
                p.to_str().unwrap(),
                std::str::from_utf8(&d.bytes).unwrap(),
                d.exec,
            )
        })
        .collect()
}

#[test]
fn what_is_to_be_in_memory_is_bounded_as_it_says() {
    let asked = |empty: serde_json::Value| {
        in_memory(&serde_json::from_value(json!({"name": "v", "emptyDir": empty})).unwrap())
    };
    assert_eq!(asked(json!({})), None);
    assert_eq!(asked(json!({"sizeLimit": "1Mi"})), None);
    assert_eq!(asked(json!({"medium": "Memory"})), Some(None));
    let table = [
        ("1Mi", Some(1 << 20)),
        ("100", Some(100)),
        ("1500m", Some(2)),
        ("0", None),
    ];
    for (limit, bytes) in table {
        let empty = json!({"medium": "Memory", "sizeLimit": limit});
        assert_eq!(asked(empty), Some(bytes), "{limit}");
    }
}

#[test]
fn config_maps_secrets_and_projections_become_files() {
    let whole = build(json!({"name": "v", "configMap": {"name": "cm"}})).unwrap();
    assert_eq!(names(&whole), [("a", "1", false), ("b", "2", false)]);
    let some = build(
        json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 0o755,
        "items": [{"key": "b", "path": "x/y"}]}}),
    );
    assert_eq!(names(&some.unwrap()), [("x/y", "2", true)]);
    let projected = build(json!({"name": "v", "projected": {"sources": [
        {"serviceAccountToken": {"path": "tok", "audience": "identity.l5d.io", "expirationSeconds": 86400}},
        {"secret": {"name": "s"}},
        {"configMap": {"name": "absent", "optional": true}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}));
    assert_eq!(
        names(&projected.unwrap()),
        [
            ("k", "hush", false),
            ("name", "p", false),
            ("tok", "t0k3n", false)
        ]
    );
    assert_eq!(build(json!({"name": "v", "emptyDir": {}})).unwrap(), None);
}

#[test]
fn what_cannot_be_shown_is_named() {
    let table = [
        (
            json!({"hostPath": {"path": "/etc"}}),
            "hostPath is not supported",
        ),
        (
            json!({"persistentVolumeClaim": {"claimName": "x"}}),
            "persistentVolumeClaim is not",
        ),
        (
            json!({"configMap": {"name": "no"}}),
            "ConfigMap \"no\" not found",
        ),
        (
            json!({"configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}),
            "no key \"z\"",
        ),
        (
            json!({"configMap": {"name": "cm", "items": [{"key": "a", "path": "../z"}]}}),
            "leads out",
        ),
        (
            json!({"configMap": {"name": "cm", "items": [{"key": "a", "path": "/z"}]}}),
            "leads out",
        ),
        (
            json!({"secret": {"secretName": "no"}}),
            "Secret \"no\" not found",
        ),
    ];
    for (mut volume, expected) in table {
        volume["name"] = json!("v");
        let error = build(volume).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("\"v\""),
            "{error}"
        );
    }
}

#[test]
fn a_folder_follows_its_contents_and_leaves_unchanged_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("v");
    let file = |text: &str| FileData {
        bytes: text.into(),
        exec: false,
    };
    let files = |list: &[(&str, &str)]| {
        Some(
            list.iter()
                .map(|(p, t)| (PathBuf::from(p), file(t)))
                .collect(),
        )
    };
    write(
        &folder,
        &files(&[("a", "1"), ("sub/b", "2")]),
        Readers::Owner,
    )
    .unwrap();
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(folder.join(name)).unwrap());
    assert_eq!(
        fs::metadata(folder.join("a")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let before = inode("a");
    write(&folder, &files(&[("a", "1"), ("c", "3")]), Readers::Owner).unwrap();
    assert_eq!(inode("a"), before);
    assert_eq!(fs::read_to_string(folder.join("c")).unwrap(), "3");
    assert!(!folder.join("sub/b").exists());
    write(&folder, &None, Readers::Owner).unwrap();
    assert!(folder.join("a").exists());
}
