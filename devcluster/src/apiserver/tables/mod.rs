//! Objects as rows: what `kubectl get` prints.

mod age;
mod builtin;
pub(super) mod jsonpath;
mod pods;

#[cfg(test)]
mod tests;

use super::resources::{Column, ResourceDef};
use crate::status::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

/// What rows carry besides cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    /// By the query parameter of the same name.
    pub(super) fn read(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "unrecognized includeObject value: {other:?}"
            ))),
        }
    }
}

/// A heading.
pub(super) struct Heading {
    name: String,
    r#type: String,
    format: String,
    description: String,
    priority: i64,
}

impl Heading {
    fn new(name: &str, r#type: &str, priority: i64) -> Self {
        let format = if name == "Name" { "name" } else { "" };
        Self {
            name: name.to_owned(),
            r#type: r#type.to_owned(),
            format: format.to_owned(),
            description: described(name).to_owned(),
            priority,
        }
    }

    fn to_value(&self) -> Value {
        json!({"name": self.name, "type": self.r#type, "format": self.format,
            "description": self.description, "priority": self.priority})
    }
}

/// What kube-apiserver says about columns that show metadata.
fn described(heading: &str) -> &'static str {
    let field = match heading {
        "Name" => "name",
        "Age" | "Created At" => "creationTimestamp",
        _ => return "",
    };
    let metadata = super::openapi::builtin::metadata();
    let text = metadata.and_then(|m| m["properties"][field]["description"].as_str());
    text.unwrap_or_default()
}

/// A table of objects; `headings` are left out of all but the first of a watch.
pub(super) fn table(
    def: &ResourceDef,
    version: &str,
    objects: &[Arc<Value>],
    metadata: &Value,
    include: IncludeObject,
    headings: bool,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|obj| row(def, version, obj, include))
        .collect();
    let columns = headings.then(|| {
        let headings = headings_of(def, version);
        headings.iter().map(Heading::to_value).collect::<Vec<_>>()
    });
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows})
}

/// An object's metadata alone.
pub(super) fn metadata_only(obj: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"]})
}

fn row(def: &ResourceDef, version: &str, obj: &Value, include: IncludeObject) -> Value {
    let cells = cells_of(def, version, obj);
    match include {
        IncludeObject::None => json!({"cells": cells, "object": null}),
        IncludeObject::Metadata => json!({"cells": cells, "object": metadata_only(obj)}),
        IncludeObject::Object => json!({"cells": cells, "object": obj}),
    }
}

fn headings_of(def: &ResourceDef, version: &str) -> Vec<Heading> {
    if !def.custom {
        return builtin::headings(def);
    }
    let mut out = vec![Heading::new("Name", "string", 0)];
    let columns = columns(def, version);
    if columns.is_empty() {
        out.push(Heading::new("Age", "date", 0));
    }
    out.extend(columns.iter().map(|c| Heading {
        name: c.name.clone(),
        r#type: c.r#type.clone(),
        format: c.format.clone(),
        description: c.description.clone(),
        priority: c.priority,
    }));
    out
}

fn columns<'a>(def: &'a ResourceDef, version: &str) -> &'a [Column] {
    def.version(version)
        .map(|v| v.columns.as_slice())
        .unwrap_or_default()
}

fn cells_of(def: &ResourceDef, version: &str, obj: &Value) -> Vec<Value> {
    if !def.custom {
        return builtin::cells(def, obj);
    }
    let mut out = vec![obj["metadata"]["name"].clone()];
    let columns = columns(def, version);
    if columns.is_empty() {
        out.push(json!(age::since(
            obj["metadata"]["creationTimestamp"].as_str()
        )));
    }
    out.extend(columns.iter().map(|c| custom_cell(c, obj)));
    out
}

/// A cell of a printed column; of several values the first, as in kube-apiserver.
fn custom_cell(column: &Column, obj: &Value) -> Value {
    let found = jsonpath::find(obj, &column.json_path);
    let Some(value) = found.first() else {
        return Value::Null;
    };
    match (column.r#type.as_str(), value) {
        ("date", Value::String(time)) => json!(age::since(Some(time))),
        ("integer", Value::Number(_)) | ("number", Value::Number(_)) => (*value).clone(),
        ("boolean", Value::Bool(_)) => (*value).clone(),
        ("string", Value::String(_)) => (*value).clone(),
        ("string", Value::Null) => Value::Null,
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}
