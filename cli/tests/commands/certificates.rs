//! Trust anchors and issuers given to `mesh install` are checked before anything is printed.

use crate::sandbox::{Files, documents, mesh};
use mesh_tls::ca::Anchor;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A trust root's files: anchor, issuer certificate, issuer key.
fn root(files: &Files, name: &str) -> [String; 3] {
    let anchor = Anchor::generate(name, YEAR).unwrap();
    let issuer = anchor.issuer("issuer", YEAR).unwrap();
    [
        files.file(&format!("{name}.anchor"), &anchor.cert_pem()),
        files.file(&format!("{name}.crt"), &issuer.cert_pem()),
        files.file(&format!("{name}.key"), &issuer.key_pem()),
    ]
}

async fn install(anchors: &str, certificate: &str, key: &str) -> crate::sandbox::Said {
    mesh(&[
        "install",
        "--identity-trust-anchors-file",
        anchors,
        "--identity-issuer-certificate-file",
        certificate,
        "--identity-issuer-key-file",
        key,
    ])
    .await
}

#[tokio::test]
async fn certificates_that_fit_are_installed_and_the_key_is_in_the_secret_only() {
    let files = Files::new();
    let [anchor, certificate, key] = root(&files, "ours");
    let text = install(&anchor, &certificate, &key).await.out();
    let documents = documents(&text);
    let key = std::fs::read_to_string(key).unwrap();
    let holders: Vec<_> = documents
        .iter()
        .filter(|d| d.to_string().contains(key.lines().nth(1).unwrap()))
        .map(|d| format!("{}/{}", d["kind"], d["metadata"]["name"]).replace('"', ""))
        .collect();
    assert_eq!(holders, ["Secret/linkerd-identity-issuer"]);
    let roots = documents
        .iter()
        .find(|d| d["metadata"]["name"] == "linkerd-identity-trust-roots")
        .unwrap();
    assert_eq!(
        roots["data"]["ca-bundle.crt"].as_str().unwrap().trim(),
        std::fs::read_to_string(anchor).unwrap().trim()
    );
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused() {
    let files = Files::new();
    let [anchor, certificate, key] = root(&files, "ours");
    let [their_anchor, _, their_key] = root(&files, "theirs");
    let said = install(&anchor, &certificate, &their_key).await;
    said.fails_with(&["certificate and key", "key"]);
    let said = install(&their_anchor, &certificate, &key).await;
    said.fails_with(&["not signed by the trust anchors"]);
    let garbage = files.file("garbage", "garbage");
    install(&garbage, &certificate, &key)
        .await
        .fails_with(&["trust anchors", "PEM"]);
    install(&anchor, &garbage, &key)
        .await
        .fails_with(&["issuer"]);
    install(&anchor, &certificate, &garbage)
        .await
        .fails_with(&["issuer"]);
    for (missing, flag) in [
        (
            ["none", &certificate, &key],
            "--identity-trust-anchors-file",
        ),
        (
            [&anchor, "none", &key],
            "--identity-issuer-certificate-file",
        ),
        (
            [&anchor, &certificate, "none"],
            "--identity-issuer-key-file",
        ),
    ] {
        let said = install(missing[0], missing[1], missing[2]).await;
        said.fails_with(&["cannot read none", flag, "No such file"]);
    }
}

#[tokio::test]
async fn half_a_trust_root_is_refused_with_what_is_missing() {
    let files = Files::new();
    let [anchor, certificate, key] = root(&files, "ours");
    let said = mesh(&["install", "--identity-trust-anchors-file", &anchor]).await;
    said.fails_with(&[
        "--identity-issuer-certificate-file",
        "--identity-issuer-key-file",
    ]);
    let issuer = [
        "install",
        "--identity-issuer-certificate-file",
        &certificate,
        "--identity-issuer-key-file",
        &key,
    ];
    mesh(&issuer)
        .await
        .fails_with(&["--identity-trust-anchors-file"]);
    let said = mesh(&["install", "--identity-issuer-key-file", &key]).await;
    assert_eq!(said.code, Some(2), "a mistake in usage");
    assert!(
        said.err.contains("--identity-issuer-certificate-file"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn values_that_cannot_be_used_are_named() {
    let files = Files::new();
    let said = mesh(&["install", "--set", "controllerReplicas"]).await;
    said.fails_with(&["controllerReplicas", "KEY=VALUE"]);
    let said = mesh(&["install", "--set", "controllerReplicas=many"]).await;
    said.fails_with(&["wrong type"]);
    let said = mesh(&["install", "-f", &files.file("values.yaml", "a: [")]).await;
    said.fails_with(&["values.yaml", "not YAML"]);
}
