//! `Server`: a port of some pods, and how it speaks.

use crate::schema::label_selector;
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionVersion,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{CustomResource, CustomResourceExt};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Versions still served for manifests written for older releases, with the same fields.
const OLDER_VERSIONS: &[&str] = &["v1beta1", "v1beta2"];

/// Selects a port of a set of pods, so that policies can speak about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1beta3",
    kind = "Server",
    plural = "servers",
    shortname = "srv",
    namespaced,
    printcolumn = r#"{"name":"Port","type":"string","description":"The port the server is listening on","jsonPath":".spec.port"}"#,
    printcolumn = r#"{"name":"Protocol","type":"string","description":"The protocol of the server","jsonPath":".spec.proxyProtocol"}"#,
    printcolumn = r#"{"name":"Access Policy","type":"string","description":"The policy applied to traffic no AuthorizationPolicy admits","jsonPath":".spec.accessPolicy"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Pods of the Server's namespace; an empty selector selects them all.
    #[schemars(schema_with = "label_selector")]
    pub pod_selector: LabelSelector,
    /// A port number, or the name of a container port.
    pub port: Port,
    /// What the port speaks; detected when absent or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What happens to traffic that no AuthorizationPolicy admits; `deny` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "access_policy")]
    pub access_policy: Option<String>,
}

/// A container port, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By the name in the pod's container.
    Name(String),
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocol {
    /// Found out per connection.
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
    /// HTTP/1.x.
    #[serde(rename = "HTTP/1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
    /// Bytes, forwarded as they come.
    #[serde(rename = "opaque")]
    Opaque,
    /// TLS of the application's own.
    #[serde(rename = "TLS")]
    Tls,
}

/// The CRD, with the older versions served beside the stored one.
pub(super) fn crd() -> CustomResourceDefinition {
    let mut crd = Server::crd();
    let older: Vec<CustomResourceDefinitionVersion> = crd
        .spec
        .versions
        .iter()
        .flat_map(|current| {
            OLDER_VERSIONS
                .iter()
                .map(|name| CustomResourceDefinitionVersion {
                    name: (*name).to_owned(),
                    storage: false,
                    ..current.clone()
                })
        })
        .collect();
    crd.spec.versions.extend(older);
    crd
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

fn access_policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "description": "What happens to traffic that no AuthorizationPolicy admits; deny when absent.",
        "enum": [
            "all-authenticated",
            "all-unauthenticated",
            "audit",
            "cluster-authenticated",
            "cluster-unauthenticated",
            "deny"
        ]
    })
}
