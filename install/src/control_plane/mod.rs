//! The control plane, as templates: identity, destination, the injector, and what they share.

mod destination;
mod identity;
mod injector;

use crate::template::when;
use mesh_contract::{annotations, labels, names, ports};
use serde_json::{Value, json};

/// The namespace everything is in.
pub(crate) const NAMESPACE: &str = "${release.namespace}";

/// A chart's file and its documents.
pub(crate) type File = (&'static str, Vec<Value>);

/// Everything but the CRDs and the namespace, in the order it must be applied.
pub(crate) fn templates() -> Vec<File> {
    vec![
        ("config", config()),
        ("identity", identity::templates()),
        ("destination", destination::templates()),
        ("proxy-injector", injector::templates()),
    ]
}

/// The namespace; Helm makes its own.
pub(crate) fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                "linkerd.io/is-control-plane": "true",
                labels::CONTROL_PLANE_NS: NAMESPACE,
                "config.linkerd.io/admission-webhooks": "disabled",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
            "annotations": { annotations::INJECT: "disabled" },
        },
    })
}

/// Labels of everything that belongs to a component.
fn component_labels(component: &str) -> Value {
    json!({
        labels::CONTROL_PLANE_NS: NAMESPACE,
        labels::CONTROL_PLANE_COMPONENT: component,
        "app.kubernetes.io/part-of": "mesh",
    })
}

/// What daemons and tools read, and the issuer.
fn config() -> Vec<Value> {
    let labels = component_labels("config");
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": NAMESPACE, "labels": labels,
            "annotations": { annotations::CREATED_BY: "${release.createdBy}" },
        })
    };
    let anchors = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(names::TRUST_ROOTS),
        "data": { names::TRUST_ROOTS_KEY:
            "${identityTrustAnchorsPEM?identityTrustAnchorsPEM must be set, such as with --set-file identityTrustAnchorsPEM=ca.crt}" },
    });
    let issuer = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(names::ISSUER),
        "type": "Opaque",
        "stringData": {
            "crt.pem": "${identity.issuer.tls.crtPEM?identity.issuer.tls.crtPEM must be set, such as with --set-file}",
            "key.pem": "${identity.issuer.tls.keyPEM?identity.issuer.tls.keyPEM must be set, such as with --set-file}",
        },
    });
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(names::CONFIG),
            "data": { "values": "${values}" },
        }),
        when("!identity.externalCA", anchors),
        when("identity.issuer.scheme == linkerd.io/tls", issuer),
    ]
}

/// Where the issuer is dialled; the trailing dot keeps resolvers from searching.
pub(crate) fn identity_addr(namespace: &str) -> String {
    let service = names::IDENTITY_HEADLESS;
    let port = ports::IDENTITY;
    format!("{service}.{namespace}.svc.${{clusterDomain}}.:{port}")
}
