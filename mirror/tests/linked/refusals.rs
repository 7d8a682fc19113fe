//! Services that cannot be mirrored: each is named in its Link's status and in an Event, with the
//! remedy, and nothing else is disturbed.

use crate::sandbox::{Cluster, Mirror, exported, tapped};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

async fn linked() -> (Cluster, Cluster) {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    (west, east)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_becomes_too_long_is_refused() {
    let (west, east) = linked().await;
    let _mirror = Mirror::start(&west).await;
    let name = "w".repeat(60);
    east.export(&name).await;
    let told = west.told("east", &name, "InvalidService").await;
    assert_eq!(told.local_ref, None);
    assert!(told.conditions[0].message.contains("shorten"), "{told:?}");
    let note = west.event("east", "InvalidService").await;
    assert!(
        note.contains(&format!("default/{name}")) && note.contains("shorten"),
        "{note}"
    );
    east.export("web").await;
    west.sees_slice("web-east", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_holds_the_mirrors_name_is_left_alone() {
    let (west, east) = linked().await;
    let foreign = west
        .service("default", "web-east", json!({"mine": "yes"}))
        .await;
    let _mirror = Mirror::start(&west).await;
    east.export("web").await;
    let told = west.told("east", "web", "NameConflict").await;
    assert!(told.conditions[0].message.contains("rename it"), "{told:?}");
    let note = west.event("east", "NameConflict").await;
    assert!(
        note.contains("default/web-east") && note.contains("rename it"),
        "{note}"
    );
    east.export("api").await;
    west.sees_slice("api-east", |_| true).await;
    let now = west.services().get("web-east").await.unwrap();
    assert_eq!(now.resource_version(), foreign.resource_version());
    assert!(west.slices().get_opt("web-east").await.unwrap().is_none());

    west.delete("web-east").await;
    west.sees_slice("web-east", |_| true).await;
    west.told("east", "web", "Mirrored").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_takes_the_name_between_plan_and_write_is_left_alone() {
    let (west, east) = linked().await;
    // Whoever asks for web-east is a moment too late.
    let quicker: Api<Service> = west.services();
    let done = Arc::new(AtomicBool::new(false));
    let taken = done.clone();
    let client = tapped(
        &west,
        Arc::new(move |request| {
            let (quicker, taken) = (quicker.clone(), taken.clone());
            Box::pin(async move {
                let creates =
                    request.method == "POST" && request.uri.path().ends_with("/default/services");
                if creates && !taken.swap(true, Ordering::SeqCst) {
                    let service = serde_json::from_value(json!({
                        "metadata": {"name": "web-east", "labels": {"mine": "yes"}},
                        "spec": {"ports": [{"port": 1}]},
                    }));
                    quicker
                        .create(&PostParams::default(), &service.unwrap())
                        .await
                        .unwrap();
                }
            })
        }),
    )
    .await;
    east.export("web").await;
    let _mirror = Mirror::with(&west, client, |_| {}).await;
    west.told("east", "web", "NameConflict").await;
    assert!(done.load(Ordering::SeqCst));
    east.export("api").await;
    west.sees_slice("api-east", |_| true).await;
    let service = west.services().get("web-east").await.unwrap();
    assert_eq!(service.labels().len(), 1, "{service:#?}");
    assert_eq!(service.labels()["mine"], "yes");
    assert!(service.annotations().is_empty(), "{service:#?}");
    let slices = west.slices().list(&Default::default()).await.unwrap();
    let of_it = |s: &&k8s_openapi::api::discovery::v1::EndpointSlice| {
        s.labels()
            .get("kubernetes.io/service-name")
            .map(String::as_str)
            == Some("web-east")
    };
    assert_eq!(slices.iter().find(of_it), None, "nobody speaks for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_waits_for_its_namespace() {
    let (west, east) = linked().await;
    let _mirror = Mirror::start(&west).await;
    east.namespace("shop").await;
    east.service("shop", "web", exported()).await;
    let told = west.told("east", "web", "MissingNamespace").await;
    assert!(
        told.conditions[0]
            .message
            .contains("kubectl create namespace shop"),
        "{told:?}"
    );
    let note = west.event("east", "MissingNamespace").await;
    assert!(
        note.contains("shop/web") && note.contains("create namespace"),
        "{note}"
    );

    west.namespace("shop").await;
    west.told("east", "web", "Mirrored").await;
    let mirror = west.api::<Service>("shop").get("web-east").await.unwrap();
    assert_eq!(mirror.labels()["mirror.linkerd.io/cluster-name"], "east");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_and_tried_again() {
    let (west, east) = linked().await;
    // A slice of the name that is not the mirror's own.
    west.endpoints("default", "other", true).await;
    let foreign = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-east"}, "addressType": "IPv4", "endpoints": [],
    });
    west.create::<k8s_openapi::api::discovery::v1::EndpointSlice>(foreign)
        .await;
    let _mirror = Mirror::start(&west).await;
    east.export("web").await;
    let told = west.told("east", "web", "WriteFailed").await;
    assert!(
        told.conditions[0].message.contains("already exists"),
        "{told:?}"
    );
    west.slices()
        .delete("web-east", &Default::default())
        .await
        .unwrap();
    west.told("east", "web", "Mirrored").await;
    west.sees_slice("web-east", |s| !s.labels().is_empty())
        .await;
}
