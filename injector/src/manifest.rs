//! Injection of manifests: YAML or JSON documents in, the same documents with sidecars (or without
//! them again) out.
//!
//! Called by `mesh inject` and `mesh uninject`. A document that is no workload passes through untouched.

use crate::{
    decide::{Decision, InjectError, Owner, Pod, SkipReason, decide, warnings},
    settings::Settings,
    uninject::uninject as without_sidecar,
};
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

/// Manifests that cannot be injected.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Neither YAML nor JSON.
    #[error("the input is not YAML or JSON: {0}")]
    Parse(String),
    /// One object is wrong.
    #[error("{object}: {source}")]
    Object {
        /// `kind/name`.
        object: String,
        /// What is wrong with it.
        source: InjectError,
    },
    /// The result could not be written.
    #[error("cannot write {object}: {message}")]
    Render {
        /// `kind/name`.
        object: String,
        /// What the writer said.
        message: String,
    },
}

/// What happened to one object; reported to the user on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `deployment/web`.
    pub object: String,
    /// `None` where it was injected; else why not. Objects that are no workloads are not listed.
    pub skipped: Option<SkipReason>,
    /// What the user should hear although it was injected.
    pub warnings: Vec<String>,
}

/// Documents and what happened to each workload among them.
#[derive(Debug)]
pub struct Injected {
    /// The documents, in their order.
    pub documents: Vec<Value>,
    /// One entry for each workload.
    pub outcomes: Vec<Outcome>,
}

/// Parses a stream of YAML (or JSON) documents; empty documents are dropped.
pub fn parse(input: &str) -> Result<Vec<Value>, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(input)
        .map_err(|error| ManifestError::Parse(error.to_string()))?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

/// Renders documents as a YAML stream.
pub fn render(documents: &[Value]) -> Result<String, ManifestError> {
    let mut out = String::new();
    for document in documents {
        let yaml = serde_saphyr::to_string(document).map_err(|error| ManifestError::Render {
            object: describe(document),
            message: error.to_string(),
        })?;
        out.push_str("---\n");
        out.push_str(&yaml);
        if !yaml.ends_with('\n') {
            out.push('\n');
        }
    }
    Ok(out)
}

/// Adds sidecars to every workload of `documents`.
pub fn inject(settings: &Settings, documents: Vec<Value>) -> Result<Injected, ManifestError> {
    let namespaces = namespace_annotations(&documents);
    let mut outcomes = Vec::new();
    let documents = documents
        .into_iter()
        .map(|document| inject_document(settings, &namespaces, document, &mut outcomes))
        .collect::<Result<_, _>>()?;
    Ok(Injected {
        documents,
        outcomes,
    })
}

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

fn namespace_annotations(documents: &[Value]) -> Namespaces {
    documents
        .iter()
        .filter(|d| d["kind"] == "Namespace")
        .filter_map(|d| {
            let name = d["metadata"]["name"].as_str()?.to_owned();
            let annotations = d["metadata"]["annotations"].as_object()?;
            let annotations = annotations
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect();
            Some((name, annotations))
        })
        .collect()
}

fn inject_document(
    settings: &Settings,
    namespaces: &Namespaces,
    mut document: Value,
    outcomes: &mut Vec<Outcome>,
) -> Result<Value, ManifestError> {
    if document["kind"] == "List" {
        if let Some(items) = document["items"].as_array_mut() {
            for item in items {
                *item = inject_document(settings, namespaces, item.take(), outcomes)?;
            }
        }
        return Ok(document);
    }
    let Some(path) = template_path(&document) else {
        return Ok(document);
    };
    let object = describe(&document);
    let none = BTreeMap::new();
    let namespace = document["metadata"]["namespace"].as_str();
    let kind = document["kind"].as_str().unwrap_or_default();
    let owner = document["metadata"]["name"]
        .as_str()
        .map(|name| Owner { kind, name });
    let Some(template) = document.pointer(path) else {
        let source = InjectError::NotAPod(kind.to_owned());
        return Err(ManifestError::Object { object, source });
    };
    let pod = Pod {
        template,
        namespace,
        namespace_annotations: namespace.and_then(|ns| namespaces.get(ns)).unwrap_or(&none),
        owner: owner.filter(|owner| owner.kind != "Pod"),
        requested: true,
    };
    let decision = decide(settings, &pod).map_err(|source| ManifestError::Object {
        object: object.clone(),
        source,
    })?;
    let (skipped, warnings) = match decision {
        Decision::Skip(reason) => (Some(reason), Vec::new()),
        Decision::Inject(patch) => {
            let warnings = warnings(&pod);
            if let Some(template) = document.pointer_mut(path) {
                json_patch::patch(template, &patch).map_err(|error| ManifestError::Render {
                    object: object.clone(),
                    message: error.to_string(),
                })?;
            }
            (None, warnings)
        }
    };
    outcomes.push(Outcome {
        object,
        skipped,
        warnings,
    });
    Ok(document)
}

/// Takes sidecars off every workload of `documents`; the names of those that had one.
pub fn uninject(documents: &mut [Value]) -> Vec<String> {
    let mut changed = Vec::new();
    for document in documents {
        for workload in workloads(document) {
            let object = describe(workload);
            let template = template_path(workload).and_then(|path| workload.pointer_mut(path));
            if let Some(template) = template
                && let Some(without) = without_sidecar(template)
            {
                *template = without;
                changed.push(object);
            }
        }
    }
    changed
}

/// The workloads a document is or, as a List, holds.
fn workloads(document: &mut Value) -> Vec<&mut Value> {
    if document["kind"] == "List" {
        let items = document["items"].as_array_mut();
        return items.into_iter().flatten().flat_map(workloads).collect();
    }
    match template_path(document) {
        Some(_) => vec![document],
        None => Vec::new(),
    }
}

/// Where the pod (template) of a workload is.
fn template_path(document: &Value) -> Option<&'static str> {
    match document["kind"].as_str()? {
        "Pod" => Some(""),
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn describe(document: &Value) -> String {
    let kind = document["kind"].as_str().unwrap_or("object").to_lowercase();
    let name = document["metadata"]["name"].as_str().unwrap_or("(unnamed)");
    format!("{kind}/{name}")
}
