//! The issuer.

use super::{NAMESPACE, component_labels};
use crate::{
    rbac::{self, READ, Rule},
    workload::{self, Daemon},
};
use mesh_contract::{names, ports};
use serde_json::{Value, json};

pub(super) fn templates() -> Vec<Value> {
    let account = (names::IDENTITY, NAMESPACE);
    let labels = component_labels("identity");
    let mut out = vec![rbac::service_account(names::IDENTITY, NAMESPACE, &labels)];
    out.extend(rbac::cluster_role(
        "linkerd-${release.namespace}-identity",
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
            (service, NAMESPACE),
            "identity",
            &labels,
            ("grpc", ports::IDENTITY, ports::IDENTITY),
            headless,
        ));
    }
    out.extend(workload::deployment(&Daemon {
        name: names::IDENTITY,
        namespace: NAMESPACE,
        component: "identity",
        labels: &labels,
        args: vec![
            json!("identity"),
            json!("--controller-namespace=${release.namespace}"),
            json!("--trust-domain=${identityTrustDomain}"),
            json!(format!("--addr=0.0.0.0:{}", ports::IDENTITY)),
            json!("--issuance-lifetime=${identity.issuer.issuanceLifetime}"),
            json!("--clock-skew-allowance=${identity.issuer.clockSkewAllowance}"),
        ],
        ports: &[("ident-grpc", ports::IDENTITY)],
        admin_port: ports::IDENTITY_ADMIN,
        identity_token: false,
        replicas: json!("${controllerReplicas}"),
        resources: Some("identityResources"),
        placed: true,
        published_anchors: false,
    }));
    out
}
