//! Clusters that are not as they should be: webhooks that are down, definitions of another time.

use crate::sandbox::{Cluster, documents, eventually};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

async fn make_pod(cluster: &Cluster, namespace: &str) -> kube::Result<Pod> {
    let pod = json!({"metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "web", "image": "web"}]}});
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await
}

/// No node runs the injector here: its webhooks are down from the start.
#[tokio::test(flavor = "multi_thread")]
async fn an_injector_that_is_down_locks_nobody_out() {
    for policy in ["Ignore", "Fail"] {
        let cluster = Cluster::start("west").await;
        let set = format!("webhookFailurePolicy={policy}");
        let text = cluster.mesh(&["install", "--set", &set]).await.out();
        cluster.apply(&text).await;
        // The control plane itself comes up, the injector that is missing included.
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "linkerd");
        eventually(async || {
            let list = pods.list(&ListParams::default()).await;
            let names: Vec<_> = list.unwrap().iter().map(|p| p.name_any()).collect();
            let all = ["destination", "identity", "proxy-injector"];
            let made = |of: &str| names.iter().any(|name| name.contains(of));
            if all.into_iter().all(made) {
                return Ok(());
            }
            Err(format!("{names:?}"))
        })
        .await;
        make_pod(&cluster, "kube-system").await.unwrap();
        make_pod(&cluster, "linkerd").await.unwrap();
        let elsewhere = make_pod(&cluster, "default").await;
        if policy == "Ignore" {
            elsewhere.unwrap();
            continue;
        }
        let refused = elsewhere.unwrap_err().to_string();
        assert!(
            refused.contains("failed calling webhook \"linkerd-proxy-injector.linkerd.io\""),
            "{refused}"
        );
        // The way out is open.
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
        let name = "linkerd-proxy-injector-webhook-config";
        webhooks.delete(name, &Default::default()).await.unwrap();
        make_pod(&cluster, "default").await.unwrap();
    }
}

/// The definition of Servers as a release wrote it that knew only its first version.
fn older(text: &str) -> Value {
    let mut documents = documents(text).into_iter();
    let mut crd = documents
        .find(|d| d["metadata"]["name"] == "servers.policy.linkerd.io")
        .unwrap();
    let versions = crd["spec"]["versions"].as_array_mut().unwrap();
    assert!(versions.len() > 1, "{versions:?}");
    versions.truncate(1);
    versions[0]["storage"] = json!(true);
    versions[0]["served"] = json!(true);
    crd
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_an_older_release_are_brought_up_to_date_and_keep_their_objects() {
    let cluster = Cluster::start("west").await;
    let text = cluster.mesh(&["install"]).await.out();
    let older = older(&text);
    let first = older["spec"]["versions"][0]["name"].as_str().unwrap();
    cluster.apply(&older.to_string()).await;
    let server = json!({"apiVersion": format!("policy.linkerd.io/{first}"), "kind": "Server",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "port": 8080}});
    cluster.apply(&server.to_string()).await;

    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    let newest = documents(&text);
    let newest = newest
        .iter()
        .find(|d| d["metadata"]["name"] == older["metadata"]["name"]);
    let versions = newest.unwrap()["spec"]["versions"].as_array().unwrap();
    for version in versions.iter().filter(|v| v["served"] == true) {
        let version = version["name"].as_str().unwrap();
        let kind = GroupVersionKind::gvk("policy.linkerd.io", version, "Server");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(cluster.client.clone(), "default", &resource);
        let kept = eventually(async || api.get("web").await.map_err(|e| e.to_string())).await;
        assert_eq!(kept.data["spec"]["port"], 8080, "{version}");
    }
}
