//! Objects users get wrong.

use super::{Named, deployment, pod, service, with, without};
use crate::session::Session;
use serde_json::{Value, json};

pub const ALL: &[Named] = &[
    ("bad_pods", bad_pods),
    ("bad_containers", bad_containers),
    ("bad_volumes", bad_volumes),
    ("bad_services", bad_services),
    ("bad_deployments", bad_deployments),
    ("bad_replica_sets", bad_replica_sets),
];

/// Posts an object once for each change.
fn each(s: &mut Session, path: &str, good: &Value, changes: &[(&str, Value)]) {
    for (pointer, value) in changes {
        s.post(
            &format!("{path}?dryRun=All"),
            with(good.clone(), pointer, value.clone()),
        );
    }
}

fn bad_pods(s: &mut Session) {
    let pods = s.core("pods");
    each(
        s,
        &pods,
        &pod("a"),
        &[
            ("/spec/containers", json!([])),
            ("/spec/containers", json!(null)),
            ("/spec/restartPolicy", json!("Sometimes")),
            ("/spec/dnsPolicy", json!("Mine")),
            ("/spec/terminationGracePeriodSeconds", json!(-1)),
            ("/spec/activeDeadlineSeconds", json!(0)),
            ("/spec/nodeSelector", json!({"bad key": "x"})),
            ("/spec/hostname", json!("Bad.Host")),
            ("/spec/serviceAccountName", json!("Bad_Name")),
            (
                "/spec/tolerations",
                json!([{"key": "a", "operator": "Exists", "value": "b"}]),
            ),
            ("/spec/tolerations", json!([{"operator": "Equal"}])),
            ("/spec/imagePullSecrets", json!([{}])),
            ("/spec/hostAliases", json!([{"ip": "x"}])),
            (
                "/spec/initContainers",
                json!([{"name": "web", "image": "x"}]),
            ),
            (
                "/spec/affinity",
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
            ),
            (
                "/spec/topologySpreadConstraints",
                json!([{"maxSkew": 0, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule"}]),
            ),
            (
                "/spec/readinessGates",
                json!([{"conditionType": "bad type"}]),
            ),
            ("/spec/securityContext", json!({"runAsUser": -1})),
            ("/spec/priorityClassName", json!("none-such")),
            ("/spec/overhead", json!({"cpu": "1"})),
        ],
    );
    s.post(&pods, without(pod("a"), "/spec"));
    s.post(&pods, with(pod("Bad"), "/spec/containers", json!([])));
}

fn bad_containers(s: &mut Session) {
    let pods = s.core("pods");
    each(
        s,
        &pods,
        &pod("a"),
        &[
            ("/spec/containers/0/name", json!("")),
            ("/spec/containers/0/name", json!("Bad_Name")),
            ("/spec/containers/0/image", json!("")),
            ("/spec/containers/0/image", json!(" padded")),
            ("/spec/containers/0/imagePullPolicy", json!("Maybe")),
            ("/spec/containers/0/ports", json!([{"containerPort": 0}])),
            (
                "/spec/containers/0/ports",
                json!([{"containerPort": 70000}]),
            ),
            (
                "/spec/containers/0/ports",
                json!([{"containerPort": 80, "protocol": "ICMP"}]),
            ),
            (
                "/spec/containers/0/ports",
                json!([{"containerPort": 80, "name": "a-name-that-is-too-long"}]),
            ),
            (
                "/spec/containers/0/ports",
                json!([{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 81}]),
            ),
            (
                "/spec/containers/0/ports",
                json!([{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81}]),
            ),
            ("/spec/containers/0/env", json!([{"name": ""}])),
            ("/spec/containers/0/env", json!([{"name": "a=b"}])),
            (
                "/spec/containers/0/env",
                json!([{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            ),
            (
                "/spec/containers/0/env",
                json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]),
            ),
            (
                "/spec/containers/0/env",
                json!([{"name": "A", "valueFrom": {}}]),
            ),
            ("/spec/containers/0/envFrom", json!([{}])),
            (
                "/spec/containers/0/volumeMounts",
                json!([{"name": "none", "mountPath": "/x"}]),
            ),
            (
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            ),
            (
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "lots"}}),
            ),
            (
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "-1"}}),
            ),
            (
                "/spec/containers/0/resources",
                json!({"limits": {"unknown": "1"}}),
            ),
            ("/spec/containers/0/livenessProbe", json!({})),
            (
                "/spec/containers/0/livenessProbe",
                json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}),
            ),
            (
                "/spec/containers/0/livenessProbe",
                json!({"httpGet": {"port": 0}}),
            ),
            (
                "/spec/containers/0/livenessProbe",
                json!({"httpGet": {"port": 80}, "successThreshold": 2}),
            ),
            (
                "/spec/containers/0/readinessProbe",
                json!({"httpGet": {"port": 80}, "periodSeconds": -1}),
            ),
            ("/spec/containers/0/lifecycle", json!({"preStop": {}})),
            (
                "/spec/containers/0/terminationMessagePolicy",
                json!("Never"),
            ),
            (
                "/spec/containers/0/securityContext",
                json!({"runAsUser": -5}),
            ),
            (
                "/spec/containers/0/securityContext",
                json!({"privileged": true, "allowPrivilegeEscalation": false}),
            ),
            ("/spec/containers/0/restartPolicy", json!("Sometimes")),
            ("/spec/containers/0/command", json!("sh")),
            ("/spec/containers/0/ports", json!([{"containerPort": "80"}])),
        ],
    );
}

fn bad_volumes(s: &mut Session) {
    let pods = s.core("pods");
    each(
        s,
        &pods,
        &pod("a"),
        &[
            ("/spec/volumes", json!([{"name": ""}])),
            ("/spec/volumes", json!([{"name": "Bad"}])),
            ("/spec/volumes", json!([{"name": "a"}, {"name": "a"}])),
            (
                "/spec/volumes",
                json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "hostPath": {"path": ""}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "hostPath": {"path": "/a/../b"}}]),
            ),
            ("/spec/volumes", json!([{"name": "a", "secret": {}}])),
            ("/spec/volumes", json!([{"name": "a", "configMap": {}}])),
            (
                "/spec/volumes",
                json!([{"name": "a", "configMap": {"name": "m", "items": [{"key": "k"}]}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "configMap": {"name": "m", "defaultMode": 5000}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "projected": {"sources": [{}]}}]),
            ),
            (
                "/spec/volumes",
                json!([{"name": "a", "downwardAPI": {"items": [{"path": "l"}]}}]),
            ),
        ],
    );
    let mounted = with(
        pod("a"),
        "/spec/volumes",
        json!([{"name": "v", "emptyDir": {}}]),
    );
    each(
        s,
        &pods,
        &mounted,
        &[
            ("/spec/containers/0/volumeMounts", json!([{"name": "v"}])),
            (
                "/spec/containers/0/volumeMounts",
                json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]),
            ),
            (
                "/spec/containers/0/volumeMounts",
                json!([{"name": "v", "mountPath": "/a", "subPath": "../x"}]),
            ),
        ],
    );
}

fn bad_services(s: &mut Session) {
    let services = s.core("services");
    each(
        s,
        &services,
        &service("a"),
        &[
            ("/metadata/name", json!("1a")),
            ("/metadata/name", json!("a".repeat(64))),
            ("/spec/ports", json!([])),
            ("/spec/ports", json!([{"port": 0}])),
            ("/spec/ports", json!([{"port": 70000}])),
            ("/spec/ports", json!([{"port": 80}, {"port": 81}])),
            (
                "/spec/ports",
                json!([{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]),
            ),
            (
                "/spec/ports",
                json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
            ),
            ("/spec/ports", json!([{"port": 80, "name": "Bad_Name"}])),
            ("/spec/ports", json!([{"port": 80, "protocol": "ICMP"}])),
            (
                "/spec/ports",
                json!([{"port": 80, "targetPort": "not a port"}]),
            ),
            ("/spec/ports", json!([{"port": 80, "targetPort": 0}])),
            ("/spec/ports", json!([{"port": 80, "nodePort": 30000}])),
            ("/spec/type", json!("Other")),
            ("/spec/type", json!("ExternalName")),
            ("/spec/clusterIP", json!("x")),
            ("/spec/clusterIP", json!("192.168.1.1")),
            ("/spec/selector", json!({"bad key": "x"})),
            ("/spec/sessionAffinity", json!("Sticky")),
            ("/spec/externalTrafficPolicy", json!("Local")),
            ("/spec/internalTrafficPolicy", json!("Some")),
            ("/spec/externalIPs", json!(["x"])),
            ("/spec/loadBalancerIP", json!("1.2.3.4")),
            ("/spec/ipFamilyPolicy", json!("Other")),
            ("/spec/ipFamilies", json!(["IPv6"])),
        ],
    );
    let typed = |kind: &str, port: u32| json!({"metadata": {"name": "a"}, "spec": {"type": kind, "ports": [{"port": 80, "nodePort": port}]}});
    s.post(&services, typed("NodePort", 80));
    s.post(&services, json!({"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "bad name"}}));
    s.post(&services, json!({"metadata": {"name": "x"}, "spec": {"type": "LoadBalancer", "clusterIP": "None", "ports": [{"port": 80}]}}));
}

fn bad_deployments(s: &mut Session) {
    s.without_controllers();
    let deployments = s.apps("deployments");
    each(
        s,
        &deployments,
        &deployment("a"),
        &[
            ("/spec/replicas", json!(-1)),
            ("/spec/replicas", json!("two")),
            ("/spec/selector", json!(null)),
            ("/spec/selector", json!({})),
            ("/spec/selector", json!({"matchLabels": {"app": "other"}})),
            (
                "/spec/selector",
                json!({"matchExpressions": [{"key": "app", "operator": "In"}]}),
            ),
            (
                "/spec/selector",
                json!({"matchExpressions": [{"key": "app", "operator": "Is", "values": ["a"]}]}),
            ),
            ("/spec/template/metadata/labels", json!({})),
            ("/spec/template/spec/containers", json!([])),
            ("/spec/template/spec/restartPolicy", json!("Never")),
            ("/spec/strategy", json!({"type": "Other"})),
            (
                "/spec/strategy",
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
            ),
            (
                "/spec/strategy",
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            ),
            (
                "/spec/strategy",
                json!({"rollingUpdate": {"maxSurge": "lots"}}),
            ),
            (
                "/spec/strategy",
                json!({"rollingUpdate": {"maxUnavailable": "200%"}}),
            ),
            ("/spec/minReadySeconds", json!(-1)),
            ("/spec/revisionHistoryLimit", json!(-1)),
            ("/spec/progressDeadlineSeconds", json!(0)),
            ("/spec/template/spec/activeDeadlineSeconds", json!(5)),
        ],
    );
    s.post(&deployments, without(deployment("a"), "/spec"));
    s.post(
        &deployments,
        with(deployment("a"), "/spec/replicas", json!(0)),
    );
    let path = s.apps("deployments/a");
    s.merge(
        &path,
        json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}}),
    );
    s.merge(
        &path,
        json!({"spec": {"template": {"metadata": {"labels": {"app": "b"}}}}}),
    );
}

fn bad_replica_sets(s: &mut Session) {
    let sets = s.apps("replicasets");
    let good = json!({"metadata": {"name": "a"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    each(
        s,
        &sets,
        &good,
        &[
            ("/spec/replicas", json!(-1)),
            ("/spec/selector", json!({"matchLabels": {"app": "b"}})),
            ("/spec/selector", json!(null)),
            ("/spec/template", json!(null)),
        ],
    );
    s.post(&sets, good);
    let path = s.apps("replicasets/a");
    s.merge(
        &path,
        json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}}),
    );
}
