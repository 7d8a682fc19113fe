//! The service mirror and what it may do in its own cluster.

use super::{NAMESPACE, extension_labels};
use crate::{
    control_plane::identity_addr,
    rbac::{self, READ, Rule},
    template::when,
    workload::{self, Daemon},
};
use mesh_contract::{names, ports};
use serde_json::{Value, json};

/// Everything of it.
pub(super) fn templates() -> Vec<Value> {
    let account = (names::SERVICE_MIRROR, NAMESPACE);
    let labels = extension_labels(names::SERVICE_MIRROR);
    let mut out = vec![rbac::service_account(
        names::SERVICE_MIRROR,
        NAMESPACE,
        &labels,
    )];
    out.extend(mirror_access(account, &labels));
    out.extend(workload::deployment(&Daemon {
        name: names::SERVICE_MIRROR,
        namespace: NAMESPACE,
        component: names::SERVICE_MIRROR,
        labels: &labels,
        args: vec![
            json!("mirror"),
            json!("--namespace=${release.namespace}"),
            json!("--controller-namespace=${linkerdNamespace}"),
            json!("--trust-domain=${identityTrustDomain}"),
            json!("--cluster-domain=${clusterDomain}"),
            json!(format!(
                "--identity-addr={}",
                identity_addr("${linkerdNamespace}")
            )),
            json!(format!("--identity-token-file={}", workload::token_file())),
            when(
                "enableHeadlessServices",
                json!("--enable-headless-services"),
            ),
        ],
        ports: &[],
        admin_port: ports::MIRROR_ADMIN,
        identity_token: true,
        replicas: json!("${controllerReplicas}"),
        resources: None,
        placed: false,
        published_anchors: false,
    }));
    out
}

fn mirror_access(account: (&str, &str), labels: &Value) -> Vec<Value> {
    const WRITE: &[&str] = &[
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    let mut out = Vec::new();
    out.extend(rbac::cluster_role(
        names::SERVICE_MIRROR,
        account,
        labels,
        &[
            Rule::new("", &["services"], WRITE),
            Rule::new("discovery.k8s.io", &["endpointslices"], WRITE),
            Rule::new("", &["namespaces"], READ),
            Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
        ],
    ));
    out.extend(rbac::role(
        account,
        account,
        labels,
        &[
            Rule::new("multicluster.linkerd.io", &["links"], READ),
            Rule::new(
                "multicluster.linkerd.io",
                &["links/status"],
                &["get", "update", "patch"],
            ),
            Rule::new("multicluster.linkerd.io", &["links"], &["update", "patch"]),
            Rule::new(
                "multicluster.linkerd.io",
                &["links/finalizers"],
                &["update"],
            ),
            Rule::new("", &["secrets"], READ),
            Rule::new(
                "coordination.k8s.io",
                &["leases"],
                &["get", "list", "watch", "create", "update", "patch"],
            ),
        ],
    ));
    out.extend(rbac::role(
        (names::SERVICE_MIRROR, "${linkerdNamespace}"),
        account,
        labels,
        &[Rule::new("", &["configmaps"], READ).named(&[names::CONFIG, names::TRUST_ROOTS])],
    ));
    out
}
