//! What is printed is what a cluster takes.

use crate::sandbox::{Cluster, Files, documents, mesh};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use std::collections::BTreeMap;

fn named(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |d: &Value| d["metadata"]["name"].as_str().unwrap().to_owned();
    documents.into_iter().map(|d| (name(&d), d)).collect()
}

/// The definitions among what was printed, without who printed them.
fn crds(text: &str) -> BTreeMap<String, Value> {
    let documents = documents(text).into_iter();
    let mut crds: Vec<_> = documents
        .filter(|d| d["kind"] == "CustomResourceDefinition")
        .collect();
    for crd in &mut crds {
        let metadata = crd["metadata"].as_object_mut().unwrap();
        let made_by = &metadata["annotations"]["linkerd.io/created-by"];
        assert!(made_by.as_str().unwrap().starts_with("mesh/"));
        metadata.retain(|key, _| key == "name");
    }
    named(crds)
}

/// The CRDs of the repository's `crds/`: the extension's, or all others.
fn committed(of_the_extension: bool) -> BTreeMap<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let all = named(texts.flat_map(|text| documents(&text)).collect());
    all.into_iter()
        .filter(|(name, _)| name.ends_with(".multicluster.linkerd.io") == of_the_extension)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crds_printed_are_the_crds_committed() {
    let ours = committed(false);
    assert!(!ours.is_empty());
    assert_eq!(crds(&mesh(&["install", "--crds"]).await.out()), ours);
    assert_eq!(crds(&mesh(&["install"]).await.out()), ours);
    let cluster = Cluster::start("west").await;
    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    cluster.run_pods("linkerd").await;
    let extension = cluster.mesh(&["multicluster", "install"]).await.out();
    assert_eq!(crds(&extension), committed(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_taken_by_the_cluster_and_a_second_one_is_refused() {
    let cluster = Cluster::start("west").await;
    let text = cluster.mesh(&["install"]).await.out();
    cluster.apply(&text).await;
    cluster.apply(&text).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "linkerd");
    let list = deployments.list(&Default::default()).await.unwrap();
    let names: Vec<_> = list.iter().map(|d| d.name_any()).collect();
    assert_eq!(
        names,
        [
            "linkerd-destination",
            "linkerd-identity",
            "linkerd-proxy-injector"
        ]
    );
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "linkerd");
    let config = maps.get("linkerd-config").await.unwrap();
    assert!(!format!("{config:?}").contains("PRIVATE KEY"));

    let said = cluster.mesh(&["install"]).await;
    said.fails_with(&[
        "installed already",
        "linkerd/linkerd-config",
        "mesh upgrade",
        "--ignore-cluster",
    ]);
    documents(&cluster.mesh(&["install", "--ignore-cluster"]).await.out());
    let version = cluster.mesh(&["version"]).await.out();
    assert_eq!(
        version.matches(env!("CARGO_PKG_VERSION")).count(),
        2,
        "{version}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_control_plane_is_told_with_the_next_step() {
    let (cluster, files) = (Cluster::start("west").await, Files::new());
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, \
               spec: {containers: [{name: web, image: web}]}}";
    let pod = files.file("web.yaml", pod);
    for verb in [
        &["inject", pod.as_str()][..],
        &["multicluster", "install"],
        &["multicluster", "link", "--cluster-name", "east"],
    ] {
        let said = cluster.mesh(verb).await;
        said.fails_with(&["namespace linkerd", "linkerd-config", "mesh install"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injected_workload_is_taken_by_the_cluster() {
    let (cluster, files) = (Cluster::start("west").await, Files::new());
    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";
    let said = cluster
        .mesh(&["inject", &files.file("web.yaml", manifest)])
        .await;
    assert!(said.err.contains("web injected"), "{}", said.err);
    let text = said.out();
    let injected = named(
        documents(&text)
            .into_iter()
            .filter(|d| d["kind"] == "Deployment")
            .collect(),
    );
    let pod = &injected["web"]["spec"]["template"]["spec"];
    let containers = ["containers", "initContainers"].map(|k| pod[k].as_array().cloned());
    let all = containers.into_iter().flatten().flatten();
    assert!(
        all.into_iter().any(|c| c["name"] == "linkerd-proxy"),
        "{pod}"
    );
    cluster.apply(&text).await;
}
