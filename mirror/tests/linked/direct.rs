//! Mirrors that go pod to pod, and headless ones.

use crate::sandbox::{Cluster, Mirror, eventually};
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// A Service of pods with names of their own, each with a sidecar and ready.
async fn pods(east: &Cluster, service: Value, names: &[&str]) {
    let name = service["metadata"]["name"].as_str().unwrap().to_owned();
    east.create::<k8s_openapi::api::core::v1::Service>(service)
        .await;
    let mut endpoints = Vec::new();
    for (index, pod) in names.iter().enumerate() {
        let manifest = json!({
            "metadata": {"name": pod, "namespace": "default",
                         "labels": {"linkerd.io/control-plane-ns": "linkerd"}},
            "spec": {"serviceAccountName": "default",
                     "containers": [{"name": "linkerd-proxy", "image": "proxy"}]},
        });
        // The account is made a moment after its namespace.
        let api = east.api::<Pod>("default");
        let pod: Pod = serde_json::from_value(manifest).unwrap();
        eventually(async || {
            let made = api.create(&Default::default(), &pod).await;
            made.map_err(|error| error.to_string())
        })
        .await;
        endpoints.push(json!({
            "addresses": [format!("10.1.2.{}", index + 1)],
            "conditions": {"ready": true},
            "hostname": pod.name_any(),
            "targetRef": {"kind": "Pod", "name": pod.name_any(), "namespace": "default"},
        }));
    }
    east.create::<EndpointSlice>(json!({
        "metadata": {"name": format!("{name}-1"), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }))
    .await;
}

fn service(name: &str, mode: &str, spec: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default",
                     "labels": {"mirror.linkerd.io/exported": mode}},
        "spec": spec,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_exported_pod_to_pod_needs_no_gateway() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.secret("east", &east.kubeconfig(None)).await;
    west.create_link("east", json!({"gatewayAddress": ""}))
        .await;
    let spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    pods(&east, service("web", "remote-discovery", spec), &["a", "b"]).await;
    let _mirror = Mirror::start(&west).await;
    let slice = west
        .sees_slice("web-east", |slice| slice.endpoints.len() == 2)
        .await;
    assert_eq!(
        slice.annotations()["federation.mesh.io/pod-identity"],
        "default.default.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(slice.ports.unwrap()[0].port, Some(8080));
    let mirror = west.services().get("web-east").await.unwrap();
    assert_eq!(
        mirror.labels()["multicluster.linkerd.io/remote-discovery"],
        "east"
    );
    west.told("east", "web", "Mirrored").await;

    let gone = east
        .api::<Pod>("default")
        .delete("a", &Default::default())
        .await;
    gone.unwrap();
    west.sees_slice("web-east", |slice| slice.endpoints.len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headless_service_appears_with_its_names() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    let spec = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]});
    pods(&east, service("db", "true", spec), &["db-0", "db-1"]).await;
    let _mirror = Mirror::with(&west, west.client.clone(), |setup| setup.headless = true).await;
    let names = west
        .sees_slice("db-east", |slice| slice.endpoints.len() == 2)
        .await;
    let mut hosts: Vec<_> = names
        .endpoints
        .iter()
        .filter_map(|e| e.hostname.clone())
        .collect();
    hosts.sort();
    assert_eq!(hosts, ["db-0", "db-1"]);
    for endpoint in &names.endpoints {
        let host = endpoint.hostname.as_deref().unwrap();
        let mirror = west.services().get(&format!("{host}-east")).await.unwrap();
        assert_eq!(
            Some(&endpoint.addresses[0]),
            mirror.spec.unwrap().cluster_ip.as_ref()
        );
        let slice = west.sees_slice(&format!("{host}-east"), |_| true).await;
        assert_eq!(
            slice.annotations()["mirror.linkerd.io/remote-svc-fq-name"],
            format!("{host}.db.default.svc.cluster.local")
        );
    }
    let root = west.services().get("db-east").await.unwrap();
    assert_eq!(root.spec.unwrap().cluster_ip.as_deref(), Some("None"));
    east.delete("db").await;
    for gone in ["db-east", "db-0-east", "db-1-east"] {
        west.misses(gone).await;
        west.misses_slice(gone).await;
    }
}
