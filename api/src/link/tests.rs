//! Links as manifests in use have them.

use super::*;

const V1ALPHA1: &str = r#"
apiVersion: multicluster.linkerd.io/v1alpha1
kind: Link
metadata:
  name: east
  namespace: linkerd-multicluster
spec:
  targetClusterName: east
  targetClusterDomain: cluster.local
  targetClusterLinkerdNamespace: linkerd
  clusterCredentialsSecret: cluster-credentials-east
  gatewayAddress: gateway-east.example.com
  gatewayPort: 4143
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  probeSpec:
    path: /ready
    port: 4191
    period: 3s
  selector:
    matchLabels:
      mirror.linkerd.io/exported: "true"
"#;

#[test]
fn a_link_with_ports_as_numbers_is_read() {
    let link: Link = serde_saphyr::from_str(V1ALPHA1).unwrap();
    assert_eq!(link.spec.gateway_port.and_then(|p| p.port()), Some(4143));
    let probe = link.spec.probe_spec.unwrap();
    assert_eq!(probe.port.and_then(|p| p.port()), Some(4191));
    assert_eq!(
        probe.period.and_then(|p| p.duration()),
        Some(std::time::Duration::from_secs(3))
    );
}

#[test]
fn a_link_with_ports_as_strings_is_read() {
    let text = V1ALPHA1
        .replace("4143", "\"4143\"")
        .replace("4191", "\"4191\"");
    let link: Link = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(link.spec.gateway_port.and_then(|p| p.port()), Some(4143));
}

#[test]
fn three_versions_are_served_and_the_newest_is_stored() {
    let crd = crd();
    let versions: Vec<_> = crd
        .spec
        .versions
        .iter()
        .map(|v| (v.name.as_str(), v.served, v.storage))
        .collect();
    assert_eq!(
        versions,
        [
            ("v1alpha1", true, false),
            ("v1alpha2", true, false),
            ("v1alpha3", true, true)
        ]
    );
}

#[test]
fn an_empty_status_list_is_written_so_that_the_last_entry_can_go() {
    let status = serde_json::to_value(LinkStatus::default()).unwrap();
    assert_eq!(status["mirrorServices"], serde_json::json!([]));
    assert_eq!(status["federatedServices"], serde_json::json!([]));
}
