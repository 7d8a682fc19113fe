//! What other clusters export appears here, follows, and goes.

use crate::sandbox::{Cluster, GATEWAY_IDENTITY, Mirror, exported};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::json;

/// East linked into west, with a mirror.
async fn linked() -> (Cluster, Cluster, Mirror) {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    west.link(&east).await;
    let mirror = Mirror::start(&west).await;
    (west, east, mirror)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_service_appears_under_the_name_of_its_cluster() {
    let (west, east, _mirror) = linked().await;
    let web = east.export("web").await;
    east.service("default", "db", json!({"app": "db"})).await;

    let mirror = west.sees("web-east", |_| true).await;
    let slice = west.sees_slice("web-east", |_| true).await;

    let labels = serde_json::to_value(mirror.labels()).unwrap();
    let expected = json!({
        "app": "web",
        "mirror.linkerd.io/mirrored-service": "true",
        "mirror.linkerd.io/cluster-name": "east",
    });
    assert_eq!(labels, expected);
    let annotations = serde_json::to_value(mirror.annotations()).unwrap();
    let expected = json!({
        "team": "web",
        "mirror.linkerd.io/remote-svc-fq-name": "web.default.svc.cluster.local",
        "mirror.linkerd.io/remote-resource-version": web.resource_version().unwrap(),
    });
    assert_eq!(annotations, expected);
    let spec = mirror.spec.unwrap();
    assert_eq!(
        (spec.selector, spec.type_.as_deref()),
        (None, Some("ClusterIP"))
    );
    assert!(
        spec.cluster_ip
            .is_some_and(|ip| ip != "None" && !ip.is_empty())
    );
    let ports = spec.ports.unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(
        (ports[0].name.as_deref(), ports[0].port),
        (Some("http"), 80)
    );
    assert_eq!(ports[0].app_protocol.as_deref(), Some("http"));

    let labels = serde_json::to_value(slice.labels()).unwrap();
    let expected = json!({
        "kubernetes.io/service-name": "web-east",
        "endpointslice.kubernetes.io/managed-by": "service-mirror.linkerd.io",
        "mirror.linkerd.io/mirrored-service": "true",
        "mirror.linkerd.io/cluster-name": "east",
    });
    assert_eq!(labels, expected);
    let annotations = serde_json::to_value(slice.annotations()).unwrap();
    let expected = json!({
        "mirror.linkerd.io/remote-svc-fq-name": "web.default.svc.cluster.local",
        "mirror.linkerd.io/remote-gateway-identity": GATEWAY_IDENTITY,
    });
    assert_eq!(annotations, expected);
    let endpoints = serde_json::to_value(&slice.endpoints).unwrap();
    let expected = json!([{"addresses": ["192.0.2.9"], "conditions": {"ready": true}}]);
    assert_eq!(endpoints, expected);
    let port = &slice.ports.unwrap()[0];
    assert_eq!(
        (port.name.as_deref(), port.port),
        (Some("http"), Some(4143))
    );

    let told = west.told("east", "web", "Mirrored").await;
    assert_eq!(told.local_ref.unwrap().name, "web-east");
    west.condition("east", "Connected", "True", "Watching")
        .await;
    let services = west.services().list(&Default::default()).await.unwrap();
    let names: Vec<_> = services.iter().map(|s| s.name_any()).collect();
    assert!(
        !names.contains(&"db-east".to_owned()),
        "not exported: {names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_an_exported_service_follows() {
    let (west, east, _mirror) = linked().await;
    east.export("web").await;
    let first = west.sees("web-east", |_| true).await;

    let ports = json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}]);
    east.patch(
        "web",
        json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"ports": ports}}),
    )
    .await;
    let changed = west
        .sees("web-east", |s| {
            s.labels().get("app").map(String::as_str) == Some("shop")
        })
        .await;
    assert_eq!(changed.uid(), first.uid(), "it is changed, not made anew");
    let spec = changed.spec.unwrap();
    assert_eq!(spec.cluster_ip, first.spec.unwrap().cluster_ip);
    assert_eq!(spec.ports.unwrap().len(), 2);
    west.sees_slice("web-east", |s| {
        s.ports.as_ref().is_some_and(|p| p.len() == 2)
    })
    .await;

    let ready = |slice: &k8s_openapi::api::discovery::v1::EndpointSlice| {
        slice.endpoints[0].conditions.as_ref().unwrap().ready
    };
    east.endpoints("default", "web", false).await;
    west.sees_slice("web-east", |slice| ready(slice) == Some(false))
        .await;
    east.endpoints("default", "web", true).await;
    west.sees_slice("web-east", |slice| ready(slice) == Some(true))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_exported_no_more_takes_its_mirror_along() {
    let (west, east, _mirror) = linked().await;
    for name in ["web", "api"] {
        east.export(name).await;
        west.sees_slice(&format!("{name}-east"), |_| true).await;
    }
    east.patch(
        "web",
        json!({"metadata": {"labels": {"mirror.linkerd.io/exported": null}}}),
    )
    .await;
    west.misses("web-east").await;
    west.misses_slice("web-east").await;
    assert!(west.services().get_opt("api-east").await.unwrap().is_some());
    east.delete("api").await;
    west.misses("api-east").await;
    west.misses_slice("api-east").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_entry_of_the_status_can_go() {
    let (west, east, _mirror) = linked().await;
    east.export("web").await;
    west.told("east", "web", "Mirrored").await;
    east.delete("web").await;
    let links = west.links();
    crate::sandbox::eventually(async || {
        let status = links.get("east").await.unwrap().status.unwrap();
        let empty = status.mirror_services.is_empty() && status.gateway.unwrap().services == 0;
        empty.then_some(()).ok_or_else(|| "no entry".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_deleted_takes_what_it_made_and_nothing_else() {
    let (west, east, _mirror) = linked().await;
    let north = Cluster::start("north").await;
    west.link(&north).await;
    let federated = json!({
        "mirror.linkerd.io/exported": "true", "mirror.linkerd.io/federated": "member",
    });
    east.service("default", "web", federated.clone()).await;
    north.service("default", "web", federated).await;
    let own = west.service("default", "db", json!({})).await;
    let lookalike = west.service("default", "cache-east", exported()).await;
    for name in [
        "web-east",
        "web-north",
        "web-federated-east",
        "web-federated-north",
    ] {
        west.sees_slice(name, |_| true).await;
    }

    west.links()
        .delete("east", &DeleteParams::default())
        .await
        .unwrap();
    west.misses("web-east").await;
    west.misses_slice("web-east").await;
    west.misses_slice("web-federated-east").await;
    let members = "multicluster.linkerd.io/remote-discovery";
    west.sees("web-federated", |s| {
        s.annotations().get(members).unwrap() == "web@north"
    })
    .await;
    for kept in ["web-north", "web-federated-north"] {
        assert!(
            west.slices().get_opt(kept).await.unwrap().is_some(),
            "{kept}"
        );
    }
    for kept in [own, lookalike] {
        let now = west.services().get(&kept.name_any()).await.unwrap();
        assert_eq!(now.resource_version(), kept.resource_version());
    }

    west.links()
        .delete("north", &DeleteParams::default())
        .await
        .unwrap();
    for gone in ["web-north", "web-federated"] {
        west.misses(gone).await;
    }
    for gone in ["web-north", "web-federated-north"] {
        west.misses_slice(gone).await;
    }
    west.services().get("db").await.unwrap();
    west.slices().get("db-abcde").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_goes_once_everything_made_for_it_is_gone() {
    let (west, east, mirror) = linked().await;
    let labels = json!({
        "mirror.linkerd.io/exported": "true", "mirror.linkerd.io/federated": "member",
    });
    east.service("default", "web", labels).await;
    for slice in ["web-east", "web-federated-east"] {
        west.sees_slice(slice, |_| true).await;
    }
    mirror.stop().await;
    let links = west.links();
    links
        .delete("east", &DeleteParams::default())
        .await
        .unwrap();
    // Nobody is there to clean up, so it waits.
    let link = links.get("east").await.unwrap();
    assert!(link.metadata.deletion_timestamp.is_some());
    assert_eq!(link.finalizers(), ["federation.mesh.io/mirrors"]);

    let _mirror = Mirror::start(&west).await;
    crate::sandbox::eventually(async || match links.get_opt("east").await {
        Ok(None) => Ok(()),
        other => Err(format!("no Link, but {other:?}")),
    })
    .await;
    for gone in ["web-east", "web-federated"] {
        let service = west.services().get_opt(gone).await.unwrap();
        assert!(service.is_none(), "{gone} outlived its Link");
    }
    for gone in ["web-east", "web-federated-east"] {
        let slice = west.slices().get_opt(gone).await.unwrap();
        assert!(slice.is_none(), "{gone} outlived its Link");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_others_hold_back_is_cleaned_up_and_left_to_them() {
    let (west, east, _mirror) = linked().await;
    east.export("web").await;
    west.sees_slice("web-east", |_| true).await;
    let links = west.links();
    let theirs = json!({"metadata": {"finalizers":
        ["federation.mesh.io/mirrors", "example.com/theirs"]}});
    let params = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(theirs);
    links.patch("east", &params, &patch).await.unwrap();
    links
        .delete("east", &DeleteParams::default())
        .await
        .unwrap();
    west.misses("web-east").await;
    west.misses_slice("web-east").await;
    crate::sandbox::eventually(async || {
        let link = links.get("east").await.map_err(|e| e.to_string())?;
        match link.finalizers() {
            [theirs] if theirs == "example.com/theirs" => Ok(()),
            other => Err(format!("only theirs, but {other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_the_mirror_was_down_is_cleaned_up_when_it_starts() {
    let (west, east, mirror) = linked().await;
    let north = Cluster::start("north").await;
    west.link(&north).await;
    east.export("web").await;
    east.export("api").await;
    north.export("web").await;
    for name in ["web-east", "api-east", "web-north"] {
        west.sees_slice(name, |_| true).await;
    }
    mirror.stop().await;
    east.delete("web").await;
    west.links()
        .delete("north", &DeleteParams::default())
        .await
        .unwrap();
    east.export("new").await;

    let _mirror = Mirror::start(&west).await;
    for gone in ["web-east", "web-north"] {
        west.misses(gone).await;
        west.misses_slice(gone).await;
    }
    west.sees("new-east", |_| true).await;
    west.services().get("api-east").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_somebody_changed_or_deleted_is_put_right() {
    let (west, east, _mirror) = linked().await;
    east.export("web").await;
    let first = west.sees("web-east", |_| true).await;
    west.patch(
        "web-east",
        json!({"spec": {"ports": [{"name": "other", "port": 81}]}}),
    )
    .await;
    west.sees("web-east", |s| {
        s.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port == 80
    })
    .await;
    west.sees_slice("web-east", |_| true).await;
    west.delete("web-east").await;
    west.sees("web-east", |s| s.uid() != first.uid()).await;
    west.slices()
        .delete("web-east", &DeleteParams::default())
        .await
        .unwrap();
    west.sees_slice("web-east", |_| true).await;
}
