//! A gateway learns of exported Services only, with local pods only.

use super::*;
use crate::sandbox::{
    self, GATEWAY, Pod, Service, annotated, gateway_slice, labelled, pod, service, slice,
};

/// Everything a gateway must be told does not exist.
fn hidden() -> Sandbox {
    let sandbox = Sandbox::federated();
    sandbox.apply(service("secret", "10.96.0.5", 80));
    sandbox.apply(pod("secret-1", "10.0.0.5"));
    sandbox.apply(slice("secret", 8080, &[("secret-1", "10.0.0.5")]));
    // A mirror whose labels were copied, or set by somebody who hopes for a transit.
    let mirror = labelled(
        service("web-east", "10.96.0.6", 80),
        "mirror.linkerd.io/mirrored-service",
        "true",
    );
    sandbox.apply(labelled(mirror, "mirror.linkerd.io/exported", "true"));
    sandbox.apply(gateway_slice("web-east", "east", "192.0.2.1"));
    let flat = service("flat", "10.96.0.7", 80);
    sandbox.apply(labelled(
        flat,
        "mirror.linkerd.io/exported",
        "remote-discovery",
    ));
    sandbox
}

const HIDDEN_NAMES: &[&str] = &[
    "secret.default.svc.cluster.local:80",
    "secret.default.svc.cluster.local.:80",
    "SECRET.default.svc.cluster.local:80",
    "pod.secret.default.svc.cluster.local:80",
    "web-east.default.svc.cluster.local:80",
    "web-federated.default.svc.cluster.local:80",
    "east.web-federated.default.svc.cluster.local:80",
    "north.web-federated.default.svc.cluster.local:80",
    "flat.default.svc.cluster.local:80",
    "linkerd-gateway.linkerd-multicluster.svc.cluster.local:4143",
    "nothing.default.svc.cluster.local:80",
];

const HIDDEN_ADDRESSES: &[&str] = &[
    "10.0.0.1:8080",  // an exported Service's pod, but by address
    "10.0.0.5:8080",  // an unexported one's
    "10.96.0.5:80",   // secret
    "10.96.0.6:80",   // web-east
    "10.96.0.2:80",   // web-federated
    "203.0.113.9:80", // nobody's
];

#[tokio::test]
async fn what_is_not_exported_is_not_found_by_a_gateway() {
    let served = Served::new(hidden()).await;
    let gateway = served.gateway();
    for name in HIDDEN_NAMES {
        assert_eq!(code(gateway.get(name).await), Code::NotFound, "{name}");
    }
    for target in HIDDEN_NAMES.iter().chain(HIDDEN_ADDRESSES) {
        assert_eq!(
            code(gateway.profile(target).await),
            Code::NotFound,
            "{target}"
        );
        assert_eq!(
            code(gateway.policy(target).await),
            Code::NotFound,
            "{target}"
        );
        assert_eq!(
            code(gateway.watch_policy(target).await),
            Code::NotFound,
            "{target}"
        );
    }
}

#[tokio::test]
async fn workloads_see_what_gateways_do_not() {
    let served = Served::new(hidden()).await;
    let workload = served.workload();
    let mut updates = workload
        .get("secret.default.svc.cluster.local:80")
        .await
        .unwrap();
    updates.until(&["10.0.0.5:8080"]).await;
    assert_eq!(code(workload.policy("10.96.0.5:80").await), Code::Ok);
    assert_eq!(code(workload.policy("10.0.0.5:8080").await), Code::Ok);
}

#[tokio::test]
async fn what_is_exported_is_answered_with_local_pods_only() {
    let sandbox = Sandbox::exporting();
    // Endpoints of another cluster, and an address that is no pod's, under the exported name.
    sandbox.apply(gateway_slice("web", "east", "192.0.2.1"));
    let mut manual = slice("web", 8080, &[("web-1", "10.0.0.1")]);
    manual.metadata.name = Some("web-manual".into());
    manual.endpoints[0].target_ref = None;
    manual.endpoints[0].addresses = vec!["198.51.100.7".into()];
    sandbox.apply(manual);
    // A slice may claim a pod's name, but not for an address that is not the pod's.
    let mut forged = slice("web", 8080, &[("web-1", "198.51.100.8")]);
    forged.metadata.name = Some("web-forged".into());
    sandbox.apply(forged);
    let served = Served::new(sandbox).await;

    let name = "web.default.svc.cluster.local:80";
    let gateway = served.gateway();
    let mut updates = gateway.get(name).await.unwrap();
    updates.next().await.unwrap();
    updates.until(&["10.0.0.1:8080"]).await;
    let profile = next(&mut gateway.profile(name).await.unwrap())
        .await
        .unwrap();
    valid::profile(&profile);
    assert_eq!(
        profile.fully_qualified_name,
        "web.default.svc.cluster.local"
    );
    assert_eq!(code(gateway.policy(name).await), Code::Ok);
    assert_eq!(code(gateway.policy("10.96.0.1:80").await), Code::Ok);

    let mut updates = served.workload().get(name).await.unwrap();
    updates
        .until(&["10.0.0.1:8080", "192.0.2.1:4143", "198.51.100.7:8080"])
        .await;
}

#[tokio::test]
async fn a_gateway_s_own_pods_are_nothing_for_a_gateway() {
    let sandbox = Sandbox::exporting();
    let gateway = annotated(
        pod("gw", "10.0.0.9"),
        "config.linkerd.io/enable-gateway",
        "true",
    );
    sandbox.apply(gateway);
    sandbox.apply(slice(
        "web",
        8080,
        &[("web-1", "10.0.0.1"), ("gw", "10.0.0.9")],
    ));
    let served = Served::new(sandbox).await;
    let name = "web.default.svc.cluster.local:80";
    let mut updates = served.gateway().get(name).await.unwrap();
    updates.until(&["10.0.0.1:8080"]).await;
}

#[tokio::test]
async fn an_open_stream_ends_when_the_export_label_is_removed() {
    let served = Served::new(Sandbox::exporting()).await;
    let name = "web.default.svc.cluster.local:80";
    let gateway = served.gateway();
    let mut updates = gateway.get(name).await.unwrap();
    updates.until(&["10.0.0.1:8080"]).await;
    let mut profiles = gateway.profile(name).await.unwrap();
    valid::profile(&next(&mut profiles).await.unwrap());
    let mut policies = gateway.watch_policy(name).await.unwrap();
    valid::policy(&next(&mut policies).await.unwrap());

    served.sandbox.apply(service("web", "10.96.0.1", 80));

    let balancer = updates.next().await.unwrap();
    assert!(balancer.addresses.is_empty() && !balancer.exists);
    let end = updates.next().await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::NotFound);
    let end = next(&mut profiles).await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::NotFound);
    let end = next(&mut policies).await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::NotFound);
}

#[tokio::test]
async fn a_service_exported_later_is_found_then() {
    let served = Served::new(Sandbox::exporting()).await;
    let name = "web.default.svc.cluster.local:80";
    let gateway = served.gateway();
    served.sandbox.apply(service("web", "10.96.0.1", 80));
    assert_eq!(code(gateway.get(name).await), Code::NotFound);
    let member = labelled(
        service("web", "10.96.0.1", 80),
        "mirror.linkerd.io/federated",
        "member",
    );
    served.sandbox.apply(member);
    let mut updates = gateway.get(name).await.unwrap();
    updates.until(&["10.0.0.1:8080"]).await;
}

#[tokio::test]
async fn who_becomes_a_gateway_must_ask_again() {
    let sandbox = hidden();
    sandbox.delete::<Service>("linkerd-multicluster", "linkerd-gateway");
    let served = Served::new(sandbox).await;
    let name = "secret.default.svc.cluster.local:80";
    let soon_gateway = served.gateway();
    let mut updates = soon_gateway.get(name).await.unwrap();
    updates.until(&["10.0.0.5:8080"]).await;
    let mut policies = soon_gateway.watch_policy(name).await.unwrap();
    valid::policy(&next(&mut policies).await.unwrap());

    served.sandbox.apply(sandbox::gateway_service());

    let end = updates.next().await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::Unavailable);
    let end = next(&mut policies).await.unwrap_err().unwrap();
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(code(soon_gateway.get(name).await), Code::NotFound);
}

#[tokio::test]
async fn a_service_makes_no_gateway_of_somebody_else_s_identity() {
    let sandbox = hidden();
    let victim = "client.default.serviceaccount.identity.linkerd.cluster.local";
    for (namespace, identity) in [
        ("tenant", victim),
        (
            "tenant",
            ".default.serviceaccount.identity.linkerd.cluster.local",
        ),
        ("ault", victim),
        (
            "default",
            ".default.serviceaccount.identity.linkerd.cluster.local",
        ),
    ] {
        let mut forged = sandbox::gateway_service();
        forged.metadata.namespace = Some(namespace.to_owned());
        let key = "mirror.linkerd.io/gateway-identity";
        sandbox.apply(annotated(forged, key, identity));
    }
    let served = Served::new(sandbox).await;
    let name = "secret.default.svc.cluster.local:80";
    assert_eq!(code(served.workload().get(name).await), Code::Ok);
    assert_eq!(code(served.gateway().get(name).await), Code::NotFound);
}

#[tokio::test]
async fn a_port_that_an_exported_service_lacks_is_not_found_by_a_gateway() {
    let served = Served::new(Sandbox::exporting()).await;
    let gateway = served.gateway();
    let name = "web.default.svc.cluster.local:81";
    assert_eq!(code(gateway.get(name).await), Code::NotFound);
    for target in [name, "10.96.0.1:81"] {
        assert_eq!(code(gateway.profile(target).await), Code::NotFound);
        assert_eq!(code(gateway.policy(target).await), Code::NotFound);
    }
    // A workload is told that it may not, and not that there is nothing.
    assert_eq!(code(served.workload().policy(name).await), Code::Ok);
}

#[tokio::test]
async fn deleting_the_gateway_s_service_opens_nothing_while_its_pods_run() {
    let sandbox = hidden();
    let mut gateway = annotated(
        pod("gw", "10.0.0.9"),
        "config.linkerd.io/enable-gateway",
        "true",
    );
    gateway.metadata.namespace = Some("linkerd-multicluster".into());
    if let Some(spec) = &mut gateway.spec {
        spec.service_account_name = Some("linkerd-gateway".into());
    }
    sandbox.apply(gateway);
    sandbox.delete::<Service>("linkerd-multicluster", "linkerd-gateway");
    let served = Served::new(sandbox).await;
    let name = "secret.default.svc.cluster.local:80";
    assert_eq!(code(served.gateway().get(name).await), Code::NotFound);
    served.sandbox.delete::<Pod>("linkerd-multicluster", "gw");
    assert_eq!(code(served.gateway().get(name).await), Code::Ok);
}

#[tokio::test]
async fn the_gateway_s_identity_is_compared_without_case_or_trailing_dot() {
    let sandbox = hidden();
    let mut shouting = sandbox::gateway_service();
    let identity = format!("{}.", GATEWAY.to_ascii_uppercase());
    let annotations = shouting.metadata.annotations.as_mut().unwrap();
    annotations.insert("mirror.linkerd.io/gateway-identity".into(), identity);
    sandbox.apply(shouting);
    let served = Served::new(sandbox).await;
    let name = "secret.default.svc.cluster.local:80";
    assert_eq!(code(served.gateway().get(name).await), Code::NotFound);
}

#[tokio::test]
async fn to_gateways_no_protocol_is_declared_but_opaque() {
    use linkerd2_proxy_api::outbound::proxy_protocol::Kind;
    let sandbox = Sandbox::exporting();
    for protocol in ["http", "grpc", "kubernetes.io/h2c", "linkerd.io/opaque"] {
        let mut web = labelled(
            service("web", "10.96.0.1", 80),
            "mirror.linkerd.io/exported",
            "true",
        );
        let ports = web
            .spec
            .as_mut()
            .and_then(|spec| spec.ports.as_mut())
            .unwrap();
        ports[0].app_protocol = Some(protocol.into());
        sandbox.apply(web);
        let policy = sandbox
            .outbound(crate::view::Audience::Gateway, "10.96.0.1:80")
            .unwrap();
        let policy = super::super::outbound::policy(&policy);
        valid::policy(&policy);
        let kind = policy.protocol.unwrap().kind.unwrap();
        let opaque = protocol == "linkerd.io/opaque";
        assert_eq!(matches!(kind, Kind::Opaque(_)), opaque, "{protocol}");
        assert_eq!(matches!(kind, Kind::Detect(_)), !opaque, "{protocol}");
    }
}
