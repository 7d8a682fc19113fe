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
        &["multicluster", "uninstall"],
        &["multicluster", "allow", "--service-account-name", "west"],
        &["multicluster", "export", "web"],
        &["multicluster", "unexport", "web"],
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

/// What is wrong with the words themselves is said before anything is asked of a cluster.
#[tokio::test]
async fn values_that_cannot_be_are_mistakes_in_usage() {
    let long = "x".repeat(41);
    let link = ["multicluster", "link", "--cluster-name"];
    let named = |name: &'static str| [&link[..], &[name]].concat();
    let east = |flag: &'static str| [&link[..], &["east", flag]].concat();
    for (args, word) in [
        (named("East"), "lower-case"),
        (named("a.b"), "lower-case"),
        (named(""), "--cluster-name"),
        (named("federated"), "federated services"),
        ([&link[..], &[long.as_str()]].concat(), "suffix"),
        (east("--api-server-address=http://east"), "in clear text"),
        (east("--gateway-addresses=192.0.2.1:4143"), "without ports"),
        (east("--gateway-port=70000"), "--gateway-port"),
        (east("--excluded-labels=a/b/c"), "PREFIX/*"),
        (east("--namespace=Mine"), "lower-case"),
        (vec!["multicluster", "gateways", "--wait=soon"], "30s"),
        (vec!["multicluster", "export", "pod/web"], "lower-case"),
        (vec!["multicluster", "export"], "<SERVICE>"),
        (vec!["multicluster", "unlink"], "--cluster-name"),
        (vec!["multicluster", "allow"], "--service-account-name"),
        (vec!["multicluster", "check", "-o", "yaml"], "short"),
    ] {
        let said = mesh(&args).await;
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(word), "{args:?}: {}", said.err);
        assert_eq!(said.out, "");
    }
}

#[tokio::test]
async fn what_is_said_of_a_gateway_that_is_not_wanted_is_refused() {
    let link = [
        "multicluster",
        "link-gen",
        "--cluster-name=east",
        "--gateway=false",
    ];
    for flag in [
        "--selector=a=b",
        "--gateway-addresses=192.0.2.1",
        "--gateway-port=1",
    ] {
        let said = mesh(&[&link[..], &[flag]].concat()).await;
        said.fails_with(&[flag.split('=').next().unwrap(), "--gateway=false"]);
    }
    let said = mesh(&[
        "multicluster",
        "link",
        "--cluster-name=east",
        "-l",
        "a in b",
    ])
    .await;
    said.fails_with(&["--selector", "KEY in (A,B)"]);
}

#[tokio::test]
async fn no_token_is_linked_with_that_would_be_sent_in_the_clear() {
    let files = Files::new();
    let secure = dead(&files);
    let text = std::fs::read_to_string(&secure).unwrap();
    let plain = files.file("plain", &text.replace("https:", "http:"));
    let link = ["multicluster", "link-gen", "--cluster-name=east"];
    let given = "--api-addr=http://127.0.0.1:1";
    for (kubeconfig, flags) in [(&plain, &[][..]), (&secure, &[given])] {
        let said = mesh(&[&["--kubeconfig", kubeconfig], &link[..], flags].concat()).await;
        said.fails_with(&[
            "http://127.0.0.1:1",
            "the link's token would be sent there in clear text",
            "--api-server-address=https://",
        ]);
        // With an address that will do it goes on, to what cannot be reached here.
        let better = [flags, &["--api-server-address=https://east:6443"]].concat();
        let said = mesh(&[&["--kubeconfig", kubeconfig], &link[..], &better].concat()).await;
        said.fails_with(&["cannot be reached"]);
    }
}

/// It accepts connections, and says nothing.
#[tokio::test]
async fn an_api_server_that_does_not_answer_is_told() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let files = Files::new();
    let text = std::fs::read_to_string(dead(&files)).unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let kubeconfig = files.file("silent", &text.replace("127.0.0.1:1", &addr));
    for verb in [
        &["multicluster", "gateways"][..],
        &["multicluster", "export", "web"],
        &["install"],
    ] {
        let said = mesh(&[&["--kubeconfig", &kubeconfig], verb].concat()).await;
        said.fails_with(&["cannot be reached"]);
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
