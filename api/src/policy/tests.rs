//! The types read what people write, and the CRDs are what an API server accepts.

use super::*;
use serde_json::json;

#[test]
fn only_enforced_kinds_are_installed() {
    let names: Vec<_> = crds()
        .into_iter()
        .map(|crd| crd.metadata.name.unwrap_or_default())
        .collect();
    assert_eq!(
        names,
        [
            "servers.policy.linkerd.io",
            "authorizationpolicies.policy.linkerd.io",
            "meshtlsauthentications.policy.linkerd.io",
            "networkauthentications.policy.linkerd.io",
            "clientrestrictions.federation.mesh.io",
        ]
    );
}

#[test]
fn each_crd_stores_one_version_and_serves_all_with_structural_schemas() {
    for crd in crds() {
        let stored = crd.spec.versions.iter().filter(|v| v.storage).count();
        assert_eq!(stored, 1, "{:?}", crd.metadata.name);
        for version in &crd.spec.versions {
            assert!(version.served);
            let schema = version.schema.as_ref().unwrap();
            let text = serde_json::to_string(schema).unwrap();
            assert!(!text.contains("$ref"), "{text}");
            assert!(text.contains("\"spec\""), "{text}");
        }
    }
}

#[test]
fn servers_of_older_versions_are_still_served() {
    let versions: Vec<_> = crds()[0]
        .spec
        .versions
        .iter()
        .map(|v| v.name.clone())
        .collect();
    assert_eq!(versions, ["v1beta3", "v1beta1", "v1beta2"]);
}

#[test]
fn a_port_is_a_number_or_a_name() {
    let server = |port: serde_json::Value| -> ServerSpec {
        serde_json::from_value(json!({
            "podSelector": {"matchLabels": {"app": "order-service"}},
            "port": port,
            "proxyProtocol": "HTTP/2"
        }))
        .unwrap()
    };
    assert_eq!(server(json!(8080)).port, Port::Number(8080));
    assert_eq!(server(json!("http")).port, Port::Name("http".into()));
    assert_eq!(server(json!(1)).proxy_protocol, Some(ProxyProtocol::Http2));
}

#[test]
fn groups_and_kinds_compare_as_kubernetes_compares_them() {
    let target = LocalTargetRef {
        group: Some("policy.linkerd.io".into()),
        kind: "server".into(),
        name: "web".into(),
    };
    assert!(target.is(GROUP, "Server"));
    assert!(!target.is("", "Server"));
    for core in [None, Some(""), Some("core")] {
        let ns = NamespacedTargetRef {
            group: core.map(str::to_owned),
            kind: "ServiceAccount".into(),
            name: "web".into(),
            namespace: None,
        };
        assert!(ns.is("", "ServiceAccount"));
    }
}

#[test]
fn a_restriction_says_whom_and_how() {
    let crd = crds().pop().unwrap();
    assert_eq!(crd.spec.scope, "Cluster");
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["identities"]));
    let says = json!([
        {"required": ["deny"]}, {"required": ["maxConnections"]}, {"required": ["maxRequests"]}
    ]);
    assert_eq!(spec["anyOf"], says);
    let identities = &spec["properties"]["identities"];
    assert_eq!(identities["minItems"], 1);
    assert_eq!(identities["maxItems"], 256);
    assert_eq!(identities["nullable"], serde_json::Value::Null);
    let read: ClientRestrictionSpec = serde_json::from_value(json!({
        "identities": ["*.east.example"], "maxConnections": 3
    }))
    .unwrap();
    assert_eq!((read.deny, read.max_connections), (false, Some(3)));
}
