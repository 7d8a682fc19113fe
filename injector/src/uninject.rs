//! The way back: a pod as it was before [`decide`](crate::decide()) added a sidecar.
//!
//! Called by `mesh uninject`. Removes what the decision adds, by name, and what it made to hold
//! it; everything the user wrote stays, `linkerd.io/inject` and `config.linkerd.io/*` included.

use crate::container;
use mesh_contract::{annotations, labels, names};
use serde_json::{Map, Value};

const ANNOTATIONS: &[&str] = &[
    annotations::PROXY_VERSION,
    annotations::CREATED_BY,
    annotations::TRUST_ROOT_SHA256,
];

/// The template without its sidecar; `None` where it has none.
pub fn uninject(template: &Value) -> Option<Value> {
    let has_proxy = |list: &str| {
        let list = template["spec"][list].as_array();
        list.is_some_and(|all| all.iter().any(|c| c["name"] == names::PROXY_CONTAINER))
    };
    // A sidecar that we did not add (there is no record of it) is the user's own.
    let added = template["metadata"]["annotations"]
        .get(annotations::PROXY_VERSION)
        .is_some();
    if !added || !(has_proxy("containers") || has_proxy("initContainers")) {
        return None;
    }
    let mut out = template.clone();
    let spec = &mut out["spec"];
    remove_named(spec, "containers", container::CONTAINERS);
    remove_named(spec, "initContainers", container::CONTAINERS);
    remove_named(spec, "volumes", container::VOLUMES);
    let metadata = out["metadata"].as_object_mut()?;
    edit(metadata, "annotations", |annotations| {
        if let Some(inherited) = annotations.remove(annotations::INHERITED) {
            for key in inherited.as_str().unwrap_or_default().split(',') {
                annotations.remove(key);
            }
        }
        annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
    });
    edit(metadata, "labels", |labels| {
        labels.retain(|key, _| !is_ours(key));
    });
    let no_metadata = metadata.is_empty();
    if no_metadata && let Some(out) = out.as_object_mut() {
        out.remove("metadata");
    }
    Some(out)
}

fn is_ours(label: &str) -> bool {
    label == labels::CONTROL_PLANE_NS
        || label == labels::WORKLOAD_NS
        || label.starts_with(labels::PROXY_OWNER_PREFIX)
}

fn remove_named(spec: &mut Value, list: &str, names: &[&str]) {
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) else {
        return;
    };
    items.retain(|item| {
        let name = item["name"].as_str();
        !name.is_some_and(|name| names.contains(&name))
    });
    if items.is_empty() {
        spec.remove(list);
    }
}

fn edit(metadata: &mut Map<String, Value>, key: &str, change: impl Fn(&mut Map<String, Value>)) {
    let Some(map) = metadata.get_mut(key).and_then(Value::as_object_mut) else {
        return;
    };
    change(map);
    if map.is_empty() {
        metadata.remove(key);
    }
}
