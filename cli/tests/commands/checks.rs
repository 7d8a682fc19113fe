//! `mesh check`: what does not hold is told, and only that.

use crate::{
    lifecycle::find,
    linking::anchor,
    sandbox::{Cluster, Files},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_the_issuer_of_somebody_else_can_be_installed_into() {
    let cluster = Cluster::start("west").await;
    let pre = ["check", "--pre", "-o", "short"];
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "linkerd"}});
    cluster.apply(&namespace.to_string()).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "linkerd-identity-issuer", "namespace": "linkerd"},
        "stringData": {"tls.crt": "CRT", "tls.key": "KEY", "ca.crt": "CA"},
    });
    cluster.apply(&secret.to_string()).await;
    let said = cluster.mesh(&pre).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");

    let (files, mut left) = (Files::new(), Vec::new());
    let anchors = files.file("ca.crt", &anchor().cert_pem());
    let install = [
        "install",
        "--identity-external-issuer",
        "--identity-trust-anchors-file",
        &anchors,
    ];
    let text = cluster.mesh(&install).await.out();
    cluster.apply(&text).await;
    for (kind, name) in [
        ("ConfigMap", "linkerd-config"),
        ("Deployment", "linkerd-destination"),
    ] {
        let said = cluster.mesh(&pre).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let told = format!("it has the {kind} {name}");
        assert!(said.out.contains(&told), "{told}: {}", said.out);
        left.push(find(&text, kind, name));
        cluster.delete(&left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_runs_and_certifies_nobody_fails_the_check() {
    let cluster = Cluster::start("west").await;
    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    cluster.run_pods("linkerd").await;
    let result = async |flags: &[&str]| {
        let check = ["check", "--wait=0", "-o", "json"];
        let said = cluster.mesh(&[&check[..], flags].concat()).await;
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let of = |words: &str| {
            let mut found = checks.iter();
            let found = found.find(|c| c["description"].as_str().unwrap().contains(words));
            found.unwrap_or_else(|| panic!("{report:#}"))["result"].clone()
        };
        (
            of("linkerd-identity is running"),
            of("certifies a workload"),
        )
    };
    assert_eq!(result(&[]).await, ("success".into(), "error".into()));
    // Who may not ask for a token has not tried.
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "readers"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "readers"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
    });
    cluster.apply(&format!("{role}\n---\n{reader}")).await;
    let expected = ("success".into(), "warning".into());
    assert_eq!(result(&["--as=reader"]).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_is_missing_and_how_to_get_it() {
    let cluster = Cluster::start("west").await;
    let said = cluster.mesh(&["check", "-o", "json"]).await;
    assert_eq!(said.code, Some(1));
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["success"], false);
    let categories = report["categories"].as_array().unwrap();
    let named = |name: &str| {
        let mut found = categories.iter().filter(|c| c["categoryName"] == name);
        found.next().unwrap_or_else(|| panic!("{name}: {report:#}"))["checks"].clone()
    };
    let api = named("kubernetes-api");
    assert!(
        api.as_array()
            .unwrap()
            .iter()
            .all(|c| c["result"] == "success"),
        "{api}"
    );
    let missing = &named("control-plane-existence")[0];
    assert_eq!(missing["result"], "error");
    assert!(missing["hint"].as_str().unwrap().contains("mesh install"));

    let install = ["install", "--set", "proxyInjector.enabled=false"];
    cluster.apply(&cluster.mesh(&install).await.out()).await;
    let said = cluster.mesh(&["check", "--wait", "0s"]).await;
    assert_eq!(said.code, Some(1), "nothing runs the pods of this cluster");
    for words in [
        "√ the issuer is signed by the trust anchors",
        "√ the CRD servers.policy.linkerd.io is served",
        "× linkerd-identity is running",
        "kubectl -n linkerd describe deploy/linkerd-identity",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}
