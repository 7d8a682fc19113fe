//! The decision as tables.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn settings() -> Settings {
    Settings {
        trust_anchors: "PEM".into(),
        trust_anchors_sha256: "abc".into(),
        ..Settings::default()
    }
}

fn template(annotations: Value, spec: Value) -> Value {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{
            "name": "app", "image": "app",
            "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
        }]);
    }
    json!({ "metadata": { "annotations": annotations }, "spec": spec })
}

fn injected(template: &Value) -> Value {
    match decided(template, true).unwrap() {
        Decision::Inject(patch) => {
            let mut out = template.clone();
            json_patch::patch(&mut out, &patch).unwrap();
            out
        }
        Decision::Skip(reason) => panic!("skipped: {reason}"),
    }
}

fn decided(template: &Value, requested: bool) -> Result<Decision, InjectError> {
    decide(
        &settings(),
        &Pod {
            template,
            namespace: Some("shop"),
            namespace_annotations: &BTreeMap::new(),
            owner: Some(Owner {
                kind: "Deployment",
                name: "web",
            }),
            requested,
        },
    )
}

fn env(pod: &Value, name: &str) -> Option<String> {
    pod["spec"]["containers"][0]["env"]
        .as_array()?
        .iter()
        .find(|e| e["name"] == format!("LINKERD2_PROXY_{name}"))?["value"]
        .as_str()
        .map(str::to_owned)
}

#[test]
fn the_sidecar_comes_first_and_knows_its_control_plane() {
    let pod = injected(&template(json!({}), json!({})));
    assert_eq!(pod["spec"]["containers"][0]["name"], "linkerd-proxy");
    assert_eq!(pod["spec"]["containers"][1]["name"], "app");
    assert_eq!(
        env(&pod, "IDENTITY_SVC_ADDR").unwrap(),
        "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"
    );
    assert_eq!(
        env(&pod, "POLICY_SVC_NAME").unwrap(),
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(
        env(&pod, "INBOUND_PORTS").unwrap(),
        "8080",
        "UDP is not proxied"
    );
    assert_eq!(env(&pod, "INBOUND_GATEWAY_SUFFIXES"), None);
    assert_eq!(
        pod["metadata"]["labels"]["linkerd.io/control-plane-ns"],
        "linkerd"
    );
    assert_eq!(
        pod["metadata"]["labels"]["linkerd.io/proxy-deployment"],
        "web"
    );
    assert_eq!(
        pod["spec"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
        "identity.l5d.io"
    );
}

#[test]
fn pods_that_must_not_have_a_sidecar_are_left_alone() {
    let proxy = json!({"containers": [{"name": "linkerd-proxy", "image": "x"}]});
    for (annotations, spec, requested, reason) in [
        (
            json!({"linkerd.io/inject": "disabled"}),
            json!({}),
            true,
            SkipReason::Disabled,
        ),
        (json!({}), json!({}), false, SkipReason::NotRequested),
        (
            json!({}),
            json!({"hostNetwork": true}),
            true,
            SkipReason::HostNetwork,
        ),
        (json!({}), proxy, true, SkipReason::AlreadyInjected),
        (
            json!({}),
            json!({"automountServiceAccountToken": false}),
            true,
            SkipReason::NoServiceAccountToken,
        ),
    ] {
        assert_eq!(
            decided(&template(annotations, spec), requested),
            Ok(Decision::Skip(reason))
        );
    }
}

#[test]
fn annotations_reach_the_sidecar() {
    let pod = injected(&template(
        json!({
            "config.linkerd.io/proxy-log-level": "debug",
            "config.linkerd.io/proxy-cpu-limit": "1",
            "config.linkerd.io/proxy-memory-request": "20Mi",
            "config.linkerd.io/opaque-ports": "25,8000-8010",
            "config.linkerd.io/enable-gateway": "true",
            "config.linkerd.io/default-inbound-policy": "all-authenticated",
            "config.linkerd.io/proxy-version": "9.9.9",
        }),
        json!({}),
    ));
    assert_eq!(env(&pod, "LOG").unwrap(), "debug");
    assert_eq!(
        env(&pod, "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION").unwrap(),
        "25,8000-8010"
    );
    assert_eq!(
        env(&pod, "INBOUND_GATEWAY_SUFFIXES").unwrap(),
        "svc.cluster.local."
    );
    assert_eq!(
        env(&pod, "INBOUND_DEFAULT_POLICY").unwrap(),
        "all-authenticated"
    );
    let sidecar = &pod["spec"]["containers"][0];
    assert_eq!(sidecar["resources"]["limits"]["cpu"], "1");
    assert_eq!(sidecar["resources"]["requests"]["memory"], "20Mi");
    assert_eq!(sidecar["image"], "mesh.io/proxy:9.9.9");
}

#[test]
fn a_value_the_sidecar_would_refuse_is_refused_with_its_key() {
    for (key, value) in [
        ("opaque-ports", "0"),
        ("opaque-ports", "20-10"),
        ("opaque-ports", "http"),
        ("proxy-outbound-connect-timeout", "10"),
        ("proxy-outbound-connect-timeout", "ten seconds"),
        ("default-inbound-policy", "allow"),
        ("proxy-wait-before-exit-seconds", "1.5"),
        ("proxy-log-format", "xml"),
    ] {
        let key = format!("config.linkerd.io/{key}");
        let error = decided(&template(json!({ &key: value }), json!({})), true).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&key) && message.contains("expected"),
            "{message}"
        );
    }
}

#[test]
fn a_stream_of_manifests_keeps_its_order_and_what_is_no_workload() {
    let input = "
apiVersion: v1
kind: Service
metadata: {name: web}
---
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec: {template: {spec: {containers: [{name: app, image: app}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: app, image: app}]}
";
    let documents = manifest::parse(input).unwrap();
    let out = manifest::inject(&settings(), documents.clone()).unwrap();
    assert_eq!(out.documents[0], documents[0]);
    assert_eq!(
        out.documents[1]["items"][0]["spec"]["template"]["spec"]["containers"][0]["name"],
        "linkerd-proxy"
    );
    assert_eq!(out.documents[2], documents[2]);
    let outcomes: Vec<_> = out
        .outcomes
        .iter()
        .map(|o| (o.object.as_str(), o.skipped))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("deployment/web", None),
            ("pod/host", Some(SkipReason::HostNetwork))
        ]
    );
    let rendered = manifest::render(&out.documents).unwrap();
    assert_eq!(manifest::parse(&rendered).unwrap(), out.documents);
}

#[test]
fn input_that_is_no_manifest_is_named() {
    assert!(manifest::parse("a: [").is_err());
    let no_template = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}});
    let error = manifest::inject(&settings(), vec![no_template])
        .unwrap_err()
        .to_string();
    assert!(error.contains("deployment/web"), "{error}");
}
