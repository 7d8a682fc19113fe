//! Walks over objects along their [`Shape`]: which fields they have, which two of them differ
//! in, one merged into another, fields taken out.

use super::set::Fields;
use super::shape::{Key, ListKind, Shape};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The step to a field.
pub(in crate::apiserver) fn field_step(name: &str) -> String {
    format!("f:{name}")
}

/// The step to a list item; `None` when it lacks what tells it apart.
fn item_step(item: &Value, keys: &[Key]) -> Option<String> {
    let mut found = BTreeMap::new();
    for key in keys {
        let value = item.get(&key.name).or(key.default.as_ref());
        if let Some(value) = value {
            found.insert(&key.name, value);
        }
    }
    if found.is_empty() {
        return None;
    }
    serde_json::to_string(&found)
        .ok()
        .map(|json| format!("k:{json}"))
}

fn value_step(item: &Value) -> String {
    format!("v:{item}")
}

/// A list whose items have steps.
struct Items<'a> {
    steps: Vec<(String, &'a Value)>,
    map: bool,
}

/// The items of a list that merges; `None` for one that is set as a whole.
fn items<'a>(list: &'a [Value], shape: &Shape<'_>) -> Option<Items<'a>> {
    match shape.list() {
        ListKind::Atomic => None,
        ListKind::Set => {
            let steps = list.iter().map(|item| (value_step(item), item)).collect();
            Some(Items { steps, map: false })
        }
        ListKind::Map(keys) => {
            let step = |item: &'a Value| Some((item_step(item, &keys)?, item));
            let steps: Option<Vec<_>> = list.iter().map(step).collect();
            Some(Items {
                steps: steps?,
                map: true,
            })
        }
    }
}

/// The fields an applied object sets.
pub(in crate::apiserver) fn fields_of(value: &Value, shape: &Shape<'_>) -> Fields {
    let mut out = Fields::default();
    match value {
        Value::Object(map) if !map.is_empty() && !shape.atomic_map() => {
            for (name, value) in map {
                out.put(field_step(name), fields_of(value, &shape.field(name)));
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let Some(items) = items(list, shape) else {
                return Fields::leaf();
            };
            for (step, item) in items.steps {
                let mut below = if items.map {
                    fields_of(item, &shape.item())
                } else {
                    Fields::leaf()
                };
                below.own = true;
                out.put(step, below);
            }
        }
        _ => return Fields::leaf(),
    }
    out
}

/// All fields of a value that appeared, with the maps and lists that hold them.
fn appeared(value: &Value, shape: &Shape<'_>) -> Fields {
    let mut out = Fields::default();
    match value {
        Value::Object(map) if !map.is_empty() && !shape.atomic_map() => {
            out.own = !shape.given();
            for (name, value) in map {
                out.put(field_step(name), appeared(value, &shape.field(name)));
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let Some(items) = items(list, shape) else {
                return Fields::leaf();
            };
            out.own = !shape.given();
            for (step, item) in items.steps {
                let mut below = if items.map {
                    appeared(item, &shape.item())
                } else {
                    Fields::leaf()
                };
                below.own = true;
                out.put(step, below);
            }
        }
        _ => return Fields::leaf(),
    }
    out
}

/// What two states of an object differ in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct Changes {
    /// Fields that are new or hold something else.
    pub(in crate::apiserver) set: Fields,
    /// Fields that are gone.
    pub(in crate::apiserver) removed: Fields,
}

impl Changes {
    fn put(&mut self, step: &str, below: Self) {
        self.set.put(step.to_owned(), below.set);
        self.removed.put(step.to_owned(), below.removed);
    }
}

/// Compares two states.
pub(in crate::apiserver) fn compare(old: &Value, new: &Value, shape: &Shape<'_>) -> Changes {
    let mut out = Changes::default();
    match (old, new) {
        _ if old == new => {}
        (Value::Object(was), Value::Object(is)) if !shape.atomic_map() => {
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for name in names {
                let below = shape.field(name);
                out.put(&field_step(name), one(was.get(name), is.get(name), &below));
            }
        }
        (Value::Array(was), Value::Array(is)) => match (items(was, shape), items(is, shape)) {
            (Some(was), Some(is)) => {
                let map = was.map;
                let was: BTreeMap<String, &Value> = was.steps.into_iter().collect();
                let is: BTreeMap<String, &Value> = is.steps.into_iter().collect();
                let steps: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for step in steps {
                    let pair = (was.get(step).copied(), is.get(step).copied());
                    let mut below = one(pair.0, pair.1, &shape.item());
                    if !map && pair.0.is_some() && pair.1.is_some() {
                        below = Changes::default();
                    }
                    below.set.own |= pair.0.is_none();
                    below.removed.own |= pair.1.is_none();
                    out.put(step, below);
                }
            }
            _ => out.set = Fields::leaf(),
        },
        _ => out.set = Fields::leaf(),
    }
    out
}

fn one(old: Option<&Value>, new: Option<&Value>, shape: &Shape<'_>) -> Changes {
    match (old, new) {
        (Some(old), Some(new)) => compare(old, new, shape),
        (None, Some(new)) => Changes {
            set: appeared(new, shape),
            ..Changes::default()
        },
        (Some(old), None) => Changes {
            removed: appeared(old, shape),
            ..Changes::default()
        },
        (None, None) => Changes::default(),
    }
}

/// What an object becomes when a configuration is applied to it.
pub(in crate::apiserver) fn merge(live: &Value, config: &Value, shape: &Shape<'_>) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !shape.atomic_map() => {
            let mut out = live.clone();
            for (name, value) in config {
                let merged = match live.get(name) {
                    Some(was) => merge(was, value, &shape.field(name)),
                    None => value.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(was), Value::Array(is)) => match (items(was, shape), items(is, shape)) {
            (Some(was), Some(is)) => Value::Array(merge_items(&was, &is, shape)),
            _ => config.clone(),
        },
        _ => config.clone(),
    }
}

/// Items of both, in the order of the configuration; the others stay where they were among them.
fn merge_items(live: &Items<'_>, config: &Items<'_>, shape: &Shape<'_>) -> Vec<Value> {
    let was: BTreeMap<&str, &Value> = live.steps.iter().map(|(s, v)| (s.as_str(), *v)).collect();
    let is: BTreeMap<&str, &Value> = config.steps.iter().map(|(s, v)| (s.as_str(), *v)).collect();
    let mut wanted = config.steps.iter();
    let mut out = Vec::new();
    let merged = |step: &str| {
        let value = is.get(step).copied().unwrap_or(&Value::Null);
        match was.get(step) {
            Some(was) if live.map => merge(was, value, &shape.item()),
            _ => value.clone(),
        }
    };
    for (step, value) in &live.steps {
        if !is.contains_key(step.as_str()) {
            out.push((*value).clone());
            continue;
        }
        // One shared item of the live list stands for one shared item of the configuration,
        // after whatever new items the configuration has before it.
        for (next, _) in wanted.by_ref() {
            out.push(merged(next));
            if was.contains_key(next.as_str()) {
                break;
            }
        }
    }
    out.extend(wanted.map(|(step, _)| merged(step)));
    out
}

/// Takes fields out of an object; what holds nothing any more goes too, unless it is in `kept`.
pub(in crate::apiserver) fn remove(
    value: &mut Value,
    gone: &Fields,
    kept: &Fields,
    shape: &Shape<'_>,
) {
    let nothing = Fields::default();
    match value {
        Value::Object(map) => {
            for (step, below) in &gone.children {
                let Some(name) = step.strip_prefix("f:") else {
                    continue;
                };
                let keep = kept.children.get(step).unwrap_or(&nothing);
                if let Some(child) = map.get_mut(name)
                    && removed(child, below, keep, &shape.field(name))
                {
                    map.remove(name);
                }
            }
        }
        Value::Array(list) => {
            let steps = match items(list, shape) {
                Some(items) => items
                    .steps
                    .into_iter()
                    .map(|(step, _)| step)
                    .collect::<Vec<_>>(),
                None => return,
            };
            let mut steps = steps.iter();
            list.retain_mut(|item| {
                let Some(step) = steps.next() else {
                    return true;
                };
                let Some(below) = gone.children.get(step) else {
                    return true;
                };
                let keep = kept.children.get(step).unwrap_or(&nothing);
                !removed(item, below, keep, &shape.item())
            });
        }
        _ => {}
    }
}

/// Takes fields out of `value`; whether it goes as a whole.
fn removed(value: &mut Value, gone: &Fields, kept: &Fields, shape: &Shape<'_>) -> bool {
    if gone.own && kept.is_empty() {
        return true;
    }
    remove(value, gone, kept, shape);
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    empty && kept.is_empty()
}

/// Drops fields that hold null, which in an applied configuration set nothing.
pub(in crate::apiserver) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => drop_nulls(map),
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn drop_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    map.values_mut().for_each(without_nulls);
}
