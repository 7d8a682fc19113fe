//! Who is called, and what is made of answers; live webhooks are asked in `tests/differential`.

use super::review::{answer, question, refusal};
use super::rules::Hook;
use super::*;
use crate::apiserver::resources::{Registry, VersionDef};
use crate::store::Store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

fn ask(operation: Operation, plural: &str, subresource: &str, namespace: &str) -> Ask {
    let all = Registry::builtin().all();
    let def = all.iter().find(|d| d.plural == plural).unwrap().clone();
    Ask {
        operation,
        def,
        version: "v1".into(),
        subresource: subresource.into(),
        shows: None,
        namespace: namespace.into(),
        name: "x".into(),
        user: User::admin(),
        options: Value::Null,
        dry_run: false,
    }
}

fn hook(said: Value) -> Hook {
    let configuration = Arc::new(json!({"webhooks": [said]}));
    Hook::of(&configuration).remove(0)
}

fn rule(resources: &[&str], operations: &[&str], scope: &str) -> Value {
    json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": resources,
        "operations": operations, "scope": scope}]})
}

#[test]
fn rules_name_resources_operations_and_scopes() {
    use Operation::{Connect, Create, Delete, Update};
    let pods = |operation| ask(operation, "pods", "", "a");
    let status = || ask(Update, "pods", "status", "a");
    let table = [
        (rule(&["pods"], &["CREATE"], "*"), pods(Create), true),
        (rule(&["pods"], &["CREATE"], "*"), pods(Delete), false),
        (rule(&["pods"], &["*"], "*"), pods(Delete), true),
        (rule(&["pods"], &["*"], "*"), status(), false),
        (rule(&["pods/status"], &["*"], "*"), status(), true),
        (rule(&["pods/*"], &["*"], "*"), status(), true),
        (rule(&["*/status"], &["*"], "*"), status(), true),
        (rule(&["*"], &["*"], "*"), status(), false),
        (rule(&["*/*"], &["*"], "*"), status(), true),
        (rule(&["*/*"], &["*"], "*"), pods(Create), true),
        (rule(&["pods"], &["*"], "Namespaced"), pods(Create), true),
        (rule(&["pods"], &["*"], "Cluster"), pods(Create), false),
        (
            rule(&["pods/exec"], &["CONNECT"], "*"),
            ask(Connect, "pods", "exec", "a"),
            true,
        ),
        (
            rule(&["namespaces"], &["*"], "Cluster"),
            ask(Create, "namespaces", "", "a"),
            true,
        ),
        (
            rule(&["namespaces"], &["*"], "Namespaced"),
            ask(Create, "namespaces", "", "a"),
            false,
        ),
        (
            rule(&["deployments"], &["*"], "*"),
            ask(Create, "deployments", "", "a"),
            false,
        ),
    ];
    for (said, ask, called) in table {
        let concerned = hook(said.clone()).concerned(&ask).is_some();
        let about = (ask.def.plural.as_str(), ask.subresource.as_str());
        assert_eq!(concerned, called, "{said} {about:?} {:?}", ask.operation);
    }
}

#[test]
fn another_version_of_the_resource_is_shown_unless_it_must_be_exact() {
    let mut asked = ask(Operation::Create, "pods", "", "a");
    let version = |name: &str| VersionDef {
        name: name.into(),
        served: true,
        ..VersionDef::default()
    };
    let mut def = (*asked.def).clone();
    def.versions = vec![version("v1"), version("v2")];
    asked.def = Arc::new(def);
    asked.version = "v2".into();
    let mut said = rule(&["pods"], &["*"], "*");
    let shown = hook(said.clone()).concerned(&asked).map(|h| h.version);
    assert_eq!(shown.as_deref(), Some("v1"));
    said["matchPolicy"] = json!("Exact");
    assert!(hook(said).concerned(&asked).is_none());
}

#[test]
fn selectors_look_at_the_object_and_at_its_namespace() {
    let store = Store::default();
    let namespace = json!({"metadata": {"name": "a", "labels": {"inject": "yes"}}});
    store
        .create(&ResourceKey::core("namespaces"), namespace)
        .unwrap();
    let asked = ask(Operation::Create, "pods", "", "a");
    let pod = |labels: Value| Subject {
        object: Some(json!({"metadata": {"name": "x", "labels": labels}})),
        old: None,
    };
    let wants = |field: &str, value: &str| hook(json!({field: {"matchLabels": {"inject": value}}}));
    let selects = |hook: Hook, labels| hook.selects(&asked, &pod(labels), &store).unwrap();
    assert!(selects(wants("namespaceSelector", "yes"), json!({})));
    assert!(!selects(wants("namespaceSelector", "no"), json!({})));
    assert!(selects(
        wants("objectSelector", "yes"),
        json!({"inject": "yes"})
    ));
    assert!(!selects(wants("objectSelector", "yes"), json!({})));
    let elsewhere = ask(Operation::Create, "pods", "", "nowhere");
    let hook = wants("namespaceSelector", "yes");
    let lost = hook.selects(&elsewhere, &pod(json!({})), &store);
    assert_eq!(
        lost.unwrap_err().message,
        "namespaces \"nowhere\" not found"
    );
}

#[test]
fn the_question_says_who_does_what_to_which_object() {
    let asked = ask(Operation::Update, "pods", "status", "a");
    let object = json!({"metadata": {"name": "x"}});
    let request = question(&asked, "v1", "uid", (Some(&object), None));
    assert_eq!(request["operation"], "UPDATE");
    assert_eq!(
        request["kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    assert_eq!(request["subResource"], "status");
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["object"], object);
}

#[test]
fn answers_that_are_none_are_told_apart() {
    const V1: &str = "admission.k8s.io/v1";
    let review = |response: Value| json!({"apiVersion": V1, "kind": "AdmissionReview", "response": response});
    let patch = STANDARD.encode("[]");
    let table = [
        (json!({}), true, "webhook response was absent"),
        (
            review(json!({"uid": "other", "allowed": true})),
            true,
            "expected response.uid=\"uid\", got \"other\"",
        ),
        (
            json!({"response": {"uid": "uid", "allowed": true}}),
            true,
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
        ),
        (
            review(json!({"uid": "uid", "allowed": true, "patch": patch})),
            true,
            "webhook returned response.patch but not response.patchType",
        ),
        (
            review(json!({"uid": "uid", "allowed": true, "patch": patch,
                          "patchType": "JSONPatch"})),
            false,
            "validating webhook may not return response.patch",
        ),
    ];
    for (said, mutating, why) in table {
        assert_eq!(
            answer(&said, V1, "uid", mutating).unwrap_err(),
            why,
            "{said}"
        );
    }
    let good = review(json!({"uid": "uid", "allowed": true, "warnings": ["careful"]}));
    let good = answer(&good, V1, "uid", false).unwrap();
    assert!(good.allowed && good.patch.is_empty());
    assert_eq!(good.warnings, ["careful"]);
}

#[test]
fn a_refusal_carries_what_the_webhook_said_and_is_never_a_success() {
    let said = json!({"code": 418, "reason": "Teapot", "message": "no"});
    let error = refusal("h.example.com", &said);
    assert_eq!(error.code, 418);
    assert_eq!(error.to_value()["reason"], "Teapot");
    let text = "admission webhook \"h.example.com\" denied the request";
    assert_eq!(error.message, format!("{text}: no"));
    let silent = refusal("h.example.com", &Value::Null);
    assert_eq!(
        (silent.code, silent.message),
        (400, format!("{text} without explanation"))
    );
    assert_eq!(refusal("h", &json!({"code": 200})).code, 400);
}
