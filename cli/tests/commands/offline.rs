//! Commands that meet no cluster, or none that answers: the cause, the next step, exit code 1.

use crate::sandbox::{Files, documents, mesh};

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web}, \
                   spec: {containers: [{name: web, image: web}]}}";

/// A kubeconfig whose server nobody listens at.
fn dead(files: &Files) -> String {
    let text = "{apiVersion: v1, kind: Config, current-context: dead, \
                clusters: [{name: dead, cluster: {server: 'https://127.0.0.1:1'}}], \
                users: [{name: u, user: {token: t}}], \
                contexts: [{name: dead, context: {cluster: dead, user: u}}]}";
    files.file("dead", text)
}

#[tokio::test]
async fn an_api_server_that_cannot_be_reached_is_told() {
    let files = Files::new();
    let (kubeconfig, pod) = (dead(&files), files.file("web.yaml", POD));
    for verb in [
        &["inject", pod.as_str()][..],
        &["install"],
        &["multicluster", "install"],
        &["multicluster", "link", "--cluster-name", "east"],
        &["multicluster", "unlink", "--cluster-name", "east"],
        &["multicluster", "gateways"],
        &[
            "diagnostics",
            "endpoints",
            "web.default.svc.cluster.local:80",
        ],
        &["diagnostics", "policy", "po/web", "80"],
    ] {
        let said = mesh(&[&["--kubeconfig", &kubeconfig], verb].concat()).await;
        let next = "check the address in the kubeconfig";
        said.fails_with(&["cannot be reached", next, "Connection refused"]);
    }
}

#[tokio::test]
async fn a_check_of_what_cannot_be_reached_fails() {
    let files = Files::new();
    let said = mesh(&["--kubeconfig", &dead(&files), "multicluster", "check"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("cannot be reached") && said.out.contains("remedy:"));
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let files = Files::new();
    let (pod, dead) = (files.file("web.yaml", POD), dead(&files));
    let malformed = files.file("malformed", "clusters: [");
    for verb in [
        &["inject", pod.as_str()][..],
        &["install"],
        &["multicluster", "install"],
        &["multicluster", "link", "--cluster-name", "east"],
        &["multicluster", "gateways"],
    ] {
        let with = |args: &[&str]| [args, verb].concat().join("\u{0}");
        let run = async |args: String| mesh(&args.split('\u{0}').collect::<Vec<_>>()).await;
        let said = run(with(&["--kubeconfig", &malformed])).await;
        said.fails_with(&[&malformed, "--kubeconfig"]);
        let missing = files.path("missing").to_str().unwrap().to_owned();
        let said = run(with(&["--kubeconfig", &missing])).await;
        said.fails_with(&[&missing, "No such file"]);
        let said = run(with(&["--kubeconfig", &dead, "--context", "nope"])).await;
        said.fails_with(&["\"nope\"", "the kubeconfig has: dead"]);
    }
    mesh(&["inject", &pod])
        .await
        .fails_with(&["--kubeconfig", "$KUBECONFIG", "~/.kube/config"]);
}

#[tokio::test]
async fn an_input_that_is_no_manifest_is_named() {
    let files = Files::new();
    let dead = dead(&files);
    let inject = async |path: &str| mesh(&["--kubeconfig", &dead, "inject", path]).await;
    let missing = files.path("missing.yaml").to_str().unwrap().to_owned();
    inject(&missing)
        .await
        .fails_with(&["missing.yaml", "No such file"]);
    let garbage = files.file("garbage.yaml", "a: [");
    inject(&garbage)
        .await
        .fails_with(&["garbage.yaml", "not YAML"]);
    let empty = files.file("empty.yaml", "");
    inject(&empty)
        .await
        .fails_with(&["empty.yaml", "no manifest"]);
}

#[tokio::test]
async fn a_cluster_name_that_cannot_be_a_suffix_is_refused_before_anything_is_asked() {
    for name in ["East", "a.b", "", &"x".repeat(41)] {
        let said = mesh(&["multicluster", "link", "--cluster-name", name]).await;
        said.fails_with(&["--cluster-name", "use "]);
    }
}

#[tokio::test]
async fn what_needs_no_cluster_asks_for_none() {
    let version = mesh(&["version", "--client", "--short"]).await.out();
    assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));
    let json = mesh(&["version", "--client", "-o", "json"]).await.out();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"client": env!("CARGO_PKG_VERSION")})
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = mesh(&["completion", shell]).await.out();
        assert!(script.contains("multicluster"), "{shell}");
    }
    documents(&mesh(&["install"]).await.out());
    documents(&mesh(&["install", "--crds"]).await.out());
}

#[tokio::test]
async fn a_word_that_is_none_is_a_mistake_in_usage() {
    let said = mesh(&["instal"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("install"),
        "a similar word is offered: {}",
        said.err
    );
}
