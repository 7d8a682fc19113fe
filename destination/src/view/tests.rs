//! Answers, asked of an index without a wire.

use crate::{
    index::Answer,
    sandbox::*,
    view::{Audience, Audience::Mesh, Authn, Endpoints, Hint, Inbound, InboundProtocol, PolicyRef},
};
use serde_json::{Value, json};
use std::net::SocketAddr;

const WEB: &str = "web.default.svc.cluster.local:80";

fn addresses(answer: &Answer<Endpoints>) -> Vec<String> {
    let endpoints = answer.as_ref().expect("the Service exists");
    endpoints
        .addresses
        .keys()
        .map(SocketAddr::to_string)
        .collect()
}

#[test]
fn endpoints_that_are_not_ready_or_terminate_are_left_out() {
    let sandbox = Sandbox::exporting();
    let view = sandbox.endpoints(Mesh, WEB);
    for (conditions, used) in [
        (json!({"ready": true}), true),
        (json!({}), true),
        (json!({"ready": false}), false),
        (
            json!({"ready": false, "serving": true, "terminating": true}),
            false,
        ),
        (json!({"ready": true, "terminating": true}), false),
    ] {
        let mut changed = slice("web", 8080, &[("web-1", "10.0.0.1")]);
        changed.endpoints[0].conditions = Some(object(conditions.clone()));
        sandbox.apply(changed);
        assert_eq!(
            addresses(&view.borrow()).len(),
            usize::from(used),
            "{conditions}"
        );
    }
}

#[test]
fn a_pod_that_is_deleted_or_ended_is_left_out_before_its_slice_says_so() {
    let sandbox = Sandbox::exporting();
    let view = sandbox.endpoints(Mesh, WEB);
    let mut ended = pod("web-1", "10.0.0.1");
    ended.status.as_mut().unwrap().phase = Some("Failed".into());
    sandbox.apply(ended);
    assert!(addresses(&view.borrow()).is_empty());
    sandbox.apply(pod("web-1", "10.0.0.1"));
    assert_eq!(addresses(&view.borrow()), ["10.0.0.1:8080"]);
    let mut deleted: Value = serde_json::to_value(pod("web-1", "10.0.0.1")).unwrap();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    sandbox.apply(object::<Pod>(deleted));
    assert!(addresses(&view.borrow()).is_empty());
}

#[test]
fn a_pod_that_is_not_known_yet_is_never_reached_in_the_clear() {
    let sandbox = Sandbox::new();
    sandbox.apply(service("web", "10.96.0.1", 80));
    sandbox.apply(slice("web", 8080, &[("web-1", "10.0.0.1")]));
    let view = sandbox.endpoints(Mesh, WEB);
    assert!(addresses(&view.borrow()).is_empty());
    sandbox.apply(pod("web-1", "10.0.0.1"));
    let endpoints = view.borrow().clone().unwrap();
    let endpoint = endpoints.addresses.values().next().unwrap();
    assert!(endpoint.identity.is_some());
}

#[test]
fn control_plane_pods_are_not_taken_for_meshed_by_their_label() {
    let sandbox = Sandbox::exporting();
    sandbox.apply(plain_pod("web-1", "10.0.0.1"));
    let endpoints = sandbox.endpoints(Mesh, WEB).borrow().clone().unwrap();
    assert!(endpoints.addresses.values().all(|e| e.identity.is_none()));
}

#[test]
fn native_sidecars_and_their_ports_are_known() {
    let sandbox = Sandbox::exporting();
    let mut native = serde_json::to_value(plain_pod("web-1", "10.0.0.1")).unwrap();
    native["spec"]["initContainers"] = json!([{
        "name": "linkerd-proxy",
        "restartPolicy": "Always",
        "env": [{"name": "LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "value": "[::]:5143"}]
    }]);
    sandbox.apply(object::<Pod>(native));
    let endpoints = sandbox.endpoints(Mesh, WEB).borrow().clone().unwrap();
    let endpoint = endpoints.addresses.values().next().unwrap();
    assert_eq!(
        (endpoint.inbound_port, endpoint.hint),
        (Some(5143), Hint::H2)
    );
}

#[test]
fn ports_the_sidecar_never_sees_are_reached_in_the_clear() {
    let sandbox = Sandbox::exporting();
    let key = "config.linkerd.io/skip-inbound-ports";
    sandbox.apply(annotated(pod("web-1", "10.0.0.1"), key, "8080"));
    let endpoints = sandbox.endpoints(Mesh, WEB).borrow().clone().unwrap();
    let endpoint = endpoints.addresses.values().next().unwrap();
    assert!(endpoint.identity.is_none() && endpoint.inbound_port.is_none());
}

#[test]
fn endpoints_of_another_cluster_without_an_identity_are_never_used() {
    let sandbox = Sandbox::new();
    sandbox.apply(service("web-east", "10.96.0.6", 80));
    for missing in [
        "mirror.linkerd.io/remote-gateway-identity",
        "mirror.linkerd.io/remote-svc-fq-name",
    ] {
        let mut slice = gateway_slice("web-east", "east", "192.0.2.1");
        slice.metadata.annotations.as_mut().unwrap().remove(missing);
        sandbox.apply(slice);
        let view = sandbox.endpoints(Mesh, "web-east.default.svc.cluster.local:80");
        assert!(addresses(&view.borrow()).is_empty(), "without {missing}");
    }
}

#[test]
fn a_dead_gateway_s_endpoints_are_left_out() {
    let sandbox = Sandbox::federated();
    let east = sandbox.endpoints(Mesh, "east.web-federated.default.svc.cluster.local:80");
    assert_eq!(addresses(&east.borrow()), ["192.0.2.1:4143"]);
    let mut dead = gateway_slice("web-federated", "east", "192.0.2.1");
    dead.endpoints[0].conditions.as_mut().unwrap().ready = Some(false);
    sandbox.apply(dead);
    assert!(addresses(&east.borrow()).is_empty());
    sandbox.delete::<EndpointSlice>("default", "web-federated-east");
    assert!(addresses(&east.borrow()).is_empty());
}

#[test]
fn a_member_whose_port_differs_contributes_nothing_wrong() {
    let sandbox = Sandbox::federated();
    sandbox.apply(service("web", "10.96.0.1", 8080));
    let union = sandbox.endpoints(Mesh, "web-federated.default.svc.cluster.local:80");
    assert_eq!(addresses(&union.borrow()), ["192.0.2.1:4143"]);
}

#[test]
fn a_federated_service_without_a_local_member_goes_to_the_others() {
    let sandbox = Sandbox::federated();
    sandbox.apply(annotated(
        service("web-federated", "10.96.0.2", 80),
        "multicluster.linkerd.io/remote-discovery",
        "web@north,web@east",
    ));
    let policy = sandbox.outbound(Mesh, "10.96.0.2:80").unwrap();
    assert_eq!(policy.backends.len(), 2);
    let union = sandbox.endpoints(Mesh, "web-federated.default.svc.cluster.local:80");
    assert_eq!(addresses(&union.borrow()), ["192.0.2.1:4143"]);
}

#[test]
fn named_and_numbered_target_ports_come_from_the_slices() {
    let sandbox = Sandbox::exporting();
    let mut two = service("web", "10.96.0.1", 80);
    let ports = two.spec.as_mut().and_then(|s| s.ports.as_mut()).unwrap();
    ports.push(object(json!({"name": "admin", "port": 81})));
    sandbox.apply(two);
    let mut both = slice("web", 8080, &[("web-1", "10.0.0.1")]);
    let ports = both.ports.as_mut().unwrap();
    ports.push(object(json!({"name": "admin", "port": 9990})));
    ports.push(object(
        json!({"name": "dns", "port": 53, "protocol": "UDP"}),
    ));
    sandbox.apply(both);
    let admin = sandbox.endpoints(Mesh, "web.default.svc.cluster.local:81");
    assert_eq!(addresses(&admin.borrow()), ["10.0.0.1:9990"]);
    let none = sandbox.endpoints(Mesh, "web.default.svc.cluster.local:9990");
    assert!(addresses(&none.borrow()).is_empty());
}

#[test]
fn an_address_that_moves_between_services_is_answered_for_its_owner() {
    let sandbox = Sandbox::exporting();
    let name = |path| sandbox.profile(Mesh, path).unwrap().name.clone();
    assert_eq!(name("10.96.0.1:80"), "web.default.svc.cluster.local");
    sandbox.apply(service("web", "10.96.0.7", 80));
    assert_eq!(name("10.96.0.1:80"), "");
    sandbox.apply(service("other", "10.96.0.1", 80));
    assert_eq!(name("10.96.0.1:80"), "other.default.svc.cluster.local");
    assert_eq!(name("10.96.0.7:80"), "web.default.svc.cluster.local");
}

#[test]
fn a_reset_leaves_only_what_it_lists() {
    let sandbox = Sandbox::exporting();
    let view = sandbox.endpoints(Mesh, WEB);
    sandbox.index.lock().reset::<EndpointSlice>(&[]);
    assert!(addresses(&view.borrow()).is_empty());
    sandbox.index.lock().reset::<Service>(&[]);
    assert!(view.borrow().is_none());
    assert_eq!(sandbox.index.lock().counts()["services"], 0);
}

// Inbound.

fn policy(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": kind,
        "metadata": {"namespace": "default", "name": name},
        "spec": spec
    })
}

fn server(name: &str, spec: Value) -> Server {
    let mut server = policy("Server", name, spec);
    server["apiVersion"] = json!("policy.linkerd.io/v1beta3");
    object(server)
}

fn authorization(refs: Value) -> AuthorizationPolicy {
    object(policy(
        "AuthorizationPolicy",
        "web",
        json!({
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web"},
            "requiredAuthenticationRefs": refs
        }),
    ))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": name})
}

/// `web-1`, and a Server on its port `http`.
fn guarded() -> Sandbox {
    let sandbox = Sandbox::exporting();
    sandbox.apply(server(
        "web",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "port": "http"}),
    ));
    sandbox
}

fn inbound(sandbox: &Sandbox, port: u16) -> Inbound {
    let answer = sandbox.inbound("web-1", port).borrow().clone();
    (*answer.expect("the pod exists")).clone()
}

#[test]
fn the_gateway_s_shipped_policy_admits_meshed_clients_from_anywhere_and_no_others() {
    let sandbox = Sandbox::exporting();
    sandbox.apply(server(
        "web",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "port": "linkerd-proxy"}),
    ));
    let mesh = reference("MeshTLSAuthentication", "any-meshed");
    let net = reference("NetworkAuthentication", "source-cluster");
    sandbox.apply(authorization(json!([mesh, net])));
    assert!(
        inbound(&sandbox, 4143).admissions.is_empty(),
        "not before they are there"
    );
    sandbox.apply(object::<MeshTLSAuthentication>(policy(
        "MeshTLSAuthentication",
        "any-meshed",
        json!({"identities": ["*"]}),
    )));
    assert!(
        inbound(&sandbox, 4143).admissions.is_empty(),
        "both are required"
    );
    sandbox.apply(object::<NetworkAuthentication>(policy(
        "NetworkAuthentication",
        "source-cluster",
        json!({"networks": [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0", "except": ["fd00::/8"]}]}),
    )));
    let [admission] = &inbound(&sandbox, 4143).admissions[..] else {
        panic!("one")
    };
    let Authn::Identities(identities) = &admission.authn else {
        panic!("identities")
    };
    assert_eq!(
        identities.suffixes.iter().collect::<Vec<_>>(),
        [&Vec::<String>::new()]
    );
    assert_eq!(admission.networks.len(), 2);
    assert_eq!(admission.networks[1].except.len(), 1);
}

#[test]
fn identities_are_exact_by_suffix_or_by_reference() {
    let sandbox = guarded();
    sandbox.apply(authorization(json!([reference(
        "MeshTLSAuthentication",
        "some"
    )])));
    sandbox.apply(object::<MeshTLSAuthentication>(policy(
        "MeshTLSAuthentication",
        "some",
        json!({
            "identities": ["a.b.serviceaccount.identity.linkerd.cluster.local", "*.shop.local", "no*pe"],
            "identityRefs": [
                {"kind": "ServiceAccount", "name": "api"},
                {"kind": "ServiceAccount", "name": "api", "namespace": "other"},
                {"kind": "Namespace", "name": "team"}
            ]
        }),
    )));
    let policy = inbound(&sandbox, 8080);
    let Authn::Identities(identities) = &policy.admissions[0].authn else {
        panic!("identities")
    };
    let exact: Vec<_> = identities.exact.iter().map(|id| &**id).collect();
    assert_eq!(
        exact,
        [
            "a.b.serviceaccount.identity.linkerd.cluster.local",
            "api.default.serviceaccount.identity.linkerd.cluster.local",
            "api.other.serviceaccount.identity.linkerd.cluster.local",
        ]
    );
    let suffixes: Vec<_> = identities.suffixes.iter().map(|s| s.join(".")).collect();
    assert_eq!(
        suffixes,
        [
            "shop.local",
            "team.serviceaccount.identity.linkerd.cluster.local"
        ]
    );
}

#[test]
fn what_cannot_be_honoured_admits_nobody() {
    let sandbox = guarded();
    sandbox.apply(object::<NetworkAuthentication>(policy(
        "NetworkAuthentication",
        "bad",
        json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/1600"]}]}),
    )));
    sandbox.apply(object::<MeshTLSAuthentication>(policy(
        "MeshTLSAuthentication",
        "nobody",
        json!({"identities": ["no*pe"]}),
    )));
    for refs in [
        json!([reference("MeshTLSAuthentication", "missing")]),
        json!([reference("NetworkAuthentication", "bad")]),
        json!([reference("MeshTLSAuthentication", "nobody")]),
        json!([reference("HTTPRoute", "x")]),
        json!([{"kind": "ServiceAccount", "name": "a"}, {"kind": "ServiceAccount", "name": "b"}]),
    ] {
        sandbox.apply(authorization(refs.clone()));
        assert!(inbound(&sandbox, 8080).admissions.is_empty(), "{refs}");
    }
    for target in [
        json!({"kind": "Namespace", "name": "other"}),
        json!({"group": "policy.linkerd.io", "kind": "HTTPRoute", "name": "web"}),
    ] {
        let mut elsewhere = authorization(json!([]));
        elsewhere.spec.target_ref = object(target.clone());
        sandbox.apply(elsewhere);
        assert!(inbound(&sandbox, 8080).admissions.is_empty(), "{target}");
    }
}

#[test]
fn a_policy_on_the_namespace_protects_its_servers_and_needs_nothing_if_it_asks_nothing() {
    let sandbox = guarded();
    let mut whole = authorization(json!([]));
    whole.spec.target_ref = object(json!({"kind": "Namespace", "name": "default"}));
    sandbox.apply(whole);
    let policy = inbound(&sandbox, 8080);
    assert_eq!(policy.admissions[0].authn, Authn::Unauthenticated);
    assert_eq!(policy.admissions[0].networks.len(), 2);
}

#[test]
fn a_server_denies_what_nothing_admits_unless_it_says_otherwise() {
    let sandbox = guarded();
    let policy = inbound(&sandbox, 8080);
    assert!(policy.admissions.is_empty());
    assert!(matches!(
        policy.server,
        PolicyRef::Resource { kind: "server", .. }
    ));
    sandbox.apply(server(
        "web",
        json!({
            "podSelector": {}, "port": 8080,
            "proxyProtocol": "gRPC", "accessPolicy": "all-authenticated"
        }),
    ));
    let policy = inbound(&sandbox, 8080);
    assert_eq!(policy.protocol, InboundProtocol::Grpc);
    assert_eq!(
        policy.admissions[0].by,
        PolicyRef::Default("all-authenticated")
    );
}

#[test]
fn a_server_speaks_about_its_port_and_pods_only() {
    let sandbox = guarded();
    assert_eq!(
        inbound(&sandbox, 4191).server,
        PolicyRef::Default("all-unauthenticated")
    );
    sandbox.apply(server(
        "web",
        json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": "http"}),
    ));
    assert_eq!(
        inbound(&sandbox, 8080).server,
        PolicyRef::Default("all-unauthenticated")
    );
}

#[test]
fn of_two_servers_the_older_wins() {
    let sandbox = guarded();
    let dated = |name: &str, date: &str| {
        let mut server = server(name, json!({"podSelector": {}, "port": 8080}));
        server.metadata.creation_timestamp = Some(object(json!(date)));
        server
    };
    sandbox.apply(dated("aaa", "2026-02-01T00:00:00Z"));
    sandbox.apply(dated("zzz", "2026-01-01T00:00:00Z"));
    let PolicyRef::Resource { object, .. } = inbound(&sandbox, 8080).server else {
        panic!("a server")
    };
    assert_eq!(&*object.name, "zzz");
}

#[test]
fn defaults_come_from_the_pod_then_its_namespace_then_the_flag() {
    let key = "config.linkerd.io/default-inbound-policy";
    let sandbox = Sandbox::exporting();
    let name = |sandbox: &Sandbox| match inbound(sandbox, 9000).server {
        PolicyRef::Default(name) => name,
        PolicyRef::Resource { .. } => panic!("no server"),
    };
    assert_eq!(name(&sandbox), "all-unauthenticated");
    let namespace: Namespace = object(json!({"metadata": {"name": "default"}}));
    sandbox.apply(annotated(namespace, key, "cluster-authenticated"));
    assert_eq!(name(&sandbox), "cluster-authenticated");
    assert_eq!(inbound(&sandbox, 9000).admissions[0].networks.len(), 1);
    sandbox.apply(annotated(pod("web-1", "10.0.0.1"), key, "deny"));
    assert_eq!(name(&sandbox), "deny");
    assert!(inbound(&sandbox, 9000).admissions.is_empty());
    sandbox.apply(annotated(pod("web-1", "10.0.0.1"), key, "typo"));
    assert_eq!(name(&sandbox), "cluster-authenticated");
}

#[test]
fn ports_that_require_identity_are_never_open_to_clients_without() {
    let sandbox = Sandbox::exporting();
    let key = "config.linkerd.io/proxy-require-identity-inbound-ports";
    sandbox.apply(annotated(pod("web-1", "10.0.0.1"), key, "4143"));
    assert_eq!(
        inbound(&sandbox, 4143).server,
        PolicyRef::Default("all-authenticated")
    );
    assert_eq!(
        inbound(&sandbox, 8080).server,
        PolicyRef::Default("all-unauthenticated")
    );
}

#[test]
fn pods_of_another_cluster_are_reached_at_their_sidecars_with_their_identity() {
    let identity = "web.default.serviceaccount.identity.linkerd.cluster.local";
    let sandbox = Sandbox::exporting();
    sandbox.apply(service("web-east", "10.96.0.9", 80));
    let annotated = |key: &str, value: Value| {
        let mut slice =
            serde_json::to_value(gateway_slice("web-east", "east", "192.0.2.1")).unwrap();
        slice["metadata"]["annotations"] = json!({
            "mirror.linkerd.io/remote-svc-fq-name": "web.default.svc.cluster.local",
            "federation.mesh.io/pod-identity": identity,
            "federation.mesh.io/pod-inbound-port": "4143",
        });
        slice["metadata"]["annotations"][key] = value;
        slice["ports"][0]["port"] = json!(8080);
        object::<k8s_openapi::api::discovery::v1::EndpointSlice>(slice)
    };
    let name = "web-east.default.svc.cluster.local:80";
    sandbox.apply(annotated("x", json!("y")));
    let endpoints = sandbox.endpoints(Mesh, name).borrow().clone().unwrap();
    let (address, endpoint) = endpoints.addresses.iter().next().unwrap();
    assert_eq!(address.to_string(), "192.0.2.1:8080");
    assert_eq!(endpoint.identity.as_deref(), Some(identity));
    assert_eq!(
        (endpoint.inbound_port, &endpoint.authority),
        (Some(4143), &None)
    );
    assert_eq!(endpoint.hint, Hint::H2);
    assert_eq!(endpoint.labels["target_cluster"].as_ref(), "east");
    // Half of what is needed is not enough.
    for key in [
        "federation.mesh.io/pod-identity",
        "federation.mesh.io/pod-inbound-port",
    ] {
        sandbox.apply(annotated(key, json!("not a name, nor a port")));
        assert!(
            addresses(&sandbox.endpoints(Mesh, name).borrow()).is_empty(),
            "{key}"
        );
    }
}

#[test]
fn a_gateway_leads_to_one_endpoint_of_a_headless_service_by_its_name() {
    let sandbox = Sandbox::new();
    let mut db = serde_json::to_value(service("db", "10.96.0.5", 80)).unwrap();
    db["spec"]["clusterIP"] = json!("None");
    db["spec"]["clusterIPs"] = json!(["None"]);
    let db: Service = object(db);
    sandbox.apply(labelled(db, "mirror.linkerd.io/exported", "true"));
    let mut pods = slice("db", 8080, &[("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")]);
    for endpoint in &mut pods.endpoints {
        endpoint.hostname = endpoint
            .target_ref
            .as_ref()
            .and_then(|pod| pod.name.clone());
    }
    sandbox.apply(pods);
    sandbox.apply(pod("db-0", "10.0.0.1"));
    sandbox.apply(pod("db-1", "10.0.0.2"));
    let asked = sandbox.endpoints(Audience::Gateway, "db-1.db.default.svc.cluster.local:80");
    assert_eq!(addresses(&asked.borrow()), ["10.0.0.2:8080"]);
}
