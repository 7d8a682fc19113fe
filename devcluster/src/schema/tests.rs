use super::*;
use crate::apiserver::resources::Registry;
use crate::store::ResourceKey;
use std::sync::Arc;

struct Cast {
    store: Store,
    schema: Schema,
    registry: Registry,
}

fn cast() -> Cast {
    let store = Store::default();
    let ns = json!({"kind": "Namespace", "metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
    store.create(&ResourceKey::core("namespaces"), ns).unwrap();
    let schema = Schema::new(store.clone(), "10.96.0.0/24".parse().unwrap());
    Cast {
        store,
        schema,
        registry: Registry::builtin(),
    }
}

impl Cast {
    fn def(&self, kind: &str, group: &str) -> Arc<ResourceDef> {
        self.registry.by_kind(group, kind).unwrap()
    }

    fn create(&self, group: &str, mut obj: Value) -> Result<Value, ApiError> {
        let def = self.def(obj["kind"].as_str().unwrap(), group);
        if def.namespaced && obj["metadata"]["namespace"].is_null() {
            obj["metadata"]["namespace"] = json!("a");
        }
        self.schema
            .decode(&def, "v1", &mut obj, FieldValidation::Strict)?;
        self.schema.prepare_create(&def, "v1", &mut obj)?;
        Ok((*self.store.create(&def.key(), obj)?).clone())
    }

    fn update(
        &self,
        group: &str,
        old: &Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, ApiError> {
        let def = self.def(old["kind"].as_str().unwrap(), group);
        let mut new = old.clone();
        change(&mut new);
        self.schema
            .prepare_update(&def, "v1", old, &mut new, None)?;
        Ok(new)
    }

    fn refusal(&self, group: &str, obj: Value) -> String {
        let refused = self.create(group, obj).unwrap_err();
        assert_eq!(refused.code, 422, "{refused}");
        refused.message
    }
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
                     "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn a_service_is_completed_and_gets_an_address() {
    let cast = cast();
    let made = cast
        .create("", service(json!({"ports": [{"port": 80}]})))
        .unwrap();
    let spec = &made["spec"];
    assert_eq!(
        spec["ports"][0],
        json!({"port": 80, "protocol": "TCP", "targetPort": 80})
    );
    assert_eq!(
        (&spec["type"], &spec["sessionAffinity"]),
        (&json!("ClusterIP"), &json!("None"))
    );
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert!(spec["clusterIP"].as_str().unwrap().starts_with("10.96.0."));
    let kept = cast.update("", &made, |s| {
        remove(&mut s["spec"], "clusterIP");
        remove(&mut s["spec"], "clusterIPs");
    });
    assert_eq!(kept.unwrap()["spec"]["clusterIP"], spec["clusterIP"]);
    let moved = cast.update("", &made, |s| s["spec"]["clusterIP"] = json!("10.96.0.77"));
    assert_eq!(moved.unwrap_err().code, 422);
}

#[test]
fn an_address_is_taken_once() {
    let cast = cast();
    let asked = json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.9"});
    cast.create("", service(asked.clone())).unwrap();
    let mut second = service(asked);
    second["metadata"]["name"] = json!("other");
    assert_eq!(
        cast.refusal("", second),
        "Service \"other\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to \
         allocate IP 10.96.0.9: provided IP is already allocated"
    );
}

#[test]
fn bad_services_are_refused_by_field() {
    let cast = cast();
    let table = [
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"ports": [{"port": 1}, {"port": 2, "name": "a"}]}),
            "spec.ports[0].name: Required value",
        ),
        (
            json!({"type": "X", "ports": [{"port": 1}]}),
            "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \
             \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
    ];
    for (spec, fault) in table {
        let message = cast.refusal("", service(spec));
        assert!(message.contains(fault), "{message}\nlacks {fault}");
    }
    assert!(
        cast.create("", service(json!({"clusterIP": "None"})))
            .is_ok()
    );
    let mut named = service(json!({"ports": [{"port": 1}]}));
    named["metadata"]["name"] = json!("1web");
    assert!(
        cast.refusal("", named)
            .contains("metadata.name: Invalid value: \"1web\": a DNS-1035")
    );
}

#[test]
fn unknown_fields_are_dropped_warned_about_or_refused() {
    let cast = cast();
    let def = cast.def("Service", "");
    let odd = service(json!({"ports": [{"port": 80, "prot": 1}], "nonsense": {}}));
    let run = |mode| {
        let mut obj = odd.clone();
        cast.schema
            .decode(&def, "v1", &mut obj, mode)
            .map(|w| (w, obj))
    };
    let (warnings, obj) = run(FieldValidation::Warn).unwrap();
    assert_eq!(
        warnings,
        [
            "unknown field \"spec.nonsense\"",
            "unknown field \"spec.ports[0].prot\""
        ]
    );
    assert_eq!(obj["spec"], json!({"ports": [{"port": 80}]}));
    let refused = run(FieldValidation::Strict).unwrap_err();
    assert_eq!(refused.code, 400);
    assert!(
        refused
            .message
            .contains("strict decoding error: unknown field \"spec.nonsense\"")
    );
    assert!(run(FieldValidation::Ignore).unwrap().0.is_empty());
}

#[test]
fn wrong_types_are_bad_requests_that_name_the_field() {
    let cast = cast();
    let refused = cast
        .create("", service(json!({"ports": [{"port": "x"}]})))
        .unwrap_err();
    assert_eq!(refused.code, 400);
    assert!(
        refused.message.starts_with(
            "Service in version \"v1\" cannot be handled as a Service: spec.ports[0].port: "
        ),
        "{refused}"
    );
}

#[test]
fn a_deployment_is_completed_and_counts_generations() {
    let cast = cast();
    let made = cast.create("apps", deployment()).unwrap();
    let spec = &made["spec"];
    assert_eq!(
        (&spec["replicas"], &made["metadata"]["generation"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(spec["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    let same = cast.update("apps", &made, |d| {
        d["metadata"]["labels"] = json!({"x": "y"})
    });
    assert_eq!(same.unwrap()["metadata"]["generation"], 1);
    let scaled = cast
        .update("apps", &made, |d| d["spec"]["replicas"] = json!(3))
        .unwrap();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let status = cast
        .update("apps", &made, |d| d["status"] = json!({"replicas": 9}))
        .unwrap();
    assert_eq!(status["status"], json!({}));
    let other = json!({"matchLabels": {"app": "x"}});
    let refused = cast
        .update("apps", &made, |d| d["spec"]["selector"] = other)
        .unwrap_err();
    assert!(
        refused.message.contains("spec.selector: Invalid value"),
        "{refused}"
    );
}

#[test]
fn a_selector_must_match_its_template() {
    let cast = cast();
    let mut obj = deployment();
    obj["spec"]["template"]["metadata"]["labels"] = json!({"app": "api"});
    assert_eq!(
        cast.refusal("apps", obj),
        "Deployment.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: \
         {\"app\":\"api\"}: `selector` does not match template `labels`"
    );
}

#[test]
fn content_needs_a_living_namespace() {
    let cast = cast();
    let config = |ns: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
                                   "metadata": {"name": "c", "namespace": ns}})
    };
    let missing = cast.create("", config("nowhere")).unwrap_err();
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (404, "namespaces \"nowhere\" not found")
    );
    let key = ResourceKey::core("namespaces");
    cast.store
        .delete(&key, None, "a", &crate::store::DeleteOptions::default())
        .unwrap();
    let leaving = cast.create("", config("a")).unwrap_err();
    assert_eq!(leaving.code, 403);
    assert!(leaving.message.contains("because it is being terminated"));
}

#[test]
fn secrets_fold_plain_text_and_keep_their_type() {
    let cast = cast();
    let secret = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": "s"}, "stringData": {"k": "v"}})
    };
    let made = cast.create("", secret("Opaque")).unwrap();
    assert_eq!(made["data"], json!({"k": "dg=="}));
    assert_eq!(made["stringData"], Value::Null);
    assert!(
        cast.update("", &made, |s| s["type"] = json!("x/y"))
            .is_err()
    );
    let tls = cast.refusal("", secret("kubernetes.io/tls"));
    assert!(tls.contains("data[tls.crt]: Required value"), "{tls}");
    let mut bad = secret("Opaque");
    bad["data"] = json!({"x": "not base64!"});
    assert_eq!(cast.create("", bad).unwrap_err().code, 400);
}

#[test]
fn status_is_written_alone() {
    let cast = cast();
    let made = cast.create("apps", deployment()).unwrap();
    let def = cast.def("Deployment", "apps");
    let mut new = made.clone();
    new["spec"]["replicas"] = json!(9);
    new["status"] = json!({"replicas": 1});
    cast.schema
        .prepare_update(&def, "v1", &made, &mut new, Some("status"))
        .unwrap();
    assert_eq!(
        (&new["spec"]["replicas"], &new["status"]["replicas"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn identity_cannot_be_updated() {
    let cast = cast();
    let made = cast.create("apps", deployment()).unwrap();
    let refused = cast.update("apps", &made, |d| d["metadata"]["uid"] = json!("other"));
    assert!(
        refused
            .unwrap_err()
            .message
            .contains("metadata.uid: Invalid value")
    );
    let silent = cast.update("apps", &made, |d| {
        remove(&mut d["metadata"], "uid");
        remove(&mut d["metadata"], "creationTimestamp");
    });
    assert_eq!(silent.unwrap()["metadata"]["uid"], made["metadata"]["uid"]);
}

#[test]
fn a_namespace_is_held_by_its_finalizer() {
    let cast = cast();
    let obj = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}});
    let made = cast.create("", obj).unwrap();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(
        made["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "b"
    );
    assert_eq!(made["status"]["phase"], "Active");
}

#[test]
fn a_node_registers_with_its_status_and_a_pod_without() {
    let cast = cast();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
                      "status": {"capacity": {"cpu": 2}}});
    assert_eq!(
        cast.create("", node).unwrap()["status"]["capacity"]["cpu"],
        "2"
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running"}});
    assert_eq!(cast.create("", pod).unwrap()["status"]["phase"], "Pending");
}
