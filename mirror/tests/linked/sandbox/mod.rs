//! Clusters, the wires between them, and mirrors; and how to wait for what they bring about.

mod cluster;
mod mirror;
mod tap;
mod waits;
mod wire;

pub(crate) use self::{
    cluster::Cluster,
    mirror::{Mirror, Setup},
    tap::tapped,
};

pub(crate) use devcluster::testing::eventually;

use serde_json::{Value, json};

pub(crate) const NS: &str = "linkerd-multicluster";
pub(crate) const GATEWAY_IDENTITY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
pub(crate) fn exported() -> Value {
    json!({"mirror.linkerd.io/exported": "true", "app": "web"})
}

fn text(error: kube::Error) -> String {
    error.to_string()
}
