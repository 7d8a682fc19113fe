use super::*;
use crate::status::Cause;
use crate::store::{ResourceKey, Store};

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
           "metadata": {"name": "x", "namespace": "a"}, "spec": spec})
}

fn faults(mut obj: Value) -> Vec<String> {
    complete_pod(&mut obj);
    let mut causes = Vec::new();
    validate_spec(&obj["spec"], "spec", false, &mut causes);
    causes.iter().map(Cause::to_string).collect()
}

#[test]
fn a_minimal_pod_is_completed() {
    let mut obj = pod(json!({"containers": [{"name": "c", "image": "r.io:5000/i",
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "v"}]}));
    complete_pod(&mut obj);
    let spec = &obj["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(
        container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
        "v1"
    );
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/");
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
    assert!(faults(obj).is_empty());
}

#[test]
fn quality_follows_the_resources() {
    let of = |resources: Value| {
        let mut obj =
            pod(json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}));
        complete_pod(&mut obj);
        quality(&obj["spec"])
    };
    assert_eq!(of(json!({})), "BestEffort");
    assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(
        of(json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
        "Guaranteed"
    );
}

#[test]
fn pull_policies_follow_the_tag() {
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:v1", "IfNotPresent"),
        ("r:5000/a", "Always"),
        ("r:5000/a:1", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
    ] {
        assert_eq!(pull_policy(image), policy, "{image}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let ok = json!({"name": "c", "image": "i:1"});
    let with = |extra: Value| {
        let mut c = ok.clone();
        for (k, v) in extra.as_object().unwrap() {
            c[k] = v.clone();
        }
        json!({"containers": [c]})
    };
    let table = [
        (json!({"containers": []}), "spec.containers: Required value"),
        (
            json!({"containers": [{"name": "c"}]}),
            "spec.containers[0].image: Required value",
        ),
        (
            json!({"containers": [{"image": "i"}]}),
            "spec.containers[0].name: Required value",
        ),
        (
            json!({"containers": [ok, ok]}),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            with(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 \
             and 65535, inclusive",
        ),
        (
            with(json!({"readinessProbe": {}})),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
    ];
    for (spec, fault) in table {
        assert_eq!(faults(pod(spec)), [fault]);
    }
}

#[test]
fn the_token_is_mounted_unless_declined() {
    let store = Store::default();
    let accounts = ResourceKey::core("serviceaccounts");
    let quiet = json!({"metadata": {"name": "quiet", "namespace": "a"},
                       "automountServiceAccountToken": false});
    store.create(&accounts, quiet).unwrap();
    let admitted = |spec: Value| {
        let mut obj = pod(spec);
        admit(&mut obj, &store).map(|()| obj)
    };
    let containers = json!([{"name": "c", "image": "i"}]);
    let plain = admitted(json!({"containers": containers})).unwrap();
    let volume = &plain["spec"]["volumes"][0];
    assert_eq!(plain["spec"]["serviceAccountName"], "default");
    assert_eq!(
        volume["name"],
        plain["spec"]["containers"][0]["volumeMounts"][0]["name"]
    );
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"]["path"],
        "token"
    );
    let quiet = json!({"containers": containers, "serviceAccountName": "quiet"});
    assert!(admitted(quiet).unwrap()["spec"]["volumes"].is_null());
    let asks = json!({"containers": containers, "serviceAccountName": "quiet",
                      "automountServiceAccountToken": true});
    assert!(admitted(asks).unwrap()["spec"]["volumes"].is_array());
    let stranger = json!({"containers": containers, "serviceAccountName": "nobody"});
    let refused = admitted(stranger).unwrap_err();
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        "pods \"x\" is forbidden: error looking up service account a/nobody: serviceaccount \
         \"nobody\" not found"
    );
}

#[test]
fn only_images_and_tolerations_change() {
    let mut old = pod(json!({"containers": [{"name": "c", "image": "i:1"}]}));
    complete_pod(&mut old);
    let judge = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        let mut causes = Vec::new();
        validate_update(&old, &new, &mut causes);
        causes.len()
    };
    assert_eq!(
        judge(&|p| p["spec"]["containers"][0]["image"] = json!("i:2")),
        0
    );
    assert_eq!(judge(&|p| p["spec"]["nodeName"] = json!("n")), 1);
    assert_eq!(judge(&|p| p["spec"]["hostNetwork"] = json!(true)), 1);
    assert_eq!(judge(&|p| p["spec"]["tolerations"] = json!([])), 1);
}
