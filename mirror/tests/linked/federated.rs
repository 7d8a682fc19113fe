//! Federated services: one name for the members of all clusters.

use crate::sandbox::{Cluster, GATEWAY_IDENTITY, Mirror, eventually};
use kube::ResourceExt as _;
use serde_json::json;

const REMOTE: &str = "multicluster.linkerd.io/remote-discovery";
const LOCAL: &str = "multicluster.linkerd.io/local-discovery";

fn member() -> serde_json::Value {
    json!({"mirror.linkerd.io/federated": "member", "app": "web"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_service_joins_the_members_of_all_clusters() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    let north = Cluster::start("north").await;
    west.link(&east).await;
    west.link(&north).await;
    let _mirror = Mirror::start(&west).await;
    for cluster in [&west, &east, &north] {
        cluster.service("default", "web", member()).await;
    }

    let federated = west
        .sees("web-federated", |s| {
            let annotation = |key: &str| s.annotations().get(key).cloned().unwrap_or_default();
            annotation(REMOTE) == "web@east,web@north" && annotation(LOCAL) == "web"
        })
        .await;
    let labels = serde_json::to_value(federated.labels()).unwrap();
    let expected = json!({"app": "web", "mirror.linkerd.io/mirrored-service": "true"});
    assert_eq!(labels, expected);
    assert_eq!(federated.spec.unwrap().ports.unwrap()[0].port, 80);
    for cluster in ["east", "north"] {
        let slice = west
            .sees_slice(&format!("web-federated-{cluster}"), |_| true)
            .await;
        let labels = slice.labels();
        assert_eq!(labels["kubernetes.io/service-name"], "web-federated");
        assert_eq!(labels["mirror.linkerd.io/cluster-name"], cluster);
        let annotations = slice.annotations();
        assert_eq!(
            annotations["mirror.linkerd.io/remote-svc-fq-name"],
            "web.default.svc.cluster.local"
        );
        assert_eq!(
            annotations["mirror.linkerd.io/remote-gateway-identity"],
            GATEWAY_IDENTITY
        );
    }
    // It is not exported, so it has no mirror of its own.
    assert!(west.services().get_opt("web-east").await.unwrap().is_none());
    let links = west.links();
    eventually(async || {
        let status = links.get("east").await.unwrap().status.unwrap_or_default();
        let joined = status.federated_services.iter().any(|s| {
            s.conditions[0].status == "True"
                && s.local_ref
                    .as_ref()
                    .is_some_and(|r| r.name == "web-federated")
        });
        joined
            .then_some(())
            .ok_or_else(|| format!("joined: {status:#?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_leave_and_the_last_takes_the_federated_service_along() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    let _mirror = Mirror::start(&west).await;
    west.service("default", "web", member()).await;
    east.service("default", "web", member()).await;
    west.sees_slice("web-federated-east", |_| true).await;

    east.patch(
        "web",
        json!({"metadata": {"labels": {"mirror.linkerd.io/federated": null}}}),
    )
    .await;
    west.misses_slice("web-federated-east").await;
    west.sees("web-federated", |s| {
        !s.annotations().contains_key(REMOTE) && s.annotations().contains_key(LOCAL)
    })
    .await;

    east.patch(
        "web",
        json!({"metadata": {"labels": {"mirror.linkerd.io/federated": "member"}}}),
    )
    .await;
    west.sees_slice("web-federated-east", |_| true).await;
    west.delete("web").await;
    west.sees("web-federated", |s| {
        s.annotations().contains_key(REMOTE) && !s.annotations().contains_key(LOCAL)
    })
    .await;
    east.delete("web").await;
    west.misses("web-federated").await;
    west.misses_slice("web-federated-east").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_service_of_the_federated_name_is_left_alone() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    let foreign = west.service("default", "web-federated", json!({})).await;
    west.link(&east).await;
    let _mirror = Mirror::start(&west).await;
    east.service("default", "web", member()).await;
    let note = west.event("east", "NameConflict").await;
    assert!(note.contains("default/web-federated"), "{note}");
    assert!(
        west.slices()
            .get_opt("web-federated-east")
            .await
            .unwrap()
            .is_none()
    );
    let now = west.services().get("web-federated").await.unwrap();
    assert_eq!(now.resource_version(), foreign.resource_version());
    west.delete("web-federated").await;
    west.sees_slice("web-federated-east", |_| true).await;
}
