//! The accounts that other clusters read this one with.

use super::{NAMESPACE, Values};
use crate::{
    rbac::{self, READ, Rule},
    template::when,
};
use mesh_contract::{labels, names};
use serde_json::{Value, json};

/// The account another cluster's mirror uses here: services and their endpoints, and what tells
/// whether trust is shared. With `remote_discovery` also Pods, which tell much more than who they
/// are: a mirror needs them for Services that are exported pod to pod.
pub fn remote_access(
    name: &str,
    namespace: &str,
    control_plane_ns: &str,
    remote_discovery: bool,
) -> anyhow::Result<Vec<Value>> {
    let values = Values {
        linkerd_namespace: control_plane_ns.to_owned(),
        remote_discovery,
        ..Values::default()
    };
    let scope = values.scope(namespace)?;
    scope.evaluate(&templates(name))
}

/// The same as templates, for the account `name`.
pub(super) fn templates(name: &str) -> Vec<Value> {
    let labels = json!({ labels::EXTENSION: "multicluster" });
    let account = (name, NAMESPACE);
    let mut out = vec![rbac::service_account(name, NAMESPACE, &labels)];
    out.push(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("{name}-token"),
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": { "kubernetes.io/service-account.name": name },
        },
        "type": "kubernetes.io/service-account-token",
    }));
    const READER: &[Rule] = &[
        Rule::new("", &["services"], READ),
        Rule::new("discovery.k8s.io", &["endpointslices"], READ),
    ];
    let [mut role, binding] = rbac::cluster_role(name, account, &labels, READER);
    if let Some(rules) = role["rules"].as_array_mut() {
        let pods = Rule::new("", &["pods"], READ);
        rules.push(when("remoteDiscovery", pods.render()));
    }
    out.extend([role, binding]);
    out.extend(rbac::role(
        (name, "${linkerdNamespace}"),
        account,
        &labels,
        &[Rule::new("", &["configmaps"], &["get"]).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    out
}
