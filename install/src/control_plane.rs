//! The control plane's manifests: identity, destination, and what they share.

use crate::{
    rbac::{self, READ, Rule},
    values::{IssuerTls, Values},
    workload::{self, Daemon},
};
use mesh_contract::{labels, names, ports};
use serde_json::{Value, json};

/// Everything but the CRDs, in the order it must be applied.
pub fn render(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut out = vec![namespace_object(namespace)];
    out.extend(shared(values, namespace)?);
    out.extend(identity(values, namespace));
    out.extend(destination(values, namespace));
    Ok(out)
}

fn component_labels(namespace: &str, component: &str) -> Value {
    json!({
        labels::CONTROL_PLANE_NS: namespace,
        labels::CONTROL_PLANE_COMPONENT: component,
        "app.kubernetes.io/part-of": "mesh",
    })
}

fn namespace_object(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {
                "linkerd.io/is-control-plane": "true",
                labels::CONTROL_PLANE_NS: namespace,
                "config.linkerd.io/admission-webhooks": "disabled",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
            "annotations": { mesh_contract::annotations::INJECT: "disabled" },
        },
    })
}

fn shared(values: &Values, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let labels = component_labels(namespace, "config");
    let config = serde_saphyr::to_string(&serde_json::to_value(values.public())?)?;
    let mut out = vec![json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::CONFIG, "namespace": namespace, "labels": labels,
            "annotations": { mesh_contract::annotations::CREATED_BY: crate::created_by() },
        },
        "data": { "values": config },
    })];
    if !values.identity.external_ca {
        out.push(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": names::TRUST_ROOTS, "namespace": namespace, "labels": labels },
            "data": { names::TRUST_ROOTS_KEY: values.identity_trust_anchors_pem },
        }));
    }
    if values.identity.issuer.scheme == "linkerd.io/tls" {
        let IssuerTls { crt_pem, key_pem } = &values.identity.issuer.tls;
        out.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": names::ISSUER, "namespace": namespace, "labels": labels },
            "type": "Opaque",
            "stringData": { "crt.pem": crt_pem, "key.pem": key_pem },
        }));
    }
    Ok(out)
}

fn identity(values: &Values, namespace: &str) -> Vec<Value> {
    let account = (names::IDENTITY, namespace);
    let labels = component_labels(namespace, "identity");
    let mut out = vec![rbac::service_account(names::IDENTITY, namespace, &labels)];
    out.extend(rbac::cluster_role(
        "linkerd-linkerd-identity",
        account,
        &labels,
        &[Rule::new(
            "authentication.k8s.io",
            &["tokenreviews"],
            &["create"],
        )],
    ));
    out.extend(rbac::role(
        account,
        account,
        &labels,
        &[
            Rule::new("", &["secrets"], READ).named(&[names::ISSUER]),
            Rule::new("", &["configmaps"], READ).named(&[names::TRUST_ROOTS]),
            Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
        ],
    ));
    for (service, headless) in [(names::IDENTITY, false), (names::IDENTITY_HEADLESS, true)] {
        out.push(workload::service(
            (service, namespace),
            "identity",
            &labels,
            ("grpc", ports::IDENTITY),
            headless,
        ));
    }
    let issuer = &values.identity.issuer;
    let daemon = Daemon {
        name: names::IDENTITY,
        namespace,
        component: "identity",
        labels: &labels,
        args: vec![
            "identity".into(),
            format!("--controller-namespace={namespace}"),
            format!("--trust-domain={}", values.identity_trust_domain),
            format!("--addr=0.0.0.0:{}", ports::IDENTITY),
            format!("--issuance-lifetime={}", issuer.issuance_lifetime),
            format!("--clock-skew-allowance={}", issuer.clock_skew_allowance),
        ],
        ports: &[("ident-grpc", ports::IDENTITY)],
        admin_port: ports::IDENTITY_ADMIN,
        identity_token: false,
        trust_roots: false,
        replicas: values.controller_replicas,
    };
    out.push(workload::deployment(values, namespace, &daemon));
    out
}

fn destination(values: &Values, namespace: &str) -> Vec<Value> {
    let account = (names::DESTINATION, namespace);
    let labels = component_labels(namespace, "destination");
    let mut out = vec![rbac::service_account(
        names::DESTINATION,
        namespace,
        &labels,
    )];
    out.extend(rbac::cluster_role(
        "linkerd-linkerd-destination",
        account,
        &labels,
        &[
            Rule::new("", &["services", "pods", "namespaces"], READ),
            Rule::new("discovery.k8s.io", &["endpointslices"], READ),
            Rule::new(
                "policy.linkerd.io",
                &[
                    "servers",
                    "authorizationpolicies",
                    "meshtlsauthentications",
                    "networkauthentications",
                ],
                READ,
            ),
        ],
    ));
    for (service, port, headless) in [
        (names::DST, ports::DESTINATION, false),
        (names::DST_HEADLESS, ports::DESTINATION, true),
        (names::POLICY, ports::POLICY, true),
    ] {
        out.push(workload::service(
            (service, namespace),
            "destination",
            &labels,
            ("grpc", port),
            headless,
        ));
    }
    let daemon = Daemon {
        name: names::DESTINATION,
        namespace,
        component: "destination",
        labels: &labels,
        args: vec![
            "destination".into(),
            format!("--controller-namespace={namespace}"),
            format!("--trust-domain={}", values.identity_trust_domain),
            format!("--cluster-domain={}", values.cluster_domain),
            format!("--identity-addr={}", identity_addr(values, namespace)),
            format!("--identity-token-file={}", workload::token_file()),
            format!("--trust-anchors-file={}", workload::trust_roots_file()),
            format!("--destination-addr=0.0.0.0:{}", ports::DESTINATION),
            format!("--policy-addr=0.0.0.0:{}", ports::POLICY),
            format!(
                "--default-inbound-policy={}",
                values.proxy.default_inbound_policy
            ),
            format!("--cluster-networks={}", values.cluster_networks),
            format!("--opaque-ports={}", values.proxy.opaque_ports),
        ],
        ports: &[
            ("dest-grpc", ports::DESTINATION),
            ("policy-grpc", ports::POLICY),
        ],
        admin_port: ports::DESTINATION_ADMIN,
        identity_token: true,
        trust_roots: true,
        replicas: values.controller_replicas,
    };
    out.push(workload::deployment(values, namespace, &daemon));
    out
}

/// Where the issuer is dialled; the trailing dot keeps resolvers from searching.
pub fn identity_addr(values: &Values, namespace: &str) -> String {
    format!(
        "{}.{namespace}.svc.{}.:{}",
        names::IDENTITY_HEADLESS,
        values.cluster_domain,
        ports::IDENTITY
    )
}
