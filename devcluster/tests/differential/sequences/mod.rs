//! The sequences, by what they are about. A sequence runs in a namespace named after it.

mod access;
mod applying;
mod bad;
mod budgets;
mod custom;
mod deleting;
mod kinds;
mod objects;
mod patches;
mod reading;
mod typed;
mod watching;
mod webhooks;
mod workloads;

use crate::session::Session;
use serde_json::{Value, json};

/// What is replayed.
pub type Sequence = fn(&mut Session);
type Named = (&'static str, Sequence);

/// All of them.
pub fn all() -> Vec<Named> {
    [
        objects::ALL,
        kinds::ALL,
        bad::ALL,
        patches::ALL,
        applying::ALL,
        reading::ALL,
        watching::ALL,
        deleting::ALL,
        custom::ALL,
        access::ALL,
        workloads::ALL,
        typed::ALL,
        budgets::ALL,
        webhooks::ALL,
    ]
    .concat()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "example.com/web:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 8080}]}]}}}})
}

/// An object with one field changed.
fn with(mut obj: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match obj.pointer_mut(parent).expect("a parent") {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    obj
}

/// An object without a field.
fn without(mut obj: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = obj.pointer_mut(parent).expect("a parent");
    parent.as_object_mut().expect("an object").remove(key);
    obj
}
