//! What is printed, as a whole.

use super::*;
use mesh_contract::names;
use std::collections::BTreeSet;

fn values() -> Values {
    let mut values = Values {
        identity_trust_anchors_pem: "ANCHORS".into(),
        ..Values::default()
    };
    values.identity.issuer.tls = values::IssuerTls {
        crt_pem: "CRT".into(),
        key_pem: "KEY".into(),
    };
    values
}

fn find<'d>(documents: &'d [Value], kind: &str, name: &str) -> &'d Value {
    documents
        .iter()
        .find(|d| d["kind"] == kind && d["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind}/{name}"))
}

fn deployments(documents: &[Value]) -> impl Iterator<Item = &Value> {
    documents.iter().filter(|d| d["kind"] == "Deployment")
}

#[test]
fn every_hole_is_filled() {
    let all = manifests(&values(), "mesh-system").unwrap();
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("${") && !text.contains("$when"), "{text}");
    assert!(
        !text.contains(".linkerd.svc"),
        "the namespace is the one given"
    );
}

#[test]
fn the_issuers_key_is_in_its_secret_only() {
    let all = manifests(&values(), "linkerd").unwrap();
    let holders: Vec<_> = all
        .iter()
        .filter(|d| d.to_string().contains("KEY"))
        .collect();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0]["kind"], "Secret");
}

#[test]
fn anchors_and_issuer_of_somebody_elses_are_not_made() {
    let mut values = values();
    values.identity.external_ca = true;
    values.identity.issuer.scheme = "kubernetes.io/tls".into();
    let all = manifests(&values, "linkerd").unwrap();
    assert!(!all.iter().any(|d| d["kind"] == "Secret"));
    assert!(
        !all.iter()
            .any(|d| d["metadata"]["name"] == "linkerd-identity-trust-roots")
    );
    let destination = find(&all, "Deployment", "linkerd-destination");
    let pod = destination["spec"]["template"]["spec"].to_string();
    assert!(pod.contains("linkerd-identity-trust-roots") && !pod.contains("\"ANCHORS\""));
}

#[test]
fn no_process_of_the_control_plane_has_more_rights_than_it_needs() {
    let all = manifests(&values(), "linkerd").unwrap();
    for deployment in deployments(&all) {
        let pod = &deployment["spec"]["template"]["spec"];
        let security = &pod["containers"][0]["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
    }
    for role in all
        .iter()
        .filter(|d| d["kind"].as_str().unwrap().ends_with("Role"))
    {
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{text}");
            let named = rule.get("resourceNames").is_some();
            let secrets = rule["resources"] == json!(["secrets"]);
            let creates = rule["verbs"] == json!(["create"]);
            assert!(!secrets || named || creates, "any Secret: {text}");
            assert!(
                role["kind"] == "Role" || !text.contains("\"secrets\""),
                "{text}"
            );
        }
    }
}

#[test]
fn ha_spreads_what_it_multiplies() {
    let loaded: anyhow::Result<values::Loaded> = values::load(
        &values::ValuesArgs {
            ha: true,
            ..Default::default()
        },
        serde_json::to_value(values()).unwrap(),
        json!({}),
    );
    // What was given before wins over what a flag stands for.
    assert_eq!(loaded.unwrap().values.controller_replicas, 1);
    let mut merged = serde_json::to_value(values()).unwrap();
    values::merge(&mut merged, <Values as values::ChartValues>::ha());
    let all = manifests(&serde_json::from_value(merged).unwrap(), "linkerd").unwrap();
    let budgets: BTreeSet<_> = all
        .iter()
        .filter(|d| d["kind"] == "PodDisruptionBudget")
        .map(|d| d["metadata"]["name"].as_str().unwrap())
        .collect();
    let mut count = 0;
    for deployment in deployments(&all) {
        count += 1;
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 3);
        let pod = &spec["template"]["spec"];
        assert!(pod["affinity"]["podAntiAffinity"].is_object());
        assert_eq!(pod["containers"][0]["resources"]["requests"]["cpu"], "100m");
        assert!(budgets.contains(deployment["metadata"]["name"].as_str().unwrap()));
    }
    assert_eq!(count, 3);
}

/// Values of the extension, with what `--ha` stands for.
fn available() -> multicluster::Values {
    let mut merged = serde_json::to_value(multicluster::Values::default()).unwrap();
    values::merge(
        &mut merged,
        <multicluster::Values as values::ChartValues>::ha(),
    );
    serde_json::from_value(merged).unwrap()
}

#[test]
fn ha_spreads_the_gateway_and_the_service_mirror() {
    let budgets = |all: &[Value]| -> Vec<(String, Value)> {
        let budgets = all.iter().filter(|d| d["kind"] == "PodDisruptionBudget");
        let budget = |d: &Value| {
            assert_eq!(d["spec"]["maxUnavailable"], 1);
            let name = d["metadata"]["name"].as_str().unwrap();
            (name.to_owned(), d["spec"]["selector"].clone())
        };
        budgets.map(budget).collect()
    };
    let all = multicluster::chart_manifests(&available(), "mc").unwrap();
    for name in [names::GATEWAY, names::SERVICE_MIRROR] {
        let spec = &find(&all, "Deployment", name)["spec"];
        assert_eq!(spec["replicas"], 3);
        // Where each node has a pod, a rollout has to take one away first.
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 1);
        let template = &spec["template"];
        let apart = &template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let apart = &apart[0]["labelSelector"]["matchExpressions"][0];
        let label = apart["key"].as_str().unwrap();
        assert_eq!(
            apart["values"],
            json!([template["metadata"]["labels"][label]])
        );
        let budget = (name.to_owned(), spec["selector"].clone());
        assert!(
            budgets(&all).contains(&budget),
            "{name}: {:?}",
            budgets(&all)
        );
    }
    let all = multicluster::chart_manifests(&multicluster::Values::default(), "mc").unwrap();
    assert!(budgets(&all).is_empty());
    for deployment in deployments(&all) {
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 1);
        assert!(spec.get("strategy").is_none());
        assert!(spec["template"]["spec"].get("affinity").is_none());
    }
}

#[test]
fn webhooks_cannot_lock_a_cluster_out() {
    let all = manifests(&values(), "linkerd").unwrap();
    for (kind, name) in [
        (
            "MutatingWebhookConfiguration",
            "linkerd-proxy-injector-webhook-config",
        ),
        (
            "ValidatingWebhookConfiguration",
            "linkerd-policy-validator-webhook-config",
        ),
    ] {
        let webhook = &find(&all, kind, name)["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Ignore");
        let selector = webhook["namespaceSelector"].to_string();
        for word in ["kube-system", "\"linkerd\"", "admission-webhooks"] {
            assert!(selector.contains(word), "{word}: {selector}");
        }
        assert_eq!(webhook["clientConfig"].get("caBundle"), None);
        for rule in webhook["rules"].as_array().unwrap() {
            assert_eq!(rule["scope"], "Namespaced");
            assert!(!rule["operations"].to_string().contains("DELETE"));
        }
    }
}

#[test]
fn the_gateway_is_printed_with_its_sidecar() {
    let mut options = multicluster::Values::default();
    let all = multicluster::manifests(&options, &values(), "mc").unwrap();
    let gateway = find(&all, "Deployment", "linkerd-gateway");
    let containers = &gateway["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["name"], "linkerd-proxy");
    let service = find(&all, "Service", "linkerd-gateway");
    let annotations = &service["metadata"]["annotations"];
    assert_eq!(annotations["mirror.linkerd.io/probe-period"], "3");
    assert_eq!(
        annotations["mirror.linkerd.io/gateway-identity"],
        "linkerd-gateway.mc.serviceaccount.identity.linkerd.cluster.local"
    );
    options.gateway.enabled = false;
    let all = multicluster::manifests(&options, &values(), "mc").unwrap();
    assert!(
        !all.iter()
            .any(|d| d["metadata"]["name"] == "linkerd-gateway")
    );
}

#[test]
fn peers_read_pods_and_headless_services_are_mirrored_only_where_asked_for() {
    let with = |on: bool| {
        let values = multicluster::Values {
            remote_discovery: on,
            enable_headless_services: on,
            ..multicluster::Values::default()
        };
        let all = multicluster::chart_manifests(&values, "mc").unwrap();
        let role = find(&all, "ClusterRole", names::REMOTE_ACCESS)["rules"].to_string();
        let mirror = find(&all, "Deployment", names::SERVICE_MIRROR).to_string();
        let headless = mirror.contains("--enable-headless-services");
        (role.contains("\"pods\""), headless)
    };
    assert_eq!(with(false), (false, false));
    assert_eq!(with(true), (true, true));
}

#[test]
fn the_gateways_sidecar_trusts_what_the_extension_was_given() {
    let options = multicluster::Values {
        identity_trust_anchors_pem: "GIVEN".into(),
        ..multicluster::Values::default()
    };
    let all = multicluster::manifests(&options, &values(), "mc").unwrap();
    let gateway = find(&all, "Deployment", names::GATEWAY).to_string();
    assert!(gateway.contains("GIVEN"), "{gateway}");
}

#[test]
fn charts_have_no_hole_left_unspelled() {
    let charts = chart::charts().unwrap();
    for (path, text) in &charts {
        assert!(
            !text.contains("${") && !text.contains("$when"),
            "{path}: {text}"
        );
    }
    assert!(charts.contains_key("mesh-control-plane/templates/proxy-injector.yaml"));
    let values = &charts["mesh-control-plane/values.yaml"];
    assert!(values.contains("# Log filter of the control plane.\ncontrollerLogLevel: \"info\""));
    let read: Value = serde_saphyr::from_str(values).unwrap();
    assert_eq!(read, serde_json::to_value(Values::default()).unwrap());
}
