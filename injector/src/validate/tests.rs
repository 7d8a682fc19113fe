//! What is admitted, and what is refused with which words.

use super::*;
use serde_json::json;

fn refused(group: &str, kind: &str, spec: Value) -> String {
    let object = json!({"metadata": {"name": "it", "namespace": "shop"}, "spec": spec});
    check(group, kind, &object).errors.join("; ")
}

#[test]
fn what_users_write_is_admitted() {
    let policy = "policy.linkerd.io";
    for (group, kind, spec) in [
        (
            policy,
            "Server",
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "port": 8080, "proxyProtocol": "HTTP/2"}),
        ),
        (policy, "Server", json!({"podSelector": {}, "port": "http"})),
        (
            policy,
            "AuthorizationPolicy",
            json!({
            "targetRef": {"group": policy, "kind": "Server", "name": "web"},
            "requiredAuthenticationRefs": [
                {"group": policy, "kind": "MeshTLSAuthentication", "name": "a"},
                {"group": policy, "kind": "NetworkAuthentication", "name": "n"}]}),
        ),
        (
            policy,
            "AuthorizationPolicy",
            json!({
            "targetRef": {"kind": "Namespace", "name": "shop"},
            "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "a"}]}),
        ),
        (
            policy,
            "MeshTLSAuthentication",
            json!({"identities": ["*", "*.shop.serviceaccount.identity.linkerd.cluster.local"]}),
        ),
        (
            policy,
            "MeshTLSAuthentication",
            json!({"identityRefs": [{"kind": "ServiceAccount", "name": "a"}]}),
        ),
        (
            policy,
            "NetworkAuthentication",
            json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.1"]}]}),
        ),
        (
            policy,
            "HTTPLocalRateLimitPolicy",
            json!({
            "targetRef": {"group": "core", "kind": "Server", "name": "web"},
            "total": {"requestsPerSecond": 1000}, "overrides": [{"requestsPerSecond": 5}]}),
        ),
        (
            "gateway.networking.k8s.io",
            "HTTPRoute",
            json!({
            "parentRefs": [{"name": "web", "kind": "Service", "group": "core", "port": 80}],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}],
                       "timeouts": {"request": "1m30s"},
                       "backendRefs": [{"name": "web", "port": 80, "weight": 90}, {"name": "v2", "port": 80}]}]}),
        ),
        (
            "gateway.networking.k8s.io",
            "HTTPRoute",
            json!({"parentRefs": [{"name": "nginx"}], "rules": [{"filters": [{"type": "URLRewrite"}]}]}),
        ),
        (
            "multicluster.linkerd.io",
            "Link",
            json!({
            "targetClusterName": "east", "gatewayAddress": "gateway-east.example.com,192.0.2.1", "gatewayPort": 4143,
            "gatewayIdentity": "gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local",
            "probeSpec": {"path": "/ready", "port": 4191, "period": "3s"}}),
        ),
        ("other.io", "Thing", json!(null)),
    ] {
        assert_eq!(refused(group, kind, spec.clone()), "", "{kind} {spec}");
    }
}

#[test]
fn what_would_be_ignored_or_misunderstood_is_refused_with_the_field() {
    let policy = "policy.linkerd.io";
    let server = json!({"group": policy, "kind": "Server", "name": "web"});
    let authn = |kind: &str| json!({"group": policy, "kind": kind, "name": "x"});
    for (group, kind, spec, words) in [
        (
            policy,
            "Server",
            json!({"podSelector": {}, "port": 0}),
            "spec.port",
        ),
        (
            policy,
            "Server",
            json!({"podSelector": {}, "port": "No_Name"}),
            "spec.port",
        ),
        (
            policy,
            "Server",
            json!({"podSelector": {}, "port": 80, "proxyProtocol": "HTTP/3"}),
            "HTTP/3",
        ),
        (
            policy,
            "Server",
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "port": 80}),
            "needs values",
        ),
        (
            policy,
            "AuthorizationPolicy",
            json!({"targetRef": {"kind": "Service", "name": "web"}, "requiredAuthenticationRefs": []}),
            "cannot be protected",
        ),
        (
            policy,
            "AuthorizationPolicy",
            json!({"targetRef": {"kind": "Namespace", "name": "other"}, "requiredAuthenticationRefs": []}),
            "only its own namespace",
        ),
        (
            policy,
            "AuthorizationPolicy",
            json!({"targetRef": server, "requiredAuthenticationRefs": [authn("MeshTLSAuthentication"), authn("MeshTLSAuthentication")]}),
            "at most one",
        ),
        (
            policy,
            "AuthorizationPolicy",
            json!({"targetRef": server, "requiredAuthenticationRefs": [authn("Server")]}),
            "no authentication",
        ),
        (
            policy,
            "MeshTLSAuthentication",
            json!({}),
            "must name somebody",
        ),
        (
            policy,
            "MeshTLSAuthentication",
            json!({"identities": ["a b"]}),
            "no identity",
        ),
        (
            policy,
            "MeshTLSAuthentication",
            json!({"identityRefs": [{"kind": "Pod", "name": "a"}]}),
            "ServiceAccounts have",
        ),
        (
            policy,
            "NetworkAuthentication",
            json!({"networks": []}),
            "at least one",
        ),
        (
            policy,
            "NetworkAuthentication",
            json!({"networks": [{"cidr": "10.0.0.0/33"}]}),
            "no network",
        ),
        (
            policy,
            "NetworkAuthentication",
            json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}]}),
            "not a part",
        ),
        (
            policy,
            "HTTPLocalRateLimitPolicy",
            json!({"targetRef": {"kind": "Server"}, "total": {"requestsPerSecond": 0}}),
            "above 0",
        ),
        (
            policy,
            "HTTPLocalRateLimitPolicy",
            json!({"targetRef": {"kind": "Server"}}),
            "no limit",
        ),
        (
            policy,
            "HTTPRoute",
            json!({"parentRefs": [{"kind": "Service", "name": "web", "group": "apps"}]}),
            "core",
        ),
        (
            policy,
            "HTTPRoute",
            json!({"parentRefs": [{"kind": "Server", "group": policy, "name": "web"}], "rules": [{"filters": [{"type": "URLRewrite"}]}]}),
            "URLRewrite",
        ),
        (
            policy,
            "HTTPRoute",
            json!({"parentRefs": [{"kind": "Service", "group": "", "name": "web"}], "rules": [{"timeouts": {"request": "10"}}]}),
            "no duration",
        ),
        (
            policy,
            "HTTPRoute",
            json!({"parentRefs": [{"kind": "Service", "group": "", "name": "web"}], "rules": [{"matches": [{"path": {"value": "api"}}]}]}),
            "slash",
        ),
        (
            "linkerd.io",
            "ServiceProfile",
            json!({"routes": [{"name": "a"}]}),
            "full name",
        ),
        (
            "linkerd.io",
            "ServiceProfile",
            json!({"routes": [{"name": "a"}]}),
            "no condition",
        ),
        (
            "linkerd.io",
            "ServiceProfile",
            json!({"retryBudget": {"retryRatio": -1, "ttl": "2m"}}),
            "ttl",
        ),
        (
            "multicluster.linkerd.io",
            "Link",
            json!({"targetClusterName": "East"}),
            "targetClusterName",
        ),
        (
            "multicluster.linkerd.io",
            "Link",
            json!({"targetClusterName": "east", "gatewayAddress": "a b", "gatewayPort": 1}),
            "gatewayAddress",
        ),
        (
            "multicluster.linkerd.io",
            "Link",
            json!({"targetClusterName": "east", "gatewayAddress": "192.0.2.1", "gatewayPort": 1}),
            "gatewayIdentity",
        ),
        (
            "multicluster.linkerd.io",
            "Link",
            json!({"targetClusterName": "east", "probeSpec": {"period": "often"}}),
            "period",
        ),
    ] {
        let said = refused(group, kind, spec.clone());
        assert!(
            said.contains(words),
            "{kind} {spec}: {said:?} lacks {words:?}"
        );
    }
}

#[test]
fn a_route_that_refuses_everything_is_admitted_with_a_warning() {
    let route = json!({"metadata": {"name": "it"}, "spec": {
        "parentRefs": [{"kind": "Service", "group": "core", "name": "web"}],
        "rules": [{"backendRefs": [{"name": "a", "weight": 0}]}]}});
    let found = check("policy.linkerd.io", "HTTPRoute", &route);
    assert!(found.errors.is_empty());
    assert!(found.warnings[0].contains("every weight is 0"));
}
