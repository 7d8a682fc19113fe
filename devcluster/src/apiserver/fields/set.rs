//! Sets of field paths, as `FieldsV1` writes them.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A set of paths, as a tree. Steps are spelled as in `FieldsV1`: `f:name`, `k:{"name":"x"}`,
/// `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct Fields {
    /// Whether the path that leads here is in the set.
    pub(in crate::apiserver) own: bool,
    pub(in crate::apiserver) children: BTreeMap<String, Fields>,
}

impl Fields {
    /// Exactly the path that leads here.
    pub(in crate::apiserver) fn leaf() -> Self {
        Self {
            own: true,
            children: BTreeMap::new(),
        }
    }

    pub(in crate::apiserver) fn is_empty(&self) -> bool {
        !self.own && self.children.is_empty()
    }

    /// Adds what is below a step, unless that is nothing.
    pub(in crate::apiserver) fn put(&mut self, step: String, below: Self) {
        if !below.is_empty() {
            let entry = self.children.entry(step).or_default();
            *entry = entry.union(&below);
        }
    }

    pub(in crate::apiserver) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.own |= other.own;
        for (step, below) in &other.children {
            out.put(step.clone(), below.clone());
        }
        out
    }

    pub(in crate::apiserver) fn minus(&self, other: &Self) -> Self {
        let mut out = Self {
            own: self.own && !other.own,
            children: BTreeMap::new(),
        };
        for (step, below) in &self.children {
            let left = match other.children.get(step) {
                Some(gone) => below.minus(gone),
                None => below.clone(),
            };
            out.put(step.clone(), left);
        }
        out
    }

    pub(in crate::apiserver) fn both(&self, other: &Self) -> Self {
        let mut out = Self {
            own: self.own && other.own,
            children: BTreeMap::new(),
        };
        for (step, below) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                out.put(step.clone(), below.both(theirs));
            }
        }
        out
    }

    /// Takes a path out of the set, and with `whole` what is below it.
    pub(in crate::apiserver) fn forget(&mut self, path: &[&str], whole: bool) {
        let Some((step, rest)) = path.split_first() else {
            return;
        };
        let Some(child) = self.children.get_mut(*step) else {
            return;
        };
        if rest.is_empty() {
            child.own = false;
            if whole {
                child.children.clear();
            }
        } else {
            child.forget(rest, whole);
        }
        if child.is_empty() {
            self.children.remove(*step);
        }
    }

    /// Every path, as kube-apiserver prints it: `.spec.containers[name="x"].image`.
    pub(in crate::apiserver) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(String::new(), &mut out);
        out
    }

    fn collect(&self, at: String, out: &mut Vec<String>) {
        if self.own {
            out.push(at.clone());
        }
        for (step, below) in &self.children {
            below.collect(format!("{at}{}", printed(step)), out);
        }
    }

    /// Reads a `fieldsV1`; what is not one reads as empty.
    pub(in crate::apiserver) fn from_value(value: &Value) -> Self {
        let mut out = Self::default();
        for (step, below) in value.as_object().into_iter().flatten() {
            if step == "." {
                out.own = true;
                continue;
            }
            let child = if below.as_object().is_none_or(Map::is_empty) {
                Self::leaf()
            } else {
                Self::from_value(below)
            };
            out.put(step.clone(), child);
        }
        out
    }

    /// Writes a `fieldsV1`.
    pub(in crate::apiserver) fn to_value(&self) -> Value {
        let mut out = Map::new();
        if self.own && !self.children.is_empty() {
            out.insert(".".into(), json!({}));
        }
        for (step, below) in &self.children {
            out.insert(step.clone(), below.to_value());
        }
        Value::Object(out)
    }
}

/// A step as messages show it.
fn printed(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(key) = step.strip_prefix("k:") {
        let fields: BTreeMap<String, Value> = serde_json::from_str(key).unwrap_or_default();
        let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        return format!("[{}]", fields.join(","));
    }
    format!("[={}]", step.strip_prefix("v:").unwrap_or(step))
}
