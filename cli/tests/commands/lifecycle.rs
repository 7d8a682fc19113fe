//! Upgrade and uninstall: what is there is kept, or found.

use crate::sandbox::{Cluster, Files, documents, mesh};
use mesh_tls::ca::Anchor;
use serde_json::{Value, json};
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) fn find(text: &str, kind: &str, name: &str) -> Value {
    let mut documents = documents(text).into_iter();
    documents
        .find(|d| d["kind"] == kind && d["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind}/{name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_trust_and_what_was_given() {
    let cluster = Cluster::start("west").await;
    let said = cluster.mesh(&["upgrade"]).await;
    said.fails_with(&["no control plane", "mesh install"]);
    let install = ["install", "--ha", "--set", "proxy.logLevel=debug"];
    let installed = cluster.mesh(&install).await.out();
    cluster.apply(&installed).await;
    let upgraded = cluster.mesh(&["upgrade"]).await.out();
    for (kind, name, path) in [
        ("ConfigMap", "linkerd-identity-trust-roots", "/data"),
        ("Secret", "linkerd-identity-issuer", "/stringData"),
        ("ConfigMap", "linkerd-config", "/data"),
        ("Secret", "linkerd-config-overrides", "/stringData"),
        ("Deployment", "linkerd-destination", "/spec"),
    ] {
        let [before, after] = [&installed, &upgraded].map(|text| {
            let found = find(text, kind, name);
            found.pointer(path).cloned()
        });
        assert_eq!(before, after, "{kind}/{name}");
    }
    cluster.apply(&upgraded).await;

    let changed = ["upgrade", "--set", "proxy.logLevel=info"];
    let changed = cluster.mesh(&changed).await.out();
    let given = find(&changed, "Secret", "linkerd-config-overrides").to_string();
    assert!(given.contains("logLevel: info"), "{given}");
    assert!(!given.contains("PRIVATE KEY"), "{given}");
    let fresh = cluster.mesh(&["upgrade", "--reset-values"]).await.out();
    let config = find(&fresh, "ConfigMap", "linkerd-config").to_string();
    assert!(config.contains("controllerReplicas: 1"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_takes_a_new_issuer_of_the_same_root_and_no_other() {
    let (cluster, files) = (Cluster::start("west").await, Files::new());
    let anchor = Anchor::generate("ours", YEAR).unwrap();
    let issuer = |name: &str, anchor: &Anchor| {
        let issuer = anchor.issuer(name, YEAR).unwrap();
        [
            files.file(&format!("{name}.crt"), &issuer.cert_pem()),
            files.file(&format!("{name}.key"), &issuer.key_pem()),
        ]
    };
    let root = files.file("root", &anchor.cert_pem());
    let [crt, key] = issuer("first", &anchor);
    let issued = |verb: &str, crt: &str, key: &str| {
        let flags = [
            "--identity-issuer-certificate-file",
            crt,
            "--identity-issuer-key-file",
            key,
        ];
        let all = std::iter::once(verb).chain(flags);
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut install = issued("install", &crt, &key);
    install.extend(["--identity-trust-anchors-file".to_owned(), root]);
    let run = async |args: &[String]| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        cluster.mesh(&args).await
    };
    cluster.apply(&run(&install).await.out()).await;

    let [crt, key] = issuer("second", &anchor);
    let renewed = run(&issued("upgrade", &crt, &key)).await.out();
    let secret = find(&renewed, "Secret", "linkerd-identity-issuer");
    let expected = std::fs::read_to_string(&crt).unwrap();
    assert_eq!(secret["stringData"]["crt.pem"], expected);

    let other = Anchor::generate("theirs", YEAR).unwrap();
    let [crt, key] = issuer("foreign", &other);
    let said = run(&issued("upgrade", &crt, &key)).await;
    said.fails_with(&["do not fit", "not signed by the trust anchors"]);
}

/// A definition as Linkerd's own command would have left it.
fn definition(name: &str, kind: &str) -> Value {
    let (plural, group) = name.split_once('.').unwrap();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            "annotations": { "linkerd.io/created-by": "linkerd/cli stable-2.14" },
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": "v1beta1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    })
}

/// What Linkerd leaves, one at a time, and how it is named.
fn remains() -> Vec<(&'static str, Value)> {
    let webhook = |kind: &str, name: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": name }, "webhooks": [],
        })
    };
    vec![
        (
            "crd/servers.policy.linkerd.io",
            definition("servers.policy.linkerd.io", "Server"),
        ),
        (
            "crd/links.multicluster.linkerd.io",
            definition("links.multicluster.linkerd.io", "Link"),
        ),
        (
            "configmap/linkerd/linkerd-config",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "linkerd-config", "namespace": "linkerd" },
                "data": { "values": "cliVersion: linkerd/cli stable-2.14" },
            }),
        ),
        (
            "mutatingwebhookconfiguration/linkerd-proxy-injector-webhook-config",
            webhook(
                "MutatingWebhookConfiguration",
                "linkerd-proxy-injector-webhook-config",
            ),
        ),
        (
            "validatingwebhookconfiguration/linkerd-sp-validator-webhook-config",
            webhook(
                "ValidatingWebhookConfiguration",
                "linkerd-sp-validator-webhook-config",
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mesh_is_noticed_and_not_taken_over() {
    let cluster = Cluster::start("west").await;
    let said = cluster.mesh(&["check", "--pre"]).await;
    assert_eq!(said.code, Some(0), "{} {}", said.out, said.err);
    let crds = ["install", "--crds"];
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "linkerd"}});
    cluster.apply(&namespace.to_string()).await;
    for (name, left) in remains() {
        cluster.apply(&left.to_string()).await;
        for verb in [&["install"][..], &crds, &["multicluster", "install"]] {
            let said = cluster.mesh(verb).await;
            said.fails_with(&[name, "linkerd uninstall", "--ignore-cluster"]);
        }
        let all_the_same = [&crds[..], &["--ignore-cluster"]].concat();
        documents(&cluster.mesh(&all_the_same).await.out());
        let said = cluster.mesh(&["check", "--pre", "-o", "short"]).await;
        assert_eq!(said.code, Some(1));
        assert!(said.out.contains(name), "{}", said.out);
        assert!(said.out.contains("remedy:"), "{}", said.out);
        cluster.delete(&[left]).await;
    }
    // Our own are no other mesh's.
    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    documents(&cluster.mesh(&crds).await.out());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_uninstalled_is_what_was_installed() {
    let cluster = Cluster::start("west").await;
    let said = cluster.mesh(&["uninstall"]).await;
    said.fails_with(&["no control plane of ours", "linkerd"]);
    let installed = cluster.mesh(&["install"]).await.out();
    cluster.apply(&installed).await;
    let uninstalled = cluster.mesh(&["uninstall"]).await.out();
    let names = |text: &str, all: bool| -> Vec<String> {
        let namespaced = |d: &Value| d["metadata"]["namespace"].is_string();
        let mut names: Vec<_> = documents(text)
            .iter()
            .filter(|d| all || !namespaced(d))
            .map(|d| format!("{}/{}", d["kind"], d["metadata"]["name"]))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&uninstalled, true), names(&installed, false));

    let pod = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: default
  labels: {linkerd.io/control-plane-ns: linkerd, linkerd.io/proxy-deployment: web}
spec: {containers: [{name: linkerd-proxy, image: proxy}]}
";
    cluster.apply(pod).await;
    let said = cluster.mesh(&["uninstall"]).await;
    said.fails_with(&["default/deployment/web", "--force"]);
    documents(&cluster.mesh(&["uninstall", "--force"]).await.out());
}

#[tokio::test]
async fn what_was_injected_is_uninjected_without_a_cluster() {
    let files = Files::new();
    let plain = files.file(
        "web.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: web}]}}",
    );
    let out = mesh(&["uninject", &plain]).await.out();
    assert_eq!(
        documents(&out)[0]["spec"],
        json!({"containers": [{"name": "web", "image": "web"}]})
    );
    let asked = ["inject", "--manual=false", "--opaque-ports", "25", &plain];
    let asked = mesh(&asked).await.out();
    let annotations = &documents(&asked)[0]["metadata"]["annotations"];
    assert_eq!(annotations["linkerd.io/inject"], "enabled");
    assert_eq!(annotations["config.linkerd.io/opaque-ports"], "25");
}
