//! `mesh check`: what does not hold is told, and only that.

use crate::{
    lifecycle::find,
    linking::{anchor, installed},
    sandbox::{Cluster, Files, documents, eventually, mesh},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        let all = results(&said.out);
        let of = |words: &str| {
            let found = all.iter().find(|(claim, _)| claim.contains(words));
            found.unwrap_or_else(|| panic!("{all:#?}")).1.clone()
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

/// Results by what was claimed.
fn results(out: &str) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_str(out).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| (text(&check["description"]), text(&check["result"])))
        .collect()
}

const MC: &str = "linkerd-multicluster";
const EXTENSION: [&str; 4] = [
    "the gateway is running",
    "the extension's sidecars are ready",
    "the extension's sidecars are of the control plane's version",
    "the extension's sidecars are of this command's version",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_the_sidecars_of_the_extension_are_checked() {
    let cluster = installed("east", &anchor()).await;
    let check = ["multicluster", "check", "--wait=0", "-o", "json"];
    let found = async || {
        let all = results(&cluster.mesh(&check).await.out);
        EXTENSION.map(|claim| all.get(claim).cloned().unwrap_or_default())
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), MC);
    let gateway = ListParams::default().labels("app=linkerd-gateway");
    let pod = eventually(async || {
        let mut all = pods.list(&gateway).await.map_err(|e| e.to_string())?.items;
        all.pop().ok_or_else(|| "a pod of the gateway".to_owned())
    });
    let name = pod.await.name_any();
    assert_eq!(found().await, ["error", "warning", "success", "success"]);
    cluster.run_pods(MC).await;
    assert_eq!(found().await, ["success"; 4]);
    let other = json!({"metadata": {"annotations": {"linkerd.io/proxy-version": "0.0.1"}}});
    let patch = (PatchParams::default(), Patch::Merge(other));
    pods.patch(&name, &patch.0, &patch.1).await.unwrap();
    let old = ["success", "success", "warning", "warning"];
    assert_eq!(found().await, old);

    // As Linkerd's check is told to check sidecars too.
    let said = cluster
        .mesh(&[&check[..], &["--proxy", "-n", "shop"]].concat())
        .await;
    assert!(said.err.contains("mesh check --proxy"), "{}", said.err);
    assert_eq!(
        EXTENSION.map(|claim| results(&said.out)[claim].clone()),
        old
    );

    // Without a gateway there is nothing of it to check.
    let install = ["multicluster", "install"];
    let without = |flag: &'static str| [&install[..], &[flag]].concat();
    let with = documents(&cluster.mesh(&install).await.out());
    let less = documents(&cluster.mesh(&without("--gateway=false")).await.out());
    let left: Vec<_> = with
        .into_iter()
        .filter(|d| {
            !less
                .iter()
                .any(|l| l["metadata"]["name"] == d["metadata"]["name"] && l["kind"] == d["kind"])
        })
        .collect();
    cluster.delete(&left).await;
    eventually(async || {
        let all = pods.list(&gateway).await.map_err(|e| e.to_string())?;
        all.items
            .is_empty()
            .then_some(())
            .ok_or_else(|| "no pod of the gateway".to_owned())
    })
    .await;
    assert_eq!(found().await, [""; 4]);
}

/// What is still starting is waited for as long as Linkerd's command does; what is not there is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_waits_for_what_starts_and_not_for_what_is_not_there() {
    let help = mesh(&["multicluster", "check", "--help"]).await.out();
    assert!(help.contains("[default: 300s]"), "{help}");
    let cluster = Cluster::start("east").await;
    let said = cluster.mesh(&["multicluster", "check"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("mesh multicluster install"),
        "{}",
        said.out
    );
}
