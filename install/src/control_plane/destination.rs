//! Discovery and policy.

use super::{NAMESPACE, component_labels, identity_addr};
use crate::{
    rbac::{self, READ, Rule},
    workload::{self, Daemon},
};
use mesh_contract::{names, ports};
use serde_json::{Value, json};

pub(super) fn templates() -> Vec<Value> {
    let account = (names::DESTINATION, NAMESPACE);
    let labels = component_labels("destination");
    let mut out = vec![rbac::service_account(
        names::DESTINATION,
        NAMESPACE,
        &labels,
    )];
    out.extend(rbac::cluster_role(
        "linkerd-${release.namespace}-destination",
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
            Rule::new("federation.mesh.io", &["clientrestrictions"], READ),
        ],
    ));
    for (service, port, headless) in [
        (names::DST, ports::DESTINATION, false),
        (names::DST_HEADLESS, ports::DESTINATION, true),
        (names::POLICY, ports::POLICY, true),
    ] {
        out.push(workload::service(
            (service, NAMESPACE),
            "destination",
            &labels,
            ("grpc", port, port),
            headless,
        ));
    }
    out.extend(workload::deployment(&Daemon {
        name: names::DESTINATION,
        namespace: NAMESPACE,
        component: "destination",
        labels: &labels,
        args: vec![
            json!("destination"),
            json!("--controller-namespace=${release.namespace}"),
            json!("--trust-domain=${identityTrustDomain}"),
            json!("--cluster-domain=${clusterDomain}"),
            json!(format!("--identity-addr={}", identity_addr(NAMESPACE))),
            json!(format!("--identity-token-file={}", workload::token_file())),
            json!(format!("--trust-anchors-file={}", workload::anchors_file())),
            json!(format!("--destination-addr=0.0.0.0:{}", ports::DESTINATION)),
            json!(format!("--policy-addr=0.0.0.0:{}", ports::POLICY)),
            json!("--default-inbound-policy=${proxy.defaultInboundPolicy}"),
            json!("--cluster-networks=${clusterNetworks}"),
            json!("--opaque-ports=${proxy.opaquePorts}"),
        ],
        ports: &[
            ("dest-grpc", ports::DESTINATION),
            ("policy-grpc", ports::POLICY),
        ],
        admin_port: ports::DESTINATION_ADMIN,
        identity_token: true,
        replicas: json!("${controllerReplicas}"),
        resources: Some("destinationResources"),
        placed: true,
        published_anchors: true,
    }));
    out
}
