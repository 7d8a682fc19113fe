//! Merge, JSON and strategic patches.

use super::{Named, config_map, deployment, with};
use crate::session::Session;
use serde_json::json;

pub const ALL: &[Named] = &[
    ("merge_patches", merge_patches),
    ("json_patches", json_patches),
    ("strategic_patches", strategic_patches),
    ("strategic_directives", strategic_directives),
    ("strategic_pods_and_services", strategic_pods_and_services),
    ("patches_with_preconditions", patches_with_preconditions),
    ("scale", scale),
    ("status_apart", status_apart),
];

fn merge_patches(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    s.merge(&path, json!({"data": {"b": "2"}}));
    s.merge(&path, json!({"data": {"a": null}}));
    s.merge(&path, json!({"data": {"a": 1}}));
    s.merge(&path, json!({"metadata": {"annotations": {"x": "y"}}}));
    s.merge(&path, json!({"metadata": {"annotations": null}}));
    s.merge(&path, json!({"nothing": 1}));
    s.merge(&path, json!({"kind": "Secret"}));
    s.merge(&path, json!([]));
    s.merge(&path, json!({}));
    s.merge(
        &format!("{path}?fieldManager=me"),
        json!({"data": {"c": "3"}}),
    );
    s.merge(&format!("{path}?force=true"), json!({}));
}

fn json_patches(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    s.json_patch(
        &path,
        json!([{"op": "add", "path": "/data/b", "value": "2"}]),
    );
    s.json_patch(
        &path,
        json!([{"op": "replace", "path": "/data/none", "value": "2"}]),
    );
    s.json_patch(&path, json!([{"op": "remove", "path": "/data/none"}]));
    s.json_patch(
        &path,
        json!([{"op": "test", "path": "/data/a", "value": "9"}]),
    );
    s.json_patch(&path, json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "copy", "from": "/data/a", "path": "/data/c"}]));
    s.json_patch(
        &path,
        json!([{"op": "move", "from": "/data/c", "path": "/data/d"}]),
    );
    s.json_patch(&path, json!([{"op": "add", "path": "/x/y", "value": 1}]));
    s.json_patch(&path, json!([{"path": "/data/a"}]));
    s.json_patch(&path, json!([]));
}

fn strategic_patches(s: &mut Session) {
    s.without_controllers();
    let (all, path) = (s.apps("deployments"), s.apps("deployments/a"));
    s.post(&all, with(deployment("a"), "/spec/replicas", json!(0)));
    let containers =
        |containers| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    s.strategic(
        &path,
        containers(json!([{"name": "web", "image": "example.com/web:2"}])),
    );
    s.strategic(
        &path,
        containers(json!([{"name": "side", "image": "side"}])),
    );
    s.strategic(&path, containers(json!([{"name": "web", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}])));
    s.strategic(
        &path,
        containers(json!([{"name": "web", "env": [{"name": "A", "$patch": "delete"}]}])),
    );
    s.strategic(
        &path,
        containers(json!([{"name": "web", "ports": [{"containerPort": 9090, "name": "admin"}]}])),
    );
    s.strategic(
        &path,
        containers(json!([{"name": "web", "command": ["a", "b"]}])),
    );
    s.strategic(&path, containers(json!([{"image": "no-name"}])));
    s.strategic(
        &path,
        json!({"metadata": {"labels": {"app": null, "new": "label"}}}),
    );
    s.strategic(
        &path,
        json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
    );
    s.strategic(&path, json!({"spec": {"strategy": {"$retainKeys": ["type", "rollingUpdate"], "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}));
    s.strategic(
        &path,
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}}}),
    );
    s.strategic(&path, json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "emptyDir": null, "configMap": {"name": "m"}}]}}}}));
}

fn strategic_directives(s: &mut Session) {
    s.without_controllers();
    let (all, path) = (s.apps("deployments"), s.apps("deployments/a"));
    s.post(&all, with(deployment("a"), "/spec/replicas", json!(0)));
    let spec = |spec| json!({"spec": {"template": {"spec": spec}}});
    s.strategic(
        &path,
        spec(json!({"containers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}]})),
    );
    s.strategic(&path, spec(json!({"$setElementOrder/containers": [{"name": "two"}, {"name": "web"}, {"name": "one"}], "containers": [{"name": "one", "$patch": "delete"}]})));
    s.strategic(
        &path,
        spec(json!({"$setElementOrder/containers": [{"name": "two"}, {"name": "web"}]})),
    );
    s.strategic(
        &path,
        spec(json!({"containers": [{"name": "only", "image": "i"}, {"$patch": "replace"}]})),
    );
    s.strategic(
        &path,
        json!({"metadata": {"finalizers": ["example.com/a"]}}),
    );
    s.strategic(
        &path,
        json!({"metadata": {"finalizers": ["example.com/b"]}}),
    );
    s.strategic(
        &path,
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}),
    );
    s.strategic(&path, json!({"metadata": {"$setElementOrder/finalizers": ["example.com/c", "example.com/b"], "finalizers": ["example.com/c"]}}));
    s.strategic(
        &path,
        json!({"metadata": {"labels": {"$patch": "replace", "only": "this"}}}),
    );
    s.strategic(&path, json!({"spec": {"$patch": "sideways"}}));
    s.strategic(&path, json!({"metadata": {"finalizers": null}}));
}

fn strategic_pods_and_services(s: &mut Session) {
    let (services, path) = (s.core("services"), s.core("services/a"));
    s.post(&services, super::service("a"));
    s.strategic(&path, json!({"spec": {"selector": {"more": "labels"}}}));
    s.strategic(
        &path,
        json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    s.strategic(&path, json!({"spec": {"$setElementOrder/ports": [{"port": 81}], "ports": [{"port": 81}, {"port": 80, "$patch": "delete"}]}}));
    let accounts = s.core("serviceaccounts");
    s.post(&accounts, json!({"metadata": {"name": "a"}}));
    let path = s.core("serviceaccounts/a");
    s.strategic(&path, json!({"imagePullSecrets": [{"name": "a"}]}));
    s.strategic(&path, json!({"imagePullSecrets": [{"name": "b"}]}));
    let path = s.core("configmaps/kube-root-ca.crt");
    let _ = path;
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/none";
    s.strategic(crds, json!({}));
}

fn patches_with_preconditions(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    s.merge(
        &path,
        json!({"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}}),
    );
    s.merge(&path, json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "y"}}));
    s.merge(
        &path,
        json!({"metadata": {"uid": "other"}, "data": {"x": "z"}}),
    );
    s.json_patch(
        &path,
        json!([{"op": "test", "path": "/metadata/uid", "value": "other"}]),
    );
    s.merge(&path, json!({"metadata": {"creationTimestamp": null}}));
    s.merge(&path, json!({"metadata": {"managedFields": [{}]}}));
    s.merge(
        &path,
        json!({"metadata": {"managedFields": [{"manager": "x"}]}}),
    );
}

fn scale(s: &mut Session) {
    s.without_controllers();
    let (all, path) = (s.apps("deployments"), s.apps("deployments/a"));
    s.post(&all, with(deployment("a"), "/spec/replicas", json!(0)));
    let scale = format!("{path}/scale");
    let read = s.get(&scale);
    s.merge(&scale, json!({"spec": {"replicas": -1}}));
    s.put(&scale, with(read, "/metadata/resourceVersion", json!("1")));
    s.merge(&scale, json!({"spec": {"replicas": 0}}));
    s.post(&scale, json!({}));
    s.delete(&scale, None);
}

fn status_apart(s: &mut Session) {
    let (all, path) = (s.apps("replicasets"), s.apps("replicasets/a"));
    let mut set = with(deployment("a"), "/kind", json!("ReplicaSet"));
    set["spec"]["replicas"] = json!(0);
    s.post(&all, set);
    s.wait(&path, |o| !o["status"]["observedGeneration"].is_null());
    let status = format!("{path}/status");
    s.get(&status);
    s.merge(&path, json!({"status": {"replicas": 7}}));
    s.merge(
        &status,
        json!({"spec": {"replicas": 3}, "metadata": {"labels": {"x": "y"}}}),
    );
    s.merge(&status, json!({"status": {"replicas": -1}}));
}
