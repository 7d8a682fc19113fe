//! What kube-apiserver publishes about the built-in kinds: their fields, how lists and maps of
//! theirs merge, and what users read in `kubectl explain`.
//!
//! `builtin.json` is generated from a real server by `kind-e2e`'s example `openapi`.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("builtin.json")).unwrap_or_default());

/// Names of schemas by group and kind.
static ROOTS: LazyLock<BTreeMap<(&str, &str), &str>> = LazyLock::new(|| {
    let mut roots = BTreeMap::new();
    for (name, schema) in schemas().into_iter().flatten() {
        let about = schema["x-kubernetes-group-version-kind"].as_array();
        // Options of deletion and the like belong to every group.
        for gvk in about.filter(|a| a.len() == 1).into_iter().flatten() {
            let text = |key: &str| gvk[key].as_str().unwrap_or_default();
            roots.insert((text("group"), text("kind")), name.as_str());
        }
    }
    roots
});

fn schemas() -> Option<&'static Map<String, Value>> {
    DOCUMENT["schemas"].as_object()
}

/// The name and schema of a kind.
pub(in crate::apiserver) fn root(
    group: &str,
    kind: &str,
) -> Option<(&'static str, &'static Value)> {
    let name = ROOTS.get(&(group, kind))?;
    Some((name, schemas()?.get(*name)?))
}

/// The schema of every object's metadata.
pub(in crate::apiserver) fn metadata() -> Option<&'static Value> {
    schemas()?.get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}

/// The schema a place refers to, or its own.
pub(in crate::apiserver) fn resolve(place: &Value) -> &Value {
    let target = place
        .get("$ref")
        .or_else(|| place.get("allOf")?.get(0)?.get("$ref"));
    let name = target
        .and_then(Value::as_str)
        .and_then(|t| t.rsplit('/').next());
    name.and_then(|name| schemas()?.get(name)).unwrap_or(place)
}

/// Adds a schema and all it refers to.
pub(super) fn collect(name: &'static str, into: &mut Map<String, Value>) {
    let mut names = vec![name];
    while let Some(name) = names.pop() {
        let Some(schema) = schemas().and_then(|all| all.get_key_value(name)) else {
            continue;
        };
        if into.insert(schema.0.clone(), schema.1.clone()).is_none() {
            references(schema.1, &mut names);
        }
    }
}

fn references(value: &'static Value, names: &mut Vec<&'static str>) {
    match value {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str);
            names.extend(target.and_then(|t| t.rsplit('/').next()));
            map.values().for_each(|v| references(v, names));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_kind_is_described() {
        for def in crate::apiserver::builtin::all() {
            assert!(root(&def.group, &def.kind).is_some(), "{}", def.kind);
        }
    }
}
