//! Defaults: every built-in kind, as short as users write it.

use super::{Named, deployment, pod, service, with};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("pod_defaults", pod_defaults),
    ("pod_defaults_of_every_part", pod_defaults_of_every_part),
    ("service_defaults", service_defaults),
    ("service_changes", service_changes),
    ("deployment_defaults", deployment_defaults),
    ("stateful_set_defaults", stateful_set_defaults),
    ("secret_kinds", secret_kinds),
    ("account_lease_slice_event", account_lease_slice_event),
    ("nodes", nodes),
    ("role_kinds", role_kinds),
];

fn pod_defaults(s: &mut Session) {
    let (pods, path) = (s.core("pods"), s.core("pods/a"));
    s.post(&pods, pod("a"));
    s.get(&path);
    s.merge(&path, json!({"metadata": {"labels": {"more": "yes"}}}));
    s.merge(
        &path,
        json!({"spec": {"containers": [{"name": "web", "image": "example.com/web:2"}]}}),
    );
    s.strategic(
        &path,
        json!({"spec": {"containers": [{"name": "web", "image": "example.com/web:2"}]}}),
    );
    s.strategic(
        &path,
        json!({"spec": {"containers": [{"name": "web", "env": [{"name": "A", "value": "b"}]}]}}),
    );
    s.merge(&path, json!({"spec": {"nodeName": "somewhere"}}));
    s.merge(
        &format!("{path}/status"),
        json!({"status": {"phase": "Running", "podIP": "10.0.0.1"}}),
    );
    s.post(
        &format!("{path}/binding"),
        json!({"target": {"kind": "Node", "name": "somewhere"}, "metadata": {"name": "a"}}),
    );
    s.post(
        &format!("{path}/binding"),
        json!({"target": {"kind": "Node", "name": "elsewhere"}, "metadata": {"name": "a"}}),
    );
    s.post(
        &format!("{path}/eviction"),
        json!({"metadata": {"name": "a"}}),
    );
}

fn pod_defaults_of_every_part(s: &mut Session) {
    let pods = s.core("pods");
    s.post(&pods, json!({"metadata": {"name": "b"}, "spec": {
        "terminationGracePeriodSeconds": 5, "serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "securityContext": {"runAsUser": 1000, "fsGroup": 1},
        "initContainers": [
            {"name": "init", "image": "init", "command": ["true"]},
            {"name": "side", "image": "side:latest", "restartPolicy": "Always"}],
        "containers": [{"name": "web", "image": "web@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "m"}}],
            "resources": {"limits": {"cpu": "0.5", "memory": "64Mi"}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 3},
            "startupProbe": {"grpc": {"port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"port": "http", "path": "/x"}}},
            "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "e", "emptyDir": {}}, {"name": "m", "configMap": {"name": "m"}},
            {"name": "s", "secret": {"secretName": "s"}}, {"name": "none"},
            {"name": "h", "hostPath": {"path": "/tmp"}},
            {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "m"}}]}}]}}));
    for (name, resources) in [
        (
            "guaranteed",
            json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
        ),
        ("burstable", json!({"requests": {"cpu": "100m"}})),
    ] {
        let one = with(pod(name), "/spec/containers/0/resources", resources);
        s.post(&pods, one);
    }
    s.post(&pods, with(pod("host"), "/spec/hostNetwork", json!(true)));
    s.post(
        &pods,
        with(
            pod("class"),
            "/spec/priorityClassName",
            json!("system-node-critical"),
        ),
    );
    s.post(
        &pods,
        with(pod("never"), "/spec/restartPolicy", json!("Never")),
    );
    let account = with(
        pod("account"),
        "/spec/serviceAccountName",
        json!("none-such"),
    );
    s.post(&pods, account);
}

fn service_defaults(s: &mut Session) {
    let services = s.core("services");
    s.post(&services, service("a"));
    for (name, spec) in [
        (
            "headless",
            json!({"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}),
        ),
        ("bare", json!({"clusterIP": "None"})),
        (
            "external",
            json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
        (
            "node-port",
            json!({"type": "NodePort", "ports": [{"port": 80, "name": "http", "targetPort": "web"}]}),
        ),
        (
            "balanced",
            json!({"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 81}]}),
        ),
        (
            "named",
            json!({"type": "LoadBalancer", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}]}),
        ),
        (
            "local",
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
        ),
        ("none", json!({})),
        (
            "affine",
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80}]}),
        ),
    ] {
        s.post(&services, json!({"metadata": {"name": name}, "spec": spec}));
    }
}

fn service_changes(s: &mut Session) {
    let (services, path) = (s.core("services"), s.core("services/a"));
    s.post(&services, service("a"));
    s.merge(&path, json!({"spec": {"type": "NodePort"}}));
    s.merge(&path, json!({"spec": {"type": "LoadBalancer"}}));
    s.merge(&path, json!({"spec": {"type": "ClusterIP"}}));
    s.merge(&path, json!({"spec": {"clusterIP": "10.96.7.7"}}));
    s.merge(&path, json!({"spec": {"clusterIP": "None"}}));
    s.merge(&path, json!({"spec": {"clusterIP": null}}));
    s.strategic(
        &path,
        json!({"spec": {"ports": [{"port": 81, "name": "more"}]}}),
    );
    s.strategic(
        &path,
        json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 81, "name": "more"}]}}),
    );
    s.merge(
        &path,
        json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
    );
    s.merge(
        &format!("{path}/status"),
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
    );
    s.delete(&path, None);
}

fn deployment_defaults(s: &mut Session) {
    s.without_controllers();
    let deployments = s.apps("deployments");
    s.post(
        &deployments,
        with(deployment("a"), "/spec/replicas", json!(0)),
    );
    s.post(
        &deployments,
        with(
            deployment("b"),
            "/spec/strategy",
            json!({"type": "Recreate"}),
        ),
    );
    s.post(
        &deployments,
        with(
            deployment("c"),
            "/spec/strategy",
            json!({"rollingUpdate": {"maxSurge": 3}}),
        ),
    );
    let sets = s.apps("replicasets");
    let mut set = with(deployment("d"), "/kind", json!("ReplicaSet"));
    set["spec"]["replicas"] = json!(0);
    s.post(&sets, set);
    let bare = json!({"metadata": {"name": "e"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    s.post(&format!("{deployments}?dryRun=All"), bare);
}

fn stateful_set_defaults(s: &mut Session) {
    s.without_controllers();
    let sets = s.apps("statefulsets");
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"},
        "spec": {"replicas": 0, "serviceName": "a", "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    s.post(&sets, set.clone());
    let path = s.apps("statefulsets/a");
    s.get(&format!("{path}/scale"));
    s.merge(&path, json!({"spec": {"serviceName": "other"}}));
    s.merge(
        &path,
        json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}}),
    );
    s.merge(&path, json!({"spec": {"podManagementPolicy": "Parallel"}}));
    s.merge(
        &path,
        json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
    );
    s.post(
        &sets,
        with(set.clone(), "/spec/podManagementPolicy", json!("Some")),
    );
    s.post(&sets, with(set.clone(), "/spec/replicas", json!(-1)));
    s.post(
        &sets,
        with(set, "/spec/selector", json!({"matchLabels": {"app": "b"}})),
    );
}

fn secret_kinds(s: &mut Session) {
    let secrets = s.core("secrets");
    let mut make = |name: &str, body: Value| {
        let mut secret = json!({"metadata": {"name": name}});
        for (key, value) in body.as_object().unwrap() {
            secret[key] = value.clone();
        }
        s.post(&secrets, secret);
    };
    make(
        "opaque",
        json!({"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}}),
    );
    make("bad64", json!({"data": {"a": "???"}}));
    make("badkey", json!({"stringData": {"a b": "c"}}));
    make(
        "tls",
        json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x", "tls.key": "y"}}),
    );
    make(
        "tls-short",
        json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}}),
    );
    make("basic", json!({"type": "kubernetes.io/basic-auth"}));
    make("ssh", json!({"type": "kubernetes.io/ssh-auth"}));
    make(
        "docker",
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{"}}),
    );
    make(
        "token",
        json!({"type": "kubernetes.io/service-account-token"}),
    );
}

fn account_lease_slice_event(s: &mut Session) {
    let path = s.core("serviceaccounts");
    s.post(
        &path,
        json!({"metadata": {"name": "a"}, "imagePullSecrets": [{"name": "p"}]}),
    );
    let path = s.group("coordination.k8s.io/v1", "leases");
    s.post(&path, json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15,
        "acquireTime": "2024-01-01T00:00:00.000000Z"}}));
    s.post(
        &path,
        json!({"metadata": {"name": "b"}, "spec": {"leaseDurationSeconds": 0}}),
    );
    s.post(
        &path,
        json!({"metadata": {"name": "c"}, "spec": {"leaseTransitions": -1}}),
    );
    let path = s.group("discovery.k8s.io/v1", "endpointslices");
    s.post(
        &path,
        json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [
        {"addresses": ["10.1.1.1"]}], "ports": [{"port": 80}]}),
    );
    s.post(&path, json!({"metadata": {"name": "b"}, "addressType": "IPv4", "endpoints": [
        {"addresses": ["fd00::1"]}, {"addresses": ["127.0.0.1"]}, {"addresses": []}, {"addresses": ["x"]}]}));
    s.post(&path, json!({"metadata": {"name": "c"}, "endpoints": []}));
    s.post(&path, json!({"metadata": {"name": "d"}, "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}],
        "ports": [{"port": 80}, {"port": 81}]}));
    s.merge(&format!("{path}/a"), json!({"addressType": "IPv6"}));
    let path = s.core("events");
    let ns = s.ns();
    s.post(&path, json!({"metadata": {"name": "a"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": ns},
        "reason": "Tested", "message": "hello", "type": "Normal", "source": {"component": "me"}}));
    s.post(&path, json!({"metadata": {"name": "b"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "other"}}));
    let path = s.group("events.k8s.io/v1", "events");
    s.get(&format!("{path}/a"));
    s.post(&path, json!({"metadata": {"name": "c"}, "regarding": {"kind": "Pod", "name": "p", "namespace": ns},
        "reason": "Tested", "action": "Test", "note": "hello", "type": "Normal", "eventTime": "2024-01-01T00:00:00.000000Z",
        "reportingController": "example.com/me", "reportingInstance": "me-1"}));
    s.post(&path, json!({"metadata": {"name": "d"}, "regarding": {"kind": "Pod", "name": "p", "namespace": ns}}));
    let path = s.core("events/c");
    s.get(&path);
}

fn nodes(s: &mut Session) {
    let name = s.ns();
    let path = format!("/api/v1/nodes/{name}");
    s.post("/api/v1/nodes", json!({"metadata": {"name": name}, "spec": {"podCIDR": "10.1.0.0/24", "unschedulable": true}}));
    s.merge(&path, json!({"spec": {"podCIDR": "10.2.0.0/24"}}));
    s.merge(
        &format!("{path}/status"),
        json!({"status": {"capacity": {"cpu": "2"}}}),
    );
    s.merge(&path, json!({"status": {"capacity": {"cpu": "4"}}}));
    s.post("/api/v1/nodes", json!({"metadata": {"name": "Bad"}}));
    s.delete(&path, None);
}

fn role_kinds(s: &mut Session) {
    const RBAC: &str = "rbac.authorization.k8s.io/v1";
    let (roles, bindings) = (s.group(RBAC, "roles"), s.group(RBAC, "rolebindings"));
    s.post(&roles, json!({"metadata": {"name": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}));
    s.post(
        &roles,
        json!({"metadata": {"name": "b"}, "rules": [{"resources": ["pods"], "verbs": ["get"]}]}),
    );
    s.post(
        &roles,
        json!({"metadata": {"name": "c"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
    );
    s.post(&roles, json!({"metadata": {"name": "d"}, "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}));
    s.post(&roles, json!({"metadata": {"name": "e"}}));
    let binding = json!({"metadata": {"name": "a"}, "roleRef": {"kind": "Role", "name": "a"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "default"}]});
    s.post(&bindings, binding.clone());
    s.post(
        &bindings,
        with(
            with(binding.clone(), "/metadata/name", json!("b")),
            "/subjects/1/namespace",
            json!("x"),
        ),
    );
    s.post(
        &bindings,
        with(
            binding.clone(),
            "/roleRef",
            json!({"kind": "Thing", "name": "a"}),
        ),
    );
    s.post(&bindings, with(binding, "/subjects/0/kind", json!("Thing")));
    s.merge(
        &format!("{bindings}/b"),
        json!({"roleRef": {"name": "other"}}),
    );
}
