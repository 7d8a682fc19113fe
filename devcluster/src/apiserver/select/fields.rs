//! Field selectors.

use crate::apiserver::resources::ResourceDef;
use crate::status::ApiError;
use serde_json::Value;

/// What some fields of an object must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct FieldSelector {
    all_of: Vec<FieldRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRule {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads `a.b=c,d!=e`.
    pub(in crate::apiserver) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut all_of = Vec::new();
        for part in split_unescaped(text) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==") {
                (path, value, true)
            } else if let Some((path, value)) = part.split_once('=') {
                (path, value, true)
            } else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(ApiError::bad_request(message));
            };
            let value = unescape(value);
            all_of.push(FieldRule {
                path: path.trim().to_owned(),
                value,
                equal,
            });
        }
        Ok(Self { all_of })
    }

    pub(in crate::apiserver) fn is_empty(&self) -> bool {
        self.all_of.is_empty()
    }

    /// The one object it can match, where it names one. A role that is limited to some names
    /// allows to list and watch those when they are asked for so.
    pub(in crate::apiserver) fn name(&self) -> Option<&str> {
        let named = |rule: &&FieldRule| rule.equal && rule.path == "metadata.name";
        self.all_of
            .iter()
            .find(named)
            .map(|rule| rule.value.as_str())
    }

    /// Refuses fields objects of this resource are not selected by, instead of matching nothing.
    pub(in crate::apiserver) fn check(&self, def: &ResourceDef) -> Result<(), ApiError> {
        for rule in &self.all_of {
            let common = matches!(rule.path.as_str(), "metadata.name" | "metadata.namespace");
            if !common && !selectable(def).contains(&rule.path.as_str()) {
                let message = format!("field label not supported: {}", rule.path);
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(())
    }

    /// `obj` is in its stored form.
    pub(in crate::apiserver) fn matches(&self, obj: &Value) -> bool {
        self.all_of
            .iter()
            .all(|rule| (field(obj, &rule.path) == rule.value) == rule.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts.retain(|p| !p.is_empty());
    parts
}

fn unescape(value: &str) -> String {
    let (mut out, mut escaped) = (String::new(), false);
    for c in value.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            out.push(c);
        }
    }
    out
}

fn selectable(def: &ResourceDef) -> &'static [&'static str] {
    match (def.group.as_str(), def.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("" | "events.k8s.io", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase", "name"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("apps", "replicasets") => &["status.replicas"],
        _ => &[],
    }
}

/// What a field holds, as text; empty when it is not there.
fn field(obj: &Value, path: &str) -> String {
    let renamed = match path {
        "source" => "source.component".to_owned(),
        "name" => "metadata.name".to_owned(),
        "reportingController" => "reportingComponent".to_owned(),
        other => match other.strip_prefix("regarding.") {
            Some(rest) => format!("involvedObject.{rest}"),
            None => other.to_owned(),
        },
    };
    let found = renamed.split('.').try_fold(obj, |at, key| at.get(key));
    match found {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) if is_bool(path) => "false".to_owned(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn is_bool(path: &str) -> bool {
    matches!(path, "spec.unschedulable" | "spec.hostNetwork")
}
