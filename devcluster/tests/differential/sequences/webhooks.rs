//! Admission webhooks: configurations, and live ones that change, refuse, answer nonsense or are
//! down. Each is asked about its sequence's namespace only.

use super::{Named, config_map, deployment, pod, with, without};
use crate::session::Session;
use http::Method;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("webhook_configurations", webhook_configurations),
    (
        "webhook_configurations_refused",
        webhook_configurations_refused,
    ),
    ("webhooks_mutate", webhooks_mutate),
    ("webhooks_mutate_pods", webhooks_mutate_pods),
    ("webhooks_again", webhooks_again),
    ("webhooks_validate", webhooks_validate),
    ("webhooks_refuse", webhooks_refuse),
    ("webhooks_select", webhooks_select),
    ("webhooks_of_subresources", webhooks_of_subresources),
    ("webhooks_down", webhooks_down),
    ("webhooks_talk_nonsense", webhooks_talk_nonsense),
    (
        "webhooks_spare_configurations",
        webhooks_spare_configurations,
    ),
];

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

fn kind(all: &str) -> &'static str {
    if all == MUTATING {
        "MutatingWebhookConfiguration"
    } else {
        "ValidatingWebhookConfiguration"
    }
}

/// A webhook as short as can be.
fn hook(name: &str, client: Value) -> Value {
    json!({"name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [rule("configmaps", &["CREATE", "UPDATE"])]})
}

fn rule(resource: &str, operations: &[&str]) -> Value {
    json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource],
        "operations": operations})
}

fn configuration(all: &str, name: &str, hooks: Vec<Value>) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind(all),
        "metadata": {"name": name}, "webhooks": hooks})
}

fn only_in(s: &Session, mut hook: Value) -> Value {
    hook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": s.ns()}});
    hook
}

/// Makes a configuration, and waits until the server goes by it: a webhook at `/ready` is asked.
fn install(s: &mut Session, all: &str, hooks: Vec<Value>) -> String {
    let (name, ready) = (s.ns(), hook("ready", s.webhook().client("/ready")));
    let mut hooks: Vec<Value> = hooks.into_iter().map(|hook| only_in(s, hook)).collect();
    let mut ready = only_in(s, ready);
    ready["objectSelector"] = json!({"matchLabels": {"probe": "yes"}});
    for hook in &mut hooks {
        if hook["objectSelector"].is_null() {
            hook["objectSelector"] = json!({"matchExpressions":
                [{"key": "probe", "operator": "DoesNotExist"}]});
        }
    }
    hooks.push(ready);
    let path = format!("{all}/{name}");
    s.quietly(&Method::POST, all, configuration(all, &name, hooks));
    let maps = s.core("configmaps?dryRun=All");
    let probe = with(
        config_map("probe"),
        "/metadata/labels",
        json!({"probe": "yes"}),
    );
    s.until_asked("/ready", |s| {
        s.quietly(&Method::POST, &maps, probe.clone());
    });
    s.forget_reviews();
    path
}

/// Takes a configuration away; later writes may still meet it for a moment.
fn remove(s: &mut Session, path: &str) {
    s.quietly(&Method::DELETE, path, json!({}));
}

fn webhook_configurations(s: &mut Session) {
    for all in [MUTATING, VALIDATING] {
        let path = format!("{all}/{}", s.ns());
        let url = hook("url", json!({"url": "https://127.0.0.1:1/x"}));
        let service = json!({"service": {"name": "a", "namespace": "b"}});
        let mut nowhere = vec![url, hook("service", service)];
        for hook in &mut nowhere {
            hook["rules"][0]["apiGroups"] = json!(["nobody.example.com"]);
        }
        s.post(all, configuration(all, &s.ns(), nowhere.clone()));
        s.post(all, configuration(all, &s.ns(), nowhere.clone()));
        s.get(&path);
        s.table(&path);
        s.put(&path, configuration(all, &s.ns(), nowhere.clone()));
        s.merge(&path, json!({"metadata": {"labels": {"a": "b"}}}));
        s.json_patch(
            &path,
            json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "QQ=="},
                   {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 5}]),
        );
        s.strategic(
            &path,
            json!({"webhooks": [{"name": "service.example.com", "failurePolicy": "Ignore"}]}),
        );
        let wanted = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind(all),
            "webhooks": [with(nowhere[0].clone(), "/matchPolicy", json!("Exact"))]});
        s.apply(&path, "one", wanted.clone());
        s.apply(&path, "one&force=true", wanted);
        s.kubectl(&["get", kind(all), &s.ns(), "--no-headers"]);
        s.delete(&path, None);
        s.get(&path);
    }
}

fn webhook_configurations_refused(s: &mut Session) {
    let name = s.ns();
    // What is taken by mistake must not stand in anybody's way.
    let hook = |client: Value| {
        let nobody = json!(["nobody.example.com"]);
        with(hook("good", client), "/rules/0/apiGroups", nobody)
    };
    let good = || hook(json!({"url": "https://127.0.0.1:1/x"}));
    let service =
        |path: &str| hook(json!({"service": {"name": "a", "namespace": "b", "path": path}}));
    let url = |url: &str| hook(json!({"url": url}));
    let ruled = |pointer: &str, value: Value| with(good(), &format!("/rules/0{pointer}"), value);
    let wrong = [
        json!({}),
        with(good(), "/name", json!("short")),
        with(good(), "/name", json!("Not.A.Name")),
        with(good(), "/failurePolicy", json!("Maybe")),
        with(good(), "/matchPolicy", json!("Maybe")),
        with(good(), "/sideEffects", json!("Some")),
        without(good(), "/sideEffects"),
        with(good(), "/timeoutSeconds", json!(31)),
        with(good(), "/timeoutSeconds", json!(0)),
        with(good(), "/admissionReviewVersions", json!([])),
        with(good(), "/admissionReviewVersions", json!(["v2"])),
        with(good(), "/admissionReviewVersions", json!(["v1", "v1", "V"])),
        with(
            good(),
            "/namespaceSelector",
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
        ),
        with(
            good(),
            "/objectSelector",
            json!({"matchLabels": {"a b": "c"}}),
        ),
        hook(json!({})),
        hook(json!({"url": "https://a", "service": {"name": "a", "namespace": "b"}})),
        hook(json!({"service": {}})),
        hook(json!({"service": {"name": "a", "namespace": "b", "port": 70000}})),
        service("no-slash"),
        service("/a//b"),
        service("/A"),
        service("//"),
        url("http://127.0.0.1/x"),
        url("https://user@127.0.0.1/x"),
        url("https://127.0.0.1/x?a=b"),
        url("https://127.0.0.1/x#a"),
        url("https:///x"),
        ruled("/operations", json!([])),
        ruled("/operations", json!(["CREATE", "*"])),
        ruled("/operations", json!(["create"])),
        ruled("/apiGroups", json!([])),
        ruled("/apiGroups", json!(["*", "apps"])),
        ruled("/apiVersions", json!([""])),
        ruled("/apiVersions", json!(["*", "v1"])),
        ruled("/resources", json!([])),
        ruled("/resources", json!([""])),
        ruled("/resources", json!(["*/*", "pods"])),
        ruled("/resources", json!(["*", "pods"])),
        ruled("/resources", json!(["pods/*", "pods/status"])),
        ruled("/resources", json!(["*/status", "pods/status"])),
        ruled("/scope", json!("Everywhere")),
    ];
    for hook in wrong {
        s.post(VALIDATING, configuration(VALIDATING, &name, vec![hook]));
    }
    let again = with(good(), "/reinvocationPolicy", json!("Maybe"));
    s.post(
        MUTATING,
        configuration(MUTATING, &name, vec![again.clone()]),
    );
    s.post(VALIDATING, configuration(VALIDATING, &name, vec![again]));
    s.post(
        MUTATING,
        configuration(MUTATING, &name, vec![good(), good()]),
    );
    remove(s, &format!("{VALIDATING}/{name}"));
    s.post(MUTATING, configuration(MUTATING, "Not-A-Name", vec![]));
    s.post(
        MUTATING,
        json!({"metadata": {"name": name}, "webhooks": "none"}),
    );
}

fn webhooks_mutate(s: &mut Session) {
    let mut mutate = hook("mutate", s.webhook().client("/mutate"));
    mutate["rules"][0]["operations"] = json!(["*"]);
    let configuration = install(s, MUTATING, vec![mutate]);
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&format!("{maps}?dryRun=All"), config_map("dry"));
    s.post(
        &format!("{maps}?fieldManager=me&fieldValidation=Strict"),
        config_map("a"),
    );
    s.get(&path);
    s.merge(&path, json!({"metadata": {"annotations": null}}));
    s.put(&path, config_map("a"));
    s.json_patch(
        &path,
        json!([{"op": "add", "path": "/data/b", "value": "2"}]),
    );
    s.apply(
        &path,
        "one",
        with(config_map("a"), "/data", json!({"c": "3"})),
    );
    s.apply(&s.core("configmaps/b"), "one", config_map("b"));
    s.put(&s.core("configmaps/none"), config_map("none"));
    s.merge(&s.core("configmaps/none"), json!({}));
    s.post(&maps, config_map("a"));
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"generateName": "made-"}});
    s.post(&maps, generated);
    s.reviews();
    s.delete(&path, None);
    s.reviews();
    remove(s, &configuration);
}

fn webhooks_mutate_pods(s: &mut Session) {
    let mut add = hook("container", s.webhook().client("/container"));
    add["rules"] = json!([rule("pods", &["CREATE"])]);
    let configuration = install(s, MUTATING, vec![add]);
    s.post(&s.core("pods"), pod("a"));
    s.reviews();
    s.post(&s.apps("deployments"), deployment("web"));
    let pods = s.core("pods?labelSelector=app=web");
    let containers = |list: &Value| {
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let of = |pod: &Value| pod["spec"]["containers"].as_array().map_or(0, Vec::len);
        pods.iter()
            .any(|p| p["metadata"]["generateName"].is_string() && of(p) == 2)
    };
    s.until(&s.core("pods"), containers);
    s.get(&pods);
    s.reviews();
    let web = s.apps("deployments/web");
    // The answer to the deletion holds the status, which the controllers write after the pod.
    s.wait(&web, |d| d["status"]["updatedReplicas"] == 1);
    s.delete(&web, Some(json!({"propagationPolicy": "Foreground"})));
    s.gone(&web);
    remove(s, &configuration);
}

fn webhooks_again(s: &mut Session) {
    let mut first = hook("first", s.webhook().client("/mutate"));
    first["reinvocationPolicy"] = json!("IfNeeded");
    let second = hook("second", s.webhook().client("/count"));
    let third = hook("third", s.webhook().client("/empty-patch"));
    let configuration = install(s, MUTATING, vec![first, second, third]);
    s.post(&s.core("configmaps"), config_map("a"));
    s.reviews();
    remove(s, &configuration);
}

fn webhooks_validate(s: &mut Session) {
    let mut warn = hook("warn", s.webhook().client("/warn"));
    warn["rules"] = json!([
        rule("configmaps", &["*"]),
        rule("services", &["CREATE"]),
        rule("pods", &["CREATE"]),
    ]);
    let configuration = install(s, VALIDATING, vec![warn]);
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    s.post(
        &maps,
        with(config_map("b"), "/metadata/labels", json!({"a b": "c"})),
    );
    s.merge(&path, json!({"data": {"b": "2"}}));
    s.merge(&path, json!({"data": {"b": "2"}}));
    s.reviews();
    s.delete(&path, Some(json!({"gracePeriodSeconds": 0})));
    s.reviews();
    s.post(&s.core("services"), super::service("web"));
    s.post(&s.core("pods"), pod("a"));
    s.reviews();
    remove(s, &configuration);
}

fn webhooks_refuse(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    for answer in ["deny", "silent", "success", "teapot"] {
        for all in [MUTATING, VALIDATING] {
            let mut deny = hook(answer, s.webhook().client(&format!("/{answer}")));
            deny["rules"] = json!([rule("configmaps", &["*"])]);
            let configuration = install(s, all, vec![deny]);
            s.post(&maps, config_map("b"));
            s.merge(&path, json!({"data": {"b": "2"}}));
            s.apply(&path, "one", config_map("a"));
            s.delete(&path, None);
            s.delete(&maps, None);
            s.kubectl_fed(&["create", "-f", "-"], &config_map("typed").to_string());
            remove(s, &configuration);
            s.until_free(&maps, &config_map("free"));
            s.forget_reviews();
        }
    }
    s.get(&path);
}

fn webhooks_select(s: &mut Session) {
    let chosen = json!({"matchLabels": {"chosen": "yes"}});
    let mut labelled = hook("labelled", s.webhook().client("/deny"));
    labelled["objectSelector"] = chosen;
    let mut cluster = hook("cluster", s.webhook().client("/deny"));
    cluster["rules"][0]["scope"] = json!("Cluster");
    let mut secrets = hook("secrets", s.webhook().client("/deny"));
    secrets["rules"] = json!([rule("secrets", &["*"])]);
    let configuration = install(s, VALIDATING, vec![labelled, cluster, secrets]);
    let maps = s.core("configmaps");
    s.post(&maps, config_map("free"));
    s.post(
        &maps,
        with(
            config_map("b"),
            "/metadata/labels",
            json!({"chosen": "yes"}),
        ),
    );
    s.merge(
        &s.core("configmaps/free"),
        json!({"metadata": {"labels": {"chosen": "yes"}}}),
    );
    s.post(&s.core("secrets"), json!({"metadata": {"name": "a"}}));
    s.get(&s.core("secrets"));
    remove(s, &configuration);
}

fn webhooks_of_subresources(s: &mut Session) {
    s.without_controllers();
    let (all, web) = (s.apps("deployments"), s.apps("deployments/web"));
    s.post(&all, with(deployment("web"), "/spec/replicas", json!(0)));
    s.post(&s.core("pods"), pod("a"));
    let mut exec = hook("exec", s.webhook().client("/deny"));
    exec["rules"] = json!([rule("pods/exec", &["CONNECT"])]);
    exec["objectSelector"] = json!({});
    let connecting = install(s, VALIDATING, vec![exec]);
    let command = format!("{}/exec?command=x&stdout=true", s.core("pods/a"));
    s.raw(&Method::POST, &command, "application/json", "");
    s.reviews();
    remove(s, &connecting);
    let mut scale = hook("scale", s.webhook().client("/scale"));
    scale["rules"] = json!([rule("deployments/scale", &["*"])]);
    let mut others = hook("others", s.webhook().client("/allow"));
    others["rules"] = json!([
        rule("pods/eviction", &["CREATE"]),
        rule("serviceaccounts/token", &["*"]),
    ]);
    let configuration = install(s, MUTATING, vec![scale, others]);
    s.merge(&format!("{web}/scale"), json!({"spec": {"replicas": 3}}));
    s.reviews();
    s.post(
        &format!("{}/token", s.core("serviceaccounts/default")),
        json!({"spec": {"audiences": ["a"], "expirationSeconds": 600}}),
    );
    s.reviews();
    s.post(
        &format!("{}/eviction", s.core("pods/a")),
        json!({"metadata": {"name": "a"}}),
    );
    s.reviews();
    remove(s, &configuration);
}

fn webhooks_down(s: &mut Session) {
    let maps = s.core("configmaps");
    let nobody = json!({"url": "https://127.0.0.1:1/x"});
    let service =
        |name: &str| json!({"service": {"name": name, "namespace": s.ns(), "path": "/x"}});
    let (missing, empty) = (service("missing"), service("empty"));
    let mut distrusted = s.webhook().client("/allow");
    distrusted.as_object_mut().unwrap().remove("caBundle");
    let slow = s.webhook().client("/slow");
    let mut web = super::service("empty");
    web["spec"]["ports"] = json!([{"port": 443}]);
    s.post(&s.core("services"), web);
    for (name, client) in [
        ("nobody", nobody),
        ("missing", missing),
        ("empty", empty),
        ("distrusted", distrusted),
        ("slow", slow),
        ("error", s.webhook().client("/error")),
        ("not-found", s.webhook().client("/not-found")),
    ] {
        for policy in ["Fail", "Ignore"] {
            let mut down = hook(name, client.clone());
            down["failurePolicy"] = json!(policy);
            down["timeoutSeconds"] = json!(1);
            for all in [MUTATING, VALIDATING] {
                let configuration = install(s, all, vec![down.clone()]);
                s.post(&format!("{maps}?dryRun=All"), config_map(name));
                remove(s, &configuration);
                s.until_free(&maps, &config_map("free"));
            }
        }
    }
}

fn webhooks_talk_nonsense(s: &mut Session) {
    let maps = s.core("configmaps?dryRun=All");
    for answer in [
        "no-response",
        "wrong-uid",
        "wrong-kind",
        "untyped-patch",
        "patchless-type",
        "merge-patch",
        "bad-patch",
        "failing-patch",
        "rename",
        "invalid",
        "unknown",
    ] {
        for all in [MUTATING, VALIDATING] {
            let talk = hook(answer, s.webhook().client(&format!("/{answer}")));
            let configuration = install(s, all, vec![talk]);
            s.post(&maps, config_map("a"));
            remove(s, &configuration);
            s.until_free(&s.core("configmaps"), &config_map("free"));
        }
    }
    let mut deletes = hook("deletes", s.webhook().client("/failing-patch"));
    deletes["rules"] = json!([rule("configmaps", &["DELETE"])]);
    s.post(&s.core("configmaps"), config_map("a"));
    let configuration = install(s, MUTATING, vec![deletes]);
    s.delete(&s.core("configmaps/a"), None);
    remove(s, &configuration);
}

/// A webhook for everything of the group, that is down: nobody can be locked out by it.
fn webhooks_spare_configurations(s: &mut Session) {
    let name = s.ns();
    for all in [MUTATING, VALIDATING] {
        let mut down = hook("down", json!({"url": "https://127.0.0.1:1/x"}));
        down["rules"] = json!([{"apiGroups": ["admissionregistration.k8s.io"],
            "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]);
        s.post(all, configuration(all, &name, vec![down]));
    }
    for all in [MUTATING, VALIDATING] {
        let path = format!("{all}/{name}");
        s.merge(&path, json!({"metadata": {"labels": {"a": "b"}}}));
        s.delete(&path, None);
        s.get(&path);
    }
}
