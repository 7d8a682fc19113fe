//! What controllers rely on, seen through the kube client: watches that resume, expire and send
//! bookmarks, conflicts, apply, pages, and the limits a stranger meets.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test; a failure is a panic"
)]

mod server;
mod watches;
mod writes;

use devcluster::apiserver::{self, Running, start};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Config};
use mesh_daemon::Trigger;
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    running: Running,
    client: Client,
    trigger: Trigger,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.trigger.shutdown();
    }
}

async fn cluster(history: usize) -> Cluster {
    cluster_of(apiserver::Config {
        history,
        ..apiserver::Config::default()
    })
    .await
}

async fn cluster_of(config: apiserver::Config) -> Cluster {
    let (trigger, shutdown) = mesh_daemon::shutdown();
    let running = start(config, shutdown).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&running.admin_kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let cluster = Cluster {
        running,
        client,
        trigger,
    };
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.client.clone());
    let made = async {
        // The controllers make it in their own time.
        while namespaces.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, made)
        .await
        .expect("namespace default");
    cluster
}

fn maps(c: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(c.client.clone(), "default")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"of": "test"}}})).unwrap()
}

async fn touch(c: &Cluster, name: &str, value: usize) {
    let patch = json!({"data": {"n": value.to_string()}});
    maps(c)
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

async fn create(c: &Cluster, name: &str) -> ConfigMap {
    maps(c)
        .create(&PostParams::default(), &map(name))
        .await
        .unwrap()
}

fn of_test() -> WatchParams {
    WatchParams::default().labels("of=test")
}

fn toys(c: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("test.mesh.io", "v1", "Toy");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(c.client.clone(), "default", &resource)
}

async fn define_toys(c: &Cluster) {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "toys.test.mesh.io"},
        "spec": {"group": "test.mesh.io", "scope": "Namespaced",
            "names": {"plural": "toys", "singular": "toy", "kind": "Toy"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"spec": open, "status": open}}}}]}});
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(c.client.clone(), &ApiResource::from_gvk(&kind));
    let definition = serde_json::from_value(definition).unwrap();
    api.create(&PostParams::default(), &definition)
        .await
        .unwrap();
}
