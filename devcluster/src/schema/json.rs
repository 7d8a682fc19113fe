//! Reading loosely typed objects: the few ways in which `schema`, `auth` and `controllers` look
//! into a `Value` without caring whether the way is there.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// What is at a path of field names; `Null` where the path ends early.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter()
        .fold(value, |v, key| v.get(*key).unwrap_or(&NULL))
}

/// The text at a path; empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items at a path; none when there is no list.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// `metadata.name`.
pub(crate) fn name(value: &Value) -> &str {
    text(value, &["metadata", "name"])
}

/// `metadata.namespace`.
pub(crate) fn namespace(value: &Value) -> &str {
    text(value, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub(crate) fn uid(value: &Value) -> &str {
    text(value, &["metadata", "uid"])
}

/// Whether the object is marked for deletion.
pub(crate) fn deleting(value: &Value) -> bool {
    !at(value, &["metadata", "deletionTimestamp"]).is_null()
}

/// The map under `key`, made if it is missing. `None` only when something else is in the way.
pub(crate) fn map_in<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let map = value.as_object_mut()?;
    let inner = map.entry(key).or_insert(Value::Null);
    if inner.is_null() {
        *inner = Value::Object(Map::new());
    }
    inner.as_object_mut()
}

/// Sets `key` unless it is there.
pub(crate) fn default(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() {
            *slot = to.into();
        }
    }
}

/// Removes `key`.
pub(crate) fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

/// Makes `key` of `new` what it is in `old`, including absent.
pub(crate) fn keep(old: &Value, new: &mut Value, key: &str) {
    let Some(map) = new.as_object_mut() else {
        return;
    };
    match old.get(key) {
        Some(was) if !was.is_null() => {
            map.insert(key.to_owned(), was.clone());
        }
        _ => {
            map.remove(key);
        }
    }
}

/// The items under `key`, to be changed in place.
pub(crate) fn items_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut [Value] {
    value
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .map_or(&mut [], Vec::as_mut_slice)
}
