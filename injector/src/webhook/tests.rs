//! Reviews in, answers out.

use super::review::{self, Answer, Outcome, Request};
use crate::{
    decide::SkipReason,
    owner::Workload,
    settings::{Settings, SidecarValues},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn settings() -> Settings {
    Settings::new("linkerd", SidecarValues::default(), "PEM")
}

fn request(object: Value) -> Request {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop", "operation": "CREATE", "object": object,
        },
    });
    review::read(review.to_string().as_bytes()).unwrap()
}

fn pod(annotations: Value, spec: Value) -> Request {
    let mut spec = spec;
    spec["containers"] = json!([{"name": "app", "image": "app"}]);
    request(json!({"metadata": {"annotations": annotations}, "spec": spec}))
}

fn namespace(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    annotations.iter().map(owned).collect()
}

fn patched(request: &Request, answer: &Answer) -> Value {
    let review = answer.to_json(&request.uid);
    let response = &review["response"];
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut object = request.object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

#[test]
fn a_pod_of_an_annotated_namespace_gets_its_sidecar() {
    let namespace = namespace(&[
        ("linkerd.io/inject", "enabled"),
        ("config.linkerd.io/opaque-ports", "9000"),
    ]);
    let workload = Workload {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "web".into(),
        uid: "d".into(),
    };
    let request = pod(json!({}), json!({}));
    let (answer, outcome) = review::pod(&settings(), &namespace, Some(&workload), &request);
    assert_eq!(outcome, Outcome::Injected);
    let object = patched(&request, &answer);
    assert_eq!(object["spec"]["containers"][0]["name"], "linkerd-proxy");
    assert_eq!(object["spec"]["initContainers"][0]["name"], "linkerd-init");
    let metadata = &object["metadata"];
    assert_eq!(metadata["labels"]["linkerd.io/proxy-deployment"], "web");
    assert_eq!(
        metadata["annotations"]["config.linkerd.io/opaque-ports"],
        "9000"
    );
    assert_eq!(metadata["annotations"].get("linkerd.io/inject"), None);
}

#[test]
fn a_pod_that_cannot_have_one_is_admitted_and_its_user_warned() {
    let namespace = namespace(&[("linkerd.io/inject", "enabled")]);
    let request = pod(json!({}), json!({"hostNetwork": true}));
    let (answer, outcome) = review::pod(&settings(), &namespace, None, &request);
    assert_eq!(outcome, Outcome::Skipped(SkipReason::HostNetwork));
    assert_eq!(answer.refusal, None);
    assert!(answer.warnings[0].contains("hostNetwork"));

    let request = pod(json!({"linkerd.io/inject": "disabled"}), json!({}));
    let (answer, _) = review::pod(&settings(), &namespace, None, &request);
    assert_eq!(
        answer,
        Answer::default(),
        "who asked for none hears nothing"
    );
}

#[test]
fn a_pod_with_a_wrong_annotation_is_refused_with_its_name() {
    let request = pod(
        json!({"linkerd.io/inject": "enabled", "config.linkerd.io/proxy-cpu-limit": "lots"}),
        json!({}),
    );
    let (answer, _) = review::pod(&settings(), &namespace(&[]), None, &request);
    let review = answer.to_json("u");
    assert_eq!(review["response"]["allowed"], false);
    let message = review["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("proxy-cpu-limit") && message.contains("lots"));
}

#[test]
fn annotations_that_do_nothing_are_told() {
    let request = pod(
        json!({"linkerd.io/inject": "enabled", "config.linkerd.io/proxy-outbound-max-requests": "2"}),
        json!({}),
    );
    let (answer, outcome) = review::pod(&settings(), &namespace(&[]), None, &request);
    assert_eq!(outcome, Outcome::Injected);
    assert!(answer.warnings[0].contains("max-requests"));
}

#[test]
fn services_inherit_opaque_ports_and_keep_their_own() {
    let ns = namespace(&[("config.linkerd.io/opaque-ports", "25")]);
    for metadata in [json!({}), json!({"annotations": {"a": "b"}})] {
        let request = request(json!({"metadata": metadata}));
        let object = patched(&request, &review::service(&ns, &request));
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["config.linkerd.io/opaque-ports"], "25");
    }
    let own = json!({"metadata": {"annotations": {"config.linkerd.io/opaque-ports": "26"}}});
    assert_eq!(review::service(&ns, &request(own)), Answer::default());
    let plain = request(json!({"metadata": {}}));
    assert_eq!(review::service(&namespace(&[]), &plain), Answer::default());
}

#[test]
fn what_is_no_review_is_named() {
    for (body, words) in [
        ("{", "no AdmissionReview"),
        (r#"{"apiVersion": "admission.k8s.io/v1beta1"}"#, "v1beta1"),
        (r#"{"apiVersion": "admission.k8s.io/v1"}"#, "no request"),
    ] {
        let problem = review::read(body.as_bytes()).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
}
