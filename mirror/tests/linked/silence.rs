//! A cluster that is silent has not said that it is empty.

use crate::sandbox::{Cluster, Mirror};
use serde_json::json;

async fn scene() -> (Cluster, Cluster, Cluster, Mirror) {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    let north = Cluster::start("north").await;
    west.link(&east).await;
    west.link(&north).await;
    let mirror = Mirror::start(&west).await;
    let labels = json!({
        "mirror.linkerd.io/exported": "true", "mirror.linkerd.io/federated": "member",
    });
    east.service("default", "web", labels).await;
    for slice in ["web-east", "web-federated-east"] {
        west.sees_slice(slice, |_| true).await;
    }
    west.condition("east", "Connected", "True", "Watching")
        .await;
    west.told("east", "web", "Mirrored").await;
    (west, east, north, mirror)
}

/// The mirror has planned since: something new of north appeared.
async fn planned_since(west: &Cluster, north: &Cluster, name: &str) {
    north.export(name).await;
    west.sees_slice(&format!("{name}-north"), |_| true).await;
}

async fn everything_is_there(west: &Cluster) {
    for service in ["web-east", "web-federated"] {
        west.services().get(service).await.unwrap();
    }
    for slice in ["web-east", "web-federated-east"] {
        west.slices().get(slice).await.unwrap();
    }
    let federated = west.services().get("web-federated").await.unwrap();
    let members = federated.metadata.annotations.unwrap();
    assert_eq!(
        members["multicluster.linkerd.io/remote-discovery"],
        "web@east"
    );
    let status = west.links().get("east").await.unwrap().status.unwrap();
    assert_eq!(status.mirror_services.len(), 1, "what is there is told");
    assert_eq!(status.federated_services.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stops_takes_no_mirror_along() {
    let (west, east, north, _mirror) = scene().await;
    east.kill().await;
    west.condition("east", "Connected", "False", "Unreachable")
        .await;
    planned_since(&west, &north, "one").await;
    everything_is_there(&west).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_starts_while_a_cluster_is_down_keeps_its_mirrors() {
    let (west, east, north, mirror) = scene().await;
    mirror.stop().await;
    east.kill().await;
    let _mirror = Mirror::start(&west).await;
    west.condition("east", "Connected", "False", "Unreachable")
        .await;
    planned_since(&west, &north, "one").await;
    everything_is_there(&west).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_starts_again_and_again_never_takes_a_mirror_away() {
    let (west, _east, north, mut mirror) = scene().await;
    let before = west.services().get("web-east").await.unwrap().metadata.uid;
    for round in 0..5 {
        mirror.stop().await;
        mirror = Mirror::start(&west).await;
        planned_since(&west, &north, &format!("round{round}")).await;
        let now = west.services().get("web-east").await.unwrap().metadata.uid;
        assert_eq!(now, before, "it was removed in between");
    }
}
