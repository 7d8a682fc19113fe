//! Strategic merge: a merge patch that knows which lists merge by key, with the directives
//! clients put in: `$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`.

use crate::apiserver::fields::shape::Shape;
use crate::status::ApiError;
use serde_json::{Map, Value};

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `obj`.
pub(super) fn merge(obj: &mut Value, patch: &Value, shape: &Shape<'_>) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        *obj = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let rest = patch.iter().filter(|(k, _)| *k != "$patch");
            *obj = Value::Object(rest.map(|(k, v)| (k.clone(), v.clone())).collect());
            return Ok(());
        }
        Some("delete") => {
            *obj = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "unknown patch type found: {other}"
            )));
        }
    }
    if !obj.is_object() {
        *obj = Value::Object(Map::new());
    }
    let Some(map) = obj.as_object_mut() else {
        return Ok(());
    };
    let before = map.clone();
    retain(map, patch);
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE) {
            delete_scalars(map, list, value);
        } else if !key.starts_with('$') {
            merge_field(map, key, value, &shape.field(key))?;
        }
    }
    for (key, order) in patch {
        if let Some(list) = key.strip_prefix(ORDER)
            && let (Some(Value::Array(items)), Some(order)) = (map.get_mut(list), order.as_array())
        {
            let by = shape.field(list).merge_key().flatten();
            let was = before.get(list).and_then(Value::as_array);
            arrange(items, order, was.map_or(&[], Vec::as_slice), by);
        }
    }
    Ok(())
}

fn merge_field(
    map: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    shape: &Shape<'_>,
) -> Result<(), ApiError> {
    match value {
        Value::Null => {
            map.remove(key);
        }
        Value::Object(_) => {
            let deletes = value["$patch"] == "delete";
            if deletes {
                map.remove(key);
                return Ok(());
            }
            if shape.replaced() {
                map.insert(key.to_owned(), value.clone());
                return Ok(());
            }
            merge(map.entry(key).or_insert(Value::Null), value, shape)?;
        }
        Value::Array(items) => {
            let merged = match (map.get(key).and_then(Value::as_array), shape.merge_key()) {
                (was, Some(Some(by))) => {
                    merge_objects(was.cloned().unwrap_or_default(), items, by, shape)?
                }
                (Some(was), Some(None)) => merge_scalars(was.clone(), items),
                (_, _) => items.clone(),
            };
            map.insert(key.to_owned(), Value::Array(merged));
        }
        scalar => {
            map.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

/// `$retainKeys`: of a union, only these members stay.
fn retain(map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if let Some(keys) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| keys.iter().any(|k| k == key));
    }
}

fn delete_scalars(map: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Some(gone)) = (map.get_mut(list), gone.as_array()) {
        items.retain(|item| !gone.contains(item));
    }
}

/// What is new comes first, as with objects.
fn merge_scalars(was: Vec<Value>, items: &[Value]) -> Vec<Value> {
    let new = items.iter().filter(|item| !was.contains(item));
    let mut merged: Vec<Value> = new.cloned().collect();
    merged.extend(was);
    merged
}

fn merge_objects(
    mut was: Vec<Value>,
    items: &[Value],
    by: &str,
    shape: &Shape<'_>,
) -> Result<Vec<Value>, ApiError> {
    if items.iter().any(|item| item["$patch"] == "replace") {
        let rest = items.iter().filter(|item| item["$patch"] != "replace");
        return Ok(rest.cloned().collect());
    }
    let before = was.clone();
    let mut new = Vec::new();
    for item in items {
        let Some(key) = item.get(by) else {
            let message = format!("map: {item} does not contain declared merge key: {by}");
            return Err(ApiError::bad_request(message));
        };
        let at = was.iter().position(|w| w.get(by) == Some(key));
        let deletes = item["$patch"] == "delete";
        match at {
            Some(at) if deletes => {
                was.remove(at);
            }
            Some(at) => merge(&mut was[at], item, &shape.item())?,
            None if deletes => {}
            None => {
                let mut added = Value::Object(Map::new());
                merge(&mut added, item, &shape.item())?;
                new.push(added);
            }
        }
    }
    was.append(&mut new);
    let order: Vec<Value> = items
        .iter()
        .filter(|i| i["$patch"].is_null())
        .cloned()
        .collect();
    arrange(&mut was, &order, &before, Some(by));
    Ok(was)
}

/// Puts items in the wanted order. Those it does not name come before the first wanted one that
/// was behind them in `before`.
fn arrange(items: &mut Vec<Value>, order: &[Value], before: &[Value], by: Option<&str>) {
    let key = |v: &Value| match by {
        Some(by) => v.get(by).cloned().unwrap_or(Value::Null),
        None => v.clone(),
    };
    let was = |v: &Value| before.iter().position(|b| key(b) == key(v));
    let wanted: Vec<Value> = order.iter().map(key).collect();
    let (mut rest, mut named) = (Vec::new(), Vec::new());
    for item in items.drain(..) {
        match wanted.iter().position(|w| *w == key(&item)) {
            Some(place) => named.push((place, item)),
            None => rest.push(item),
        }
    }
    named.sort_by_key(|(place, _)| *place);
    let mut rest = rest.into_iter().peekable();
    for (_, item) in named {
        if let Some(place) = was(&item) {
            while let Some(other) = rest.next_if(|other| was(other).is_some_and(|w| w < place)) {
                items.push(other);
            }
        }
        items.push(item);
    }
    items.extend(rest);
}
