//! What controllers make of objects. There is no kubelet: pods stay pending.

use super::{Named, deployment, service, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("deployment_rolls_out", deployment_rolls_out),
    ("deployment_objects", deployment_objects),
    ("stateful_set_orders", stateful_set_orders),
    ("slices_of_services", slices_of_services),
    ("account_furnishing", account_furnishing),
    ("kubernetes_service", kubernetes_service),
    ("controllers_manage_fields", controllers_manage_fields),
];

fn settled(o: &Value) -> bool {
    o["status"]["observedGeneration"] == o["metadata"]["generation"]
}

fn deployment_rolls_out(s: &mut Session) {
    let (all, path) = (s.apps("deployments"), s.apps("deployments/web"));
    s.post(&all, with(deployment("web"), "/spec/replicas", json!(2)));
    let sets = s.apps("replicasets");
    let pods = s.core("pods");
    let count =
        |n: usize| move |list: &Value| list["items"].as_array().is_some_and(|i| i.len() == n);
    s.wait(&pods, count(2));
    s.until(&path, |o| {
        o["status"]["replicas"] == 2
            && o["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.len() == 2)
    });
    s.until(&sets, |l| l["items"][0]["status"]["replicas"] == 2);
    s.merge(&path, json!({"spec": {"replicas": 1}}));
    s.wait(&pods, count(1));
    s.until(&path, |o| settled(o) && o["status"]["replicas"] == 1);
    s.merge(&path, json!({"spec": {"paused": true}}));
    s.until(&path, |o| {
        settled(o)
            && o["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.iter().any(|c| c["reason"] == "DeploymentPaused"))
    });
    s.delete(&path, Some(json!({"propagationPolicy": "Foreground"})));
    s.gone(&path);
    s.get(&pods);
}

fn deployment_objects(s: &mut Session) {
    let all = s.apps("deployments");
    s.post(&all, deployment("web"));
    let pods = s.core("pods");
    let list = s.wait(&pods, |l| {
        l["items"].as_array().is_some_and(|i| i.len() == 1)
    });
    let name = list["items"][0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = s.core(&format!("pods/{name}"));
    s.get(&path);
    let path = s.apps("deployments/web");
    s.wait(&path, |o| o["status"]["replicas"] == 1);
    let sets = s.apps("replicasets");
    // Paused first: the controller must be seen without updated pods, or whether it says
    // ReplicaSetUpdated afterwards depends on when it looked.
    s.strategic(&path, json!({"spec": {"paused": true, "template": {"spec": {"containers": [{"name": "web", "image": "example.com/web:2"}]}}}}));
    s.wait(&path, |o| {
        settled(o) && o["status"]["updatedReplicas"].as_i64().unwrap_or_default() == 0
    });
    s.merge(&path, json!({"spec": {"paused": null}}));
    s.wait(&sets, |l| {
        l["items"].as_array().is_some_and(|i| i.len() == 2)
    });
    s.until(&path, |o| {
        settled(o)
            && o["status"]["updatedReplicas"] == 1
            && o["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.iter().any(|c| c["reason"] == "ReplicaSetUpdated"))
            && o["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    });
}

fn stateful_set_orders(s: &mut Session) {
    let (all, path) = (s.apps("statefulsets"), s.apps("statefulsets/db"));
    s.post(&all, json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}));
    let (first, second) = (s.core("pods/db-0"), s.core("pods/db-1"));
    s.until(&first, |_| true);
    s.until(&path, |o| settled(o) && o["status"]["replicas"] == 1);
    s.get(&second);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    s.merge(&format!("{first}/status"), ready.clone());
    s.wait(&second, |_| true);
    s.merge(&format!("{second}/status"), ready);
    s.until(&path, |o| {
        o["status"]["readyReplicas"] == 2 && o["status"]["availableReplicas"] == 2
    });
    s.merge(&path, json!({"spec": {"replicas": 1}}));
    s.gone(&second);
    s.until(&path, |o| settled(o) && o["status"]["replicas"] == 1);
    s.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 0}}));
    s.gone(&first);
    s.delete(&path, None);
}

fn slices_of_services(s: &mut Session) {
    // Pods of nodes there are not are not in slices.
    let node = s.ns();
    s.post("/api/v1/nodes", json!({"metadata": {"name": node}}));
    let (services, pods) = (s.core("services"), s.core("pods"));
    s.post(
        &services,
        with(
            service("web"),
            "/spec/ports",
            json!([{"name": "http", "port": 80, "targetPort": 8080}]),
        ),
    );
    let slices = s.group(
        "discovery.k8s.io/v1",
        "endpointslices?labelSelector=kubernetes.io/service-name=web",
    );
    s.until(&slices, |l| {
        l["items"].as_array().is_some_and(|i| i.len() == 1)
    });
    s.post(&pods, with(super::pod("a"), "/spec/nodeName", json!(node)));
    let path = s.core("pods/a/status");
    s.merge(&path, json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}}));
    s.until(&slices, |l| {
        l["items"][0]["endpoints"]
            .as_array()
            .is_some_and(|e| e.len() == 1)
    });
    s.merge(
        &path,
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    s.until(&slices, |l| {
        l["items"][0]["endpoints"][0]["conditions"]["ready"] == true
    });
    let path = s.core("services/web");
    s.merge(
        &path,
        json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9090}]}}),
    );
    s.until(&slices, |l| l["items"][0]["ports"][0]["port"] == 9090);
    s.delete(&path, None);
    s.wait(&slices, |l| {
        l["items"].as_array().is_some_and(Vec::is_empty)
    });
    let pod = s.core("pods/a");
    s.delete(&pod, Some(json!({"gracePeriodSeconds": 0})));
    s.delete(&format!("/api/v1/nodes/{node}"), None);
}

fn account_furnishing(s: &mut Session) {
    let account = s.core("serviceaccounts/default");
    s.get(&account);
    let roots = s.core("configmaps/kube-root-ca.crt");
    let text = s.wait(&roots, |_| true);
    assert!(text["data"]["ca.crt"].is_string(), "{text}");
    s.delete(&account, None);
    s.until(&account, |_| true);
}

fn kubernetes_service(s: &mut Session) {
    s.until("/api/v1/namespaces/default/services/kubernetes", |_| true);
}

fn controllers_manage_fields(s: &mut Session) {
    let all = s.apps("deployments");
    s.post(&all, with(deployment("web"), "/spec/replicas", json!(0)));
    let path = s.apps("deployments/web");
    s.wait(&path, settled);
    let managers = "jsonpath={.metadata.managedFields[*].manager}";
    s.kubectl(&["get", "deploy", "web", "-o", managers]);
}
