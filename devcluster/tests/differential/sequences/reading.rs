//! Lists, selectors, pages, tables, discovery.

use super::{Named, config_map, deployment, pod, service, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("selectors", selectors),
    ("pages", pages),
    ("tables", tables),
    ("discovery", discovery),
    ("list_options", list_options),
];

fn labelled(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

fn selectors(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, labelled("a", json!({"app": "web", "tier": "front"})));
    s.post(&maps, labelled("b", json!({"app": "web", "tier": "back"})));
    s.post(&maps, labelled("c", json!({"app": "db"})));
    for selector in [
        "app=web",
        "app==web,tier!=back",
        "tier",
        "!tier",
        "app in (web,db),tier notin (back)",
        "app%3Dweb",
        "app=",
        "tier=none",
        "app in (web",
        "a b",
        "=x",
        "app>1",
        "app in ()",
        "-bad=x",
        "app=a=b",
    ] {
        s.get(&format!(
            "{maps}?labelSelector={}",
            selector.replace(' ', "%20").replace('>', "%3E")
        ));
    }
    for selector in [
        "metadata.name=a",
        "metadata.name!=a,metadata.name!=kube-root-ca.crt",
        "data.a=1",
        "metadata.name",
        "x",
    ] {
        s.get(&format!("{maps}?fieldSelector={selector}"));
    }
    let pods = s.core("pods");
    s.post(&pods, pod("p"));
    for selector in [
        "status.phase=Pending",
        "spec.nodeName=",
        "spec.nodeName=x",
        "spec.restartPolicy=Always",
        "spec.serviceAccountName=default",
        "spec.image=x",
        "status.podIP=",
    ] {
        s.get(&format!("{pods}?fieldSelector={selector}"));
    }
    let secrets = s.core("secrets");
    s.post(&secrets, labelled("s", json!({})));
    s.get(&format!("{secrets}?fieldSelector=type=Opaque"));
    s.get(&format!("{secrets}?fieldSelector=type=Other"));
    let services = s.core("services");
    s.post(&services, service("v"));
    s.get(&format!("{services}?fieldSelector=spec.type=ClusterIP"));
    s.get(&format!("{services}?fieldSelector=spec.selector=x"));
    let deployments = s.apps("deployments");
    s.get(&format!("{deployments}?fieldSelector=spec.replicas=1"));
}

fn pages(s: &mut Session) {
    let maps = s.core("configmaps");
    for name in ["a", "b", "c", "d"] {
        s.post(&maps, config_map(name));
    }
    let first = s.get(&format!("{maps}?limit=2"));
    let next = first["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let second = s.wait(&format!("{maps}?limit=2&continue={next}"), |_| true);
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|i| i["metadata"]["name"].to_string())
            .collect()
    };
    assert_eq!(names(&second).len(), 2, "{second}");
    s.get(&format!("{maps}?continue=garbage"));
    s.get(&format!("{maps}?limit=x"));
    s.get(&format!("{maps}?limit=-1"));
    s.get(&format!("{maps}?limit=100"));
}

fn list_options(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    for options in [
        "resourceVersion=x",
        "resourceVersion=99999999",
        "resourceVersion=0",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Other&resourceVersion=1",
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
        "sendInitialEvents=true",
        "timeoutSeconds=x",
    ] {
        s.get(&format!("{maps}?{options}"));
    }
    let path = s.core("configmaps/a");
    s.get(&format!("{path}?resourceVersion=0"));
}

fn tables(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(
        &maps,
        with(config_map("a"), "/binaryData", json!({"b": "eA=="})),
    );
    s.table(&maps);
    s.table(&format!("{maps}/a"));
    s.table(&format!("{maps}?includeObject=None"));
    s.table(&format!(
        "{maps}?includeObject=Object&fieldSelector=metadata.name=a"
    ));
    let pods = s.core("pods");
    s.post(&pods, pod("p"));
    s.table(&format!("{pods}?includeObject=None"));
    let secrets = s.core("secrets");
    s.post(
        &secrets,
        json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    );
    s.table(&format!("{secrets}?includeObject=None"));
    let services = s.core("services");
    s.post(&services, service("v"));
    s.post(&services, json!({"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}));
    s.post(
        &services,
        json!({"metadata": {"name": "n"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}),
    );
    s.table(&format!("{services}?includeObject=None"));
    let deployments = s.apps("deployments");
    s.post(
        &deployments,
        with(deployment("d"), "/spec/replicas", json!(0)),
    );
    let path = s.apps("deployments/d");
    s.wait(&path, |o| {
        o["status"]["conditions"]
            .as_array()
            .is_some_and(|c| c.len() == 2)
    });
    s.table(&format!("{deployments}?includeObject=None"));
    let sets = s.apps("replicasets");
    s.table(&format!("{sets}?includeObject=None"));
    let stateful = s.apps("statefulsets");
    s.table(&format!("{stateful}?includeObject=None"));
    let accounts = s.core("serviceaccounts");
    s.table(&format!("{accounts}?includeObject=None"));
    let slices = s.group("discovery.k8s.io/v1", "endpointslices");
    s.post(&slices, json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.1.1"]}], "ports": [{"port": 80}]}));
    s.table(&format!("{slices}/e?includeObject=None"));
    let leases = s.group("coordination.k8s.io/v1", "leases");
    s.post(
        &leases,
        json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}),
    );
    s.table(&format!("{leases}?includeObject=None"));
    let roles = s.group("rbac.authorization.k8s.io/v1", "roles");
    s.post(&roles, json!({"metadata": {"name": "r"}}));
    s.table(&format!("{roles}?includeObject=None"));
    let bindings = s.group("rbac.authorization.k8s.io/v1", "rolebindings");
    s.post(&bindings, json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}]}));
    s.table(&format!("{bindings}?includeObject=None"));
    let ns = s.ns();
    s.table(&format!("/api/v1/namespaces/{ns}?includeObject=None"));
}

fn discovery(s: &mut Session) {
    for path in [
        "/api",
        "/apis/apps",
        "/apis/rbac.authorization.k8s.io",
        "/healthz",
        "/readyz",
        "/livez",
    ] {
        s.get(path);
    }
}
