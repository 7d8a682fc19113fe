//! The verbs of `mesh multicluster` against API servers: what they print, do, and refuse.

use crate::{
    linking::{anchor, export, installed, link_to},
    sandbox::{Cluster, documents, mesh},
};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn named(documents: &[Value]) -> BTreeSet<String> {
    documents
        .iter()
        .map(|d| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &d["metadata"];
            format!("{} {}", text(&d["kind"]), text(&metadata["name"]))
        })
        .collect()
}

async fn labels(cluster: &Cluster, service: &str) -> Value {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    serde_json::to_value(api.get(service).await.unwrap().labels()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_installed_is_uninstalled_and_only_once_nothing_is_linked() {
    let cluster = installed("west", &anchor()).await;
    let uninstall = ["multicluster", "uninstall"];
    let link = link_to(&cluster, "north").await;
    cluster.apply(&link).await;
    let said = cluster.mesh(&uninstall).await;
    said.fails_with(&["linkerd-multicluster/north", "mesh multicluster unlink"]);
    let unlink = ["multicluster", "unlink", "--cluster-name", "north"];
    let link = documents(&cluster.mesh(&unlink).await.out());
    cluster.delete(&link).await;

    let listed = cluster.mesh(&uninstall).await.out();
    let found = named(&documents(&listed));
    let installed = documents(&cluster.mesh(&["multicluster", "install"]).await.out());
    let elsewhere: Vec<_> = installed
        .into_iter()
        .filter(|d| d["metadata"]["namespace"] != "linkerd-multicluster")
        .filter(|d| {
            let group = d["spec"]["group"].as_str();
            group != Some("policy.linkerd.io") // the control plane's
        })
        .collect();
    assert_eq!(found, named(&elsewhere));
    // In the order they are printed, rights first.
    cluster.delete(&documents(&listed)).await;
    let said = cluster.mesh(&uninstall).await;
    said.fails_with(&["not installed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_only_looks_like_a_mirror_is_not_uninstalled() {
    let cluster = installed("west", &anchor()).await;
    let mirrored = json!({"mirror.linkerd.io/mirrored-service": "true"});
    let of_east = json!({
        "mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": "east",
    });
    for (name, labels, annotations) in [
        ("lookalike", &mirrored, json!({})),
        ("web-east", &of_east, json!({})),
        (
            "web-federated",
            &mirrored,
            json!({"multicluster.linkerd.io/remote-discovery": "web@east"}),
        ),
    ] {
        let metadata = json!({
            "name": name, "namespace": "default", "labels": labels, "annotations": annotations,
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"port": 80}]},
        });
        cluster.apply(&service.to_string()).await;
    }
    let text = cluster.mesh(&["multicluster", "uninstall"]).await.out();
    let mut services = documents(&text);
    services.retain(|d| d["kind"] == "Service");
    let expected = ["Service web-east", "Service web-federated"].map(str::to_owned);
    assert_eq!(named(&services), BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_allowed_can_be_linked_with_and_is_not_made_twice() {
    let cluster = installed("east", &anchor()).await;
    let allow = ["multicluster", "allow", "--service-account-name", "west"];
    let text = cluster.mesh(&allow).await.out();
    let roles: Vec<_> = documents(&text)
        .into_iter()
        .filter(|d| d["kind"] == "ClusterRole")
        .collect();
    let verbs = &roles[0]["rules"][0]["verbs"];
    assert_eq!(verbs, &serde_json::json!(["get", "list", "watch"]));
    cluster.apply(&text).await;
    let link = [
        "multicluster",
        "link",
        "--cluster-name=east",
        "--service-account-name=west",
    ];
    let printed = cluster.mesh(&link).await.out();
    let secret = &documents(&printed)[0];
    let kubeconfig = secret["stringData"]["kubeconfig"].as_str().unwrap();
    assert!(kubeconfig.contains("name: west") || kubeconfig.contains("user: west"));

    let said = cluster.mesh(&allow).await;
    said.fails_with(&["linkerd-multicluster/west", "--ignore-cluster"]);
    let again = [&allow[..], &["--ignore-cluster"]].concat();
    assert_eq!(
        named(&documents(&cluster.mesh(&again).await.out())).len(),
        7
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_exported_and_unexported_by_their_labels() {
    let cluster = Cluster::start("east").await;
    export(&cluster, "web").await;
    let all = ["multicluster", "export", "web", "--mode=gateway,federated"];
    let dry = cluster
        .mesh(&[&all[..], &["--dry-run"]].concat())
        .await
        .out();
    assert!(dry.contains("dry run"), "{dry}");
    assert_eq!(labels(&cluster, "web").await.as_object().unwrap().len(), 1);
    let said = cluster.mesh(&all).await.out();
    assert_eq!(
        said,
        "service/web labelled mirror.linkerd.io/federated=member\n"
    );
    let expected = serde_json::json!({
        "mirror.linkerd.io/exported": "true", "mirror.linkerd.io/federated": "member",
    });
    assert_eq!(labels(&cluster, "web").await, expected);
    let said = cluster.mesh(&all).await.out();
    assert_eq!(said, "service/web unchanged\n");
    let said = cluster.mesh(&["multicluster", "unexport", "svc/web"]).await;
    assert!(said.out().contains("removed"));
    assert_eq!(labels(&cluster, "web").await, serde_json::json!({}));

    // Nothing is changed where one of them cannot be.
    let said = cluster
        .mesh(&["multicluster", "export", "web", "nope"])
        .await;
    said.fails_with(&["no Service default/nope", "--namespace"]);
    assert_eq!(labels(&cluster, "web").await, serde_json::json!({}));
    let both = [
        "multicluster",
        "export",
        "web",
        "--mode=gateway,remote-discovery",
    ];
    cluster.mesh(&both).await.fails_with(&["not both"]);
    let said = cluster
        .mesh(&["multicluster", "export", "web", "-n", "nowhere"])
        .await;
    said.fails_with(&["no Service nowhere/web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_another_link_uses_stay() {
    let cluster = installed("west", &anchor()).await;
    let printed = documents(&link_to(&cluster, "east").await);
    for document in &printed {
        cluster.apply(&document.to_string()).await;
    }
    let mut other = printed[1].clone();
    other["metadata"]["name"] = "other".into();
    cluster.apply(&other.to_string()).await;
    let unlink = ["multicluster", "unlink", "--cluster-name=east"];
    let printed = named(&documents(&cluster.mesh(&unlink).await.out()));
    assert_eq!(printed, BTreeSet::from(["Link east".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_does_not_run_and_tries_what_is_linked() {
    let anchor = anchor();
    let (west, east) = (
        installed("west", &anchor).await,
        installed("east", &anchor).await,
    );
    west.apply(&link_to(&east, "east").await).await;
    let check = [
        "multicluster",
        "check",
        "--wait=0",
        "--timeout=5s",
        "-o",
        "json",
    ];
    let said = west.mesh(&check).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let result = |claim: &str| {
        let checks = report["checks"].as_array().unwrap();
        let found = checks
            .iter()
            .find(|c| c["description"].as_str().unwrap().contains(claim));
        let found = found.unwrap_or_else(|| panic!("no {claim:?} in {report:#}"));
        found["result"].as_str().unwrap().to_owned()
    };
    for (claim, expected) in [
        ("the service mirror is running", "error"),
        ("holds the lease", "error"),
        ("has the rights it needs", "success"),
        ("made by this release", "success"),
        ("credentials are accepted", "success"),
        ("may read what is exported", "success"),
        ("share a trust anchor", "success"),
        ("trust the same anchors", "success"),
        ("answers the service mirror's probes", "warning"),
        ("certifies the service mirror's account", "error"),
    ] {
        assert_eq!(result(claim), expected, "{claim}");
    }
    for check in report["checks"].as_array().unwrap() {
        if check["result"] != "success" {
            assert!(
                check["cause"].is_string() && check["remedy"].is_string(),
                "{check}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_matter_of_course_is_printed_when_asked_for() {
    let cluster = installed("east", &anchor()).await;
    let reads_pods = |text: &str| {
        documents(text)
            .iter()
            .filter(|d| d["kind"] == "ClusterRole")
            .flat_map(|d| d["rules"].as_array().unwrap().clone())
            .any(|rule| rule["resources"] == serde_json::json!(["pods"]))
    };
    for verb in [
        &["multicluster", "install"][..],
        &["multicluster", "allow", "--service-account-name=west"],
    ] {
        assert!(!reads_pods(&cluster.mesh(verb).await.out()));
        let asked = [verb, &["--remote-discovery"]].concat();
        let text = cluster.mesh(&asked).await.out();
        assert!(reads_pods(&text));
        cluster.apply(&text).await;
    }
    let flag = "--enable-headless-services";
    let mirrors = |text: &str| text.contains(flag);
    let plain = cluster.mesh(&["multicluster", "install"]).await.out();
    let asked = cluster.mesh(&["multicluster", "install", flag]).await.out();
    assert!(!mirrors(&plain) && mirrors(&asked));
    cluster.apply(&asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_waits_for_the_control_plane_as_long_as_it_is_told() {
    let cluster = Cluster::start("east").await;
    let install = ["multicluster", "install", "--wait=60s"];
    let control_plane = async {
        let text = cluster.mesh(&["install", "--ignore-cluster"]).await.out();
        cluster.apply(&text).await;
        let said = cluster.mesh(&["multicluster", "install", "--wait=0"]).await;
        said.fails_with(&[
            "linkerd-identity does not run",
            "0 of 1",
            "--ignore-cluster",
        ]);
        cluster.run_pods("linkerd").await;
    };
    let (said, ()) = futures::future::join(cluster.mesh(&install), control_plane).await;
    documents(&said.out());
    // And as long as Linkerd's command does where it is told nothing.
    let help = mesh(&["multicluster", "install", "--help"]).await.out();
    assert!(help.contains("[default: 300s]"), "{help}");
}
