//! What messages say, beside being valid.

use super::*;
use crate::sandbox::{annotated, gateway_slice, labelled, plain_pod, pod, service, slice};
use linkerd2_proxy_api::{
    destination::{WeightedAddr, protocol_hint::Protocol, tls_identity, update},
    inbound::{authn, proxy_protocol::Kind as InboundKind},
    meta::metadata,
    outbound::{backend, backend::endpoint_discovery, http_route, opaque_route, proxy_protocol},
};

async fn added(served: &Served, path: &str) -> (Vec<WeightedAddr>, Vec<(String, String)>) {
    let mut updates = served.workload().get(path).await.unwrap();
    let update = next(&mut updates.stream).await.unwrap();
    updates.balancer.update(&update);
    let Some(update::Update::Add(add)) = update.update else {
        panic!("{update:?}")
    };
    let mut labels: Vec<_> = add.metric_labels.into_iter().collect();
    labels.sort();
    (add.addrs, labels)
}

fn identity(endpoint: &WeightedAddr) -> Option<&str> {
    match endpoint.tls_identity.as_ref()?.strategy.as_ref()? {
        tls_identity::Strategy::DnsLikeIdentity(dns) => Some(&dns.name),
        tls_identity::Strategy::UriLikeIdentity(_) => None,
    }
}

#[tokio::test]
async fn a_meshed_pod_is_reached_with_its_identity_on_its_inbound_port() {
    let served = Served::new(Sandbox::exporting()).await;
    let (endpoints, set) = added(&served, "web.default.svc.cluster.local:80").await;
    let [endpoint] = &endpoints[..] else {
        panic!("{endpoints:?}")
    };
    assert_eq!(
        identity(endpoint),
        Some("web.default.serviceaccount.identity.linkerd.cluster.local")
    );
    let hint = endpoint.protocol_hint.unwrap();
    assert_eq!(hint.opaque_transport.unwrap().inbound_port, 4143);
    assert!(matches!(hint.protocol, Some(Protocol::H2(_))));
    for (key, value) in [
        ("pod", "web-1"),
        ("serviceaccount", "web"),
        ("control_plane_ns", "linkerd"),
        ("deployment", "web"),
        ("zone", "z1"),
    ] {
        assert_eq!(endpoint.metric_labels[key], value);
    }
    let set: Vec<_> = set.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(set, [("namespace", "default"), ("service", "web")]);
}

#[tokio::test]
async fn a_pod_without_a_sidecar_is_reached_in_the_clear() {
    let sandbox = Sandbox::exporting();
    sandbox.apply(plain_pod("web-1", "10.0.0.1"));
    let served = Served::new(sandbox).await;
    let (endpoints, _) = added(&served, "web.default.svc.cluster.local:80").await;
    assert!(endpoints[0].tls_identity.is_none() && endpoints[0].protocol_hint.is_none());
}

#[tokio::test]
async fn a_gateway_endpoint_names_what_to_ask_it_for() {
    let sandbox = Sandbox::new();
    sandbox.apply(service("web-east", "10.96.0.6", 80));
    sandbox.apply(gateway_slice("web-east", "east", "192.0.2.1"));
    let served = Served::new(sandbox).await;
    let (endpoints, _) = added(&served, "web-east.default.svc.cluster.local:80").await;
    let endpoint = &endpoints[0];
    assert_eq!(identity(endpoint), Some(crate::sandbox::EAST));
    let authority = endpoint.authority_override.as_ref().unwrap();
    assert_eq!(
        authority.authority_override,
        "web.default.svc.cluster.local:80"
    );
    let hint = endpoint.protocol_hint.unwrap();
    assert!(hint.opaque_transport.is_none() && matches!(hint.protocol, Some(Protocol::H2(_))));
    assert_eq!(endpoint.metric_labels["target_cluster"], "east");
    assert_eq!(endpoint.metric_labels["target_service"], "web");
    assert_eq!(
        endpoint.metric_labels["target_service_namespace"],
        "default"
    );
}

fn balanced(backend: Option<&linkerd2_proxy_api::outbound::Backend>) -> String {
    let Some(backend::Kind::Balancer(balancer)) = backend.and_then(|b| b.kind.as_ref()) else {
        panic!("{backend:?}")
    };
    match balancer.discovery.as_ref().and_then(|d| d.kind.as_ref()) {
        Some(endpoint_discovery::Kind::Dst(get)) => get.path.clone(),
        None => panic!("{balancer:?}"),
    }
}

fn http_paths(route: &linkerd2_proxy_api::outbound::HttpRoute) -> Vec<String> {
    use http_route::distribution::Kind;
    match route.rules[0].backends.as_ref().unwrap().kind.as_ref() {
        Some(Kind::FirstAvailable(first)) => first
            .backends
            .iter()
            .map(|of| balanced(of.backend.as_ref()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn opaque_paths(route: &linkerd2_proxy_api::outbound::OpaqueRoute) -> Vec<String> {
    use opaque_route::distribution::Kind;
    match route.rules[0].backends.as_ref().unwrap().kind.as_ref() {
        Some(Kind::FirstAvailable(first)) => first
            .backends
            .iter()
            .map(|of| balanced(of.backend.as_ref()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_federated_service_is_local_first_then_each_cluster_by_name() {
    let served = Served::new(Sandbox::federated()).await;
    let wanted = [
        "web.default.svc.cluster.local:80",
        "east.web-federated.default.svc.cluster.local:80",
        "north.web-federated.default.svc.cluster.local:80",
    ];
    let workload = served.workload();
    let by_address = workload.policy("10.96.0.2:80").await.unwrap();
    let name = "web-federated.default.svc.cluster.local:80";
    assert_eq!(by_address, workload.policy(name).await.unwrap());
    let Some(proxy_protocol::Kind::Detect(detect)) = by_address.protocol.unwrap().kind else {
        panic!("detect")
    };
    assert_eq!(http_paths(&detect.http1.unwrap().routes[0]), wanted);
    assert_eq!(http_paths(&detect.http2.unwrap().routes[0]), wanted);
    assert_eq!(opaque_paths(&detect.opaque.unwrap().routes[0]), wanted);

    // Each backend can be asked for, and says at once that it has none rather than nothing.
    let mut local = workload.get(wanted[0]).await.unwrap();
    local.until(&["10.0.0.1:8080"]).await;
    let mut east = workload.get(wanted[1]).await.unwrap();
    east.until(&["192.0.2.1:4143"]).await;
    let mut north = workload.get(wanted[2]).await.unwrap();
    let first = north.next().await.unwrap();
    assert!(first.exists && first.addresses.is_empty());
    let mut union = workload.get(name).await.unwrap();
    union.until(&["10.0.0.1:8080", "192.0.2.1:4143"]).await;
    let nobody = "south.web-federated.default.svc.cluster.local:80";
    assert!(
        !workload
            .get(nobody)
            .await
            .unwrap()
            .next()
            .await
            .unwrap()
            .exists
    );

    // North's slice comes: its backend follows, and the policy has not changed.
    let mut policies = workload.watch_policy(name).await.unwrap();
    next(&mut policies).await.unwrap();
    served
        .sandbox
        .apply(gateway_slice("web-federated", "north", "192.0.2.2"));
    north.until(&["192.0.2.2:4143"]).await;
    union
        .until(&["10.0.0.1:8080", "192.0.2.1:4143", "192.0.2.2:4143"])
        .await;
    let wait = Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, policies.next()).await.is_err());
}

#[tokio::test]
async fn protocols_are_declared_by_app_protocol_and_opaque_ports() {
    let sandbox = Sandbox::exporting();
    let declare = |protocol: &str| {
        let mut web = service("web", "10.96.0.1", 80);
        let ports = web
            .spec
            .as_mut()
            .and_then(|spec| spec.ports.as_mut())
            .unwrap();
        ports[0].app_protocol = Some(protocol.to_owned());
        sandbox.apply(web);
        let policy = sandbox
            .outbound(crate::view::Audience::Mesh, "10.96.0.1:80")
            .unwrap();
        let policy = super::super::outbound::policy(&policy);
        valid::policy(&policy);
        policy.protocol.unwrap().kind.unwrap()
    };
    use proxy_protocol::Kind;
    assert!(matches!(declare("http"), Kind::Http1(_)));
    assert!(matches!(declare("kubernetes.io/h2c"), Kind::Http2(_)));
    assert!(matches!(declare("grpc"), Kind::Grpc(_)));
    assert!(matches!(declare("linkerd.io/opaque"), Kind::Opaque(_)));
    assert!(matches!(declare("example.com/mine"), Kind::Detect(_)));
}

#[tokio::test]
async fn opaque_ports_reach_policies_profiles_and_endpoints() {
    let sandbox = Sandbox::exporting();
    let key = "config.linkerd.io/opaque-ports";
    sandbox.apply(annotated(service("web", "10.96.0.1", 80), key, "http"));
    sandbox.apply(annotated(pod("web-1", "10.0.0.1"), key, "8000-8100"));
    let served = Served::new(sandbox).await;
    let workload = served.workload();
    let policy = workload.policy("10.96.0.1:80").await.unwrap();
    let kind = policy.protocol.unwrap().kind.unwrap();
    assert!(matches!(kind, proxy_protocol::Kind::Opaque(_)));
    for target in ["10.96.0.1:80", "10.0.0.1:8080"] {
        let profile = next(&mut workload.profile(target).await.unwrap())
            .await
            .unwrap();
        valid::profile(&profile);
        assert!(profile.opaque_protocol, "{target}");
    }
    let (endpoints, _) = added(&served, "web.default.svc.cluster.local:80").await;
    let hint = endpoints[0].protocol_hint.unwrap();
    assert!(matches!(hint.protocol, Some(Protocol::Opaque(_))));
    assert!(hint.opaque_transport.is_some());
    let server = workload.port("default:web-1", 8080).await.unwrap();
    let kind = server.protocol.unwrap().kind.unwrap();
    assert!(matches!(kind, InboundKind::Opaque(_)));
}

#[tokio::test]
async fn an_undeclared_port_of_a_service_is_forbidden() {
    let served = Served::new(Sandbox::exporting()).await;
    let policy = served.workload().policy("10.96.0.1:9999").await.unwrap();
    let Some(proxy_protocol::Kind::Opaque(opaque)) = policy.protocol.unwrap().kind else {
        panic!("opaque")
    };
    let filter = opaque.routes[0].rules[0].filters[0].kind.as_ref().unwrap();
    assert!(matches!(filter, opaque_route::filter::Kind::Forbidden(_)));
}

#[tokio::test]
async fn a_pod_s_address_is_one_endpoint_with_its_identity() {
    let served = Served::new(Sandbox::exporting()).await;
    let workload = served.workload();
    let mut profiles = workload.profile("10.0.0.1:8080").await.unwrap();
    let profile = next(&mut profiles).await.unwrap();
    valid::profile(&profile);
    assert!(profile.fully_qualified_name.is_empty());
    let endpoint = profile.endpoint.unwrap();
    assert!(identity(&endpoint).unwrap().starts_with("web.default."));
    let policy = workload.policy("10.0.0.1:8080").await.unwrap();
    let Some(metadata::Kind::Resource(resource)) = policy.metadata.unwrap().kind else {
        panic!("a pod")
    };
    assert_eq!((&*resource.kind, &*resource.name), ("Pod", "web-1"));
    let Some(proxy_protocol::Kind::Detect(detect)) = policy.protocol.unwrap().kind else {
        panic!("detect")
    };
    let route = &detect.http1.unwrap().routes[0];
    let Some(http_route::distribution::Kind::FirstAvailable(first)) =
        route.rules[0].backends.clone().unwrap().kind
    else {
        panic!("first available")
    };
    let backend = first.backends[0].backend.clone().unwrap();
    assert!(matches!(backend.kind, Some(backend::Kind::Forward(forward)) if forward == endpoint));
}

#[tokio::test]
async fn probes_are_let_in_without_an_identity_and_nothing_else_is() {
    let sandbox = Sandbox::exporting();
    let key = "config.linkerd.io/default-inbound-policy";
    sandbox.apply(annotated(
        pod("web-1", "10.0.0.1"),
        key,
        "all-authenticated",
    ));
    let served = Served::new(sandbox).await;
    for (port, paths) in [(8080, vec!["/healthz"]), (4191, vec!["/live", "/ready"])] {
        let server = served.workload().port("default:web-1", port).await.unwrap();
        assert_eq!(server.labels["name"], "all-authenticated");
        let permit = server.authorizations[0].authentication.as_ref().unwrap();
        assert!(matches!(permit.permit, Some(authn::Permit::MeshTls(_))));
        let Some(InboundKind::Detect(detect)) = server.protocol.unwrap().kind else {
            panic!("detect")
        };
        let [default, probe] = &detect.http_routes[..] else {
            panic!("{:?}", detect.http_routes)
        };
        assert!(default.authorizations.is_empty());
        let permit = probe.authorizations[0].authentication.as_ref().unwrap();
        assert!(matches!(
            permit.permit,
            Some(authn::Permit::Unauthenticated(_))
        ));
        use linkerd2_proxy_api::http_route::path_match::Kind;
        let matched: Vec<_> = probe.rules[0]
            .matches
            .iter()
            .filter_map(|m| match m.path.as_ref()?.kind.as_ref()? {
                Kind::Exact(path) => Some(path.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(matched, paths);
    }
}

#[tokio::test]
async fn a_pod_s_own_name_is_its_endpoint() {
    let sandbox = Sandbox::new();
    let mut headless = service("db", "None", 80);
    headless = labelled(headless, "mirror.linkerd.io/exported", "true");
    sandbox.apply(headless);
    sandbox.apply(crate::sandbox::gateway_service());
    for (name, ip) in [("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")] {
        sandbox.apply(pod(name, ip));
    }
    let mut endpoints = slice("db", 8080, &[("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")]);
    for endpoint in &mut endpoints.endpoints {
        endpoint.hostname = endpoint.target_ref.as_ref().and_then(|t| t.name.clone());
    }
    sandbox.apply(endpoints);
    let served = Served::new(sandbox).await;
    for caller in [served.workload(), served.gateway()] {
        let path = "db-1.db.default.svc.cluster.local:80";
        caller
            .get(path)
            .await
            .unwrap()
            .until(&["10.0.0.2:8080"])
            .await;
        let profile = next(&mut caller.profile(path).await.unwrap())
            .await
            .unwrap();
        valid::profile(&profile);
        assert!(profile.endpoint.is_some());
        caller.policy(path).await.unwrap();
    }
}
