//! The decision: does this pod get a sidecar, and what does the pod look like then?

use crate::{container, overrides, settings::Settings};
use mesh_contract::{annotations, labels, names};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use thiserror::Error;

/// A pod, or the template of one, with what is known around it.
#[derive(Clone, Debug)]
pub struct Pod<'a> {
    /// Object with `metadata` and `spec`: a Pod, or a workload's `spec.template`.
    pub template: &'a Value,
    /// Namespace it runs in, where known.
    pub namespace: Option<&'a str>,
    /// Annotations of that namespace, where known.
    pub namespace_annotations: &'a BTreeMap<String, String>,
    /// The workload the pod belongs to; metrics name it.
    pub owner: Option<Owner<'a>>,
    /// Inject although no annotation asks for it, as `mesh inject` does.
    pub requested: bool,
}

/// The workload a pod belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// `Deployment`, `StatefulSet`, …
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// What to do with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Apply this RFC 6902 patch to the template.
    Inject(json_patch::Patch),
    /// Leave the pod as it is.
    Skip(SkipReason),
}

/// Why a pod is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// `linkerd.io/inject: disabled`, on the pod or its namespace.
    Disabled,
    /// Nobody asked for it.
    NotRequested,
    /// It shares the node's network, where redirecting would hit the whole node.
    HostNetwork,
    /// It has a sidecar already.
    AlreadyInjected,
    /// Without a ServiceAccount token the sidecar cannot prove who it is.
    NoServiceAccountToken,
}

/// A pod that cannot be injected as asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InjectError {
    /// The value would be refused by the sidecar.
    #[error("annotation {key}: {value:?} is not valid, expected {expected}")]
    InvalidAnnotation {
        /// Whole key.
        key: String,
        /// Value as written.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The object is no pod.
    #[error("no containers in {0}: expected a Pod or a workload with a pod template")]
    NotAPod(String),
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "linkerd.io/inject is \"disabled\"",
            Self::NotRequested => "no linkerd.io/inject annotation on it or its namespace",
            Self::HostNetwork => "hostNetwork is set: a sidecar would redirect the whole node",
            Self::AlreadyInjected => "it has a linkerd-proxy container already",
            Self::NoServiceAccountToken => {
                "automountServiceAccountToken is false: the sidecar could not prove its identity"
            }
        })
    }
}

impl SkipReason {
    /// The reason as Linkerd's metrics spell it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Disabled => "injection_disable_annotation_present",
            Self::NotRequested => "injection_enable_annotation_absent",
            Self::HostNetwork => "host_network_enabled",
            Self::AlreadyInjected => "sidecar_already_exists",
            Self::NoServiceAccountToken => "disabled_automount_service_account_token_account",
        }
    }

    /// Whether somebody asked for a sidecar and does not get it, which is worth telling.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::HostNetwork | Self::NoServiceAccountToken)
    }
}

/// Decides about one pod. Pure: the same input gives the same answer.
pub fn decide(settings: &Settings, pod: &Pod<'_>) -> Result<Decision, InjectError> {
    let annotations = merged_annotations(pod);
    if let Some(reason) = skip(pod, &annotations) {
        return Ok(Decision::Skip(reason));
    }
    let Some(containers) = pod.template["spec"]["containers"].as_array() else {
        let kind = pod.owner.map_or("Pod", |owner| owner.kind);
        return Err(InjectError::NotAPod(kind.to_owned()));
    };
    let effective = overrides::effective(settings, &annotations)?;
    let proxy = container::proxy(settings, &effective, &container_ports(containers));

    let mut injected = pod.template.clone();
    let spec = &mut injected["spec"];
    if effective.proxy.native_sidecar {
        // Before the pod's own init containers, so that those are meshed too.
        insert(spec, "initContainers", 0, proxy);
    } else {
        // The sidecar starts before the application, so that its first connection is meshed.
        insert(spec, "containers", 0, proxy);
    }
    if !settings.values.cni_enabled {
        // Without a native sidecar, init containers that run before the redirection still reach
        // the network; with one, nothing may run before it.
        let at = if effective.proxy.native_sidecar {
            0
        } else {
            spec["initContainers"].as_array().map_or(0, Vec::len)
        };
        insert(
            spec,
            "initContainers",
            at,
            container::init(settings, &effective),
        );
    }
    for volume in container::volumes() {
        append(spec, "volumes", volume);
    }
    annotate(settings, pod, &mut injected);
    Ok(Decision::Inject(json_patch::diff(pod.template, &injected)))
}

/// What the user should hear about a pod's annotations although it is injected.
pub fn warnings(pod: &Pod<'_>) -> Vec<String> {
    let annotations = merged_annotations(pod);
    let unread = overrides::unread(&annotations);
    let text = |key| format!("annotation {key} is not known and has no effect");
    unread.into_iter().map(text).collect()
}

fn merged_annotations(pod: &Pod<'_>) -> BTreeMap<String, String> {
    let mut merged = pod.namespace_annotations.clone();
    if let Some(own) = pod.template["metadata"]["annotations"].as_object() {
        let own = own
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        merged.extend(own);
    }
    merged
}

fn skip(pod: &Pod<'_>, annotations: &BTreeMap<String, String>) -> Option<SkipReason> {
    let spec = &pod.template["spec"];
    let named_proxy = |list: &str| {
        spec[list]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["name"] == names::PROXY_CONTAINER))
    };
    match annotations.get(annotations::INJECT).map(String::as_str) {
        Some("disabled") => return Some(SkipReason::Disabled),
        Some("enabled" | "ingress") => {}
        _ if pod.requested => {}
        _ => return Some(SkipReason::NotRequested),
    }
    if named_proxy("containers") || named_proxy("initContainers") {
        Some(SkipReason::AlreadyInjected)
    } else if spec["hostNetwork"] == true {
        Some(SkipReason::HostNetwork)
    } else if spec["automountServiceAccountToken"] == false {
        Some(SkipReason::NoServiceAccountToken)
    } else {
        None
    }
}

fn container_ports(containers: &[Value]) -> String {
    let ports: BTreeSet<u16> = containers
        .iter()
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .collect();
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    ports.join(",")
}

fn annotate(settings: &Settings, pod: &Pod<'_>, injected: &mut Value) {
    let version = &settings.values.linkerd_version;
    let annotations = child(child(injected, "metadata"), "annotations");
    inherit(pod.namespace_annotations, annotations);
    annotations[annotations::PROXY_VERSION] = json!(version);
    annotations[annotations::CREATED_BY] = json!(format!("mesh/injector {version}"));
    if !settings.trust_anchors.is_empty() {
        annotations[annotations::TRUST_ROOT_SHA256] = json!(settings.trust_anchors_sha256);
    }
    let labels = child(child(injected, "metadata"), "labels");
    labels[labels::CONTROL_PLANE_NS] = json!(settings.control_plane_ns);
    if let Some(namespace) = pod.namespace {
        labels[labels::WORKLOAD_NS] = json!(namespace);
    }
    if let Some(owner) = pod.owner
        && let Some(name) = label_value(owner.name)
    {
        let kind = owner.kind.to_lowercase();
        labels[format!("{}{kind}", labels::PROXY_OWNER_PREFIX)] = json!(name);
    }
}

/// The namespace's sidecar settings, written on the pod: destination reads opaque ports and the
/// default policy there, and a later change of the namespace must not be believed of this pod.
fn inherit(namespace: &BTreeMap<String, String>, annotations: &mut Value) {
    let mut inherited = Vec::new();
    for (key, value) in namespace {
        let ours = overrides::is_sidecar_setting(key);
        if ours && annotations.get(key).is_none() {
            annotations[key] = json!(value);
            inherited.push(key.as_str());
        }
    }
    if !inherited.is_empty() {
        annotations[annotations::INHERITED] = json!(inherited.join(","));
    }
}

/// Names may be longer than labels; a cut one must still end in a letter or digit.
fn label_value(name: &str) -> Option<&str> {
    let cut = name.get(..name.len().min(63))?;
    let cut = cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    (!cut.is_empty()).then_some(cut)
}

/// The object at `key`, made where it is missing or null.
fn child<'v>(parent: &'v mut Value, key: &str) -> &'v mut Value {
    let value = &mut parent[key];
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
}

fn list<'v>(spec: &'v mut Value, key: &str) -> Option<&'v mut Vec<Value>> {
    if !spec[key].is_array() {
        spec[key] = json!([]);
    }
    spec[key].as_array_mut()
}

fn insert(spec: &mut Value, key: &str, at: usize, item: Value) {
    if let Some(list) = list(spec, key) {
        list.insert(at.min(list.len()), item);
    }
}

fn append(spec: &mut Value, key: &str, item: Value) {
    if let Some(list) = list(spec, key)
        && !list.iter().any(|other| other["name"] == item["name"])
    {
        list.push(item);
    }
}
