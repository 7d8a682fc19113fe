//! How lists and maps of an object merge: item by item, or as a whole.
//!
//! Built-in kinds are described by a table of the lists clients merge; custom resources by
//! `x-kubernetes-list-type` and its siblings in their schema. What neither names is a granular
//! map or an atomic list, as in Kubernetes.

use serde_json::{Value, json};

/// How a list merges.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::apiserver) enum ListKind {
    /// As a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by these fields.
    Map(Vec<Key>),
}

/// A field that tells list items apart.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::apiserver) struct Key {
    pub(in crate::apiserver) name: String,
    /// What an item without the field means.
    pub(in crate::apiserver) default: Option<Value>,
}

/// What is known about the place in an object a walk stands at.
#[derive(Clone, Debug)]
pub(in crate::apiserver) enum Shape<'a> {
    /// A built-in kind, and the path walked so far: `spec.template.spec.containers[].ports`.
    Builtin { kind: &'a str, path: String },
    /// The root of a custom resource, and its schema if it has one.
    Custom(Option<&'a Value>),
    /// A place in a custom resource's schema.
    Schema(&'a Value),
    /// Nothing is known.
    Unknown,
}

#[derive(Clone, Copy)]
enum Rule {
    Map(&'static [&'static str]),
    Set,
    /// Atomic for server-side apply; strategic merge tells items apart by this field.
    AtomicBy(&'static str),
    AtomicMap,
}
use Rule::{AtomicBy, AtomicMap, Map, Set};

/// Paths in a pod template or a Pod.
const POD: &[(&str, Rule)] = &[
    ("spec.containers", Map(&["name"])),
    ("spec.initContainers", Map(&["name"])),
    ("spec.ephemeralContainers", Map(&["name"])),
    ("spec.volumes", Map(&["name"])),
    ("spec.imagePullSecrets", Map(&["name"])),
    ("spec.hostAliases", Map(&["ip"])),
    (
        "spec.topologySpreadConstraints",
        Map(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("spec.resourceClaims", Map(&["name"])),
    ("spec.schedulingGates", Map(&["name"])),
    ("spec.nodeSelector", AtomicMap),
    ("status.conditions", Map(&["type"])),
    ("status.podIPs", Map(&["ip"])),
    ("status.hostIPs", AtomicBy("ip")),
];

/// Paths in a container.
const CONTAINER: &[(&str, Rule)] = &[
    ("ports", Map(&["containerPort", "protocol"])),
    ("env", Map(&["name"])),
    ("env[].valueFrom.fieldRef", AtomicMap),
    ("env[].valueFrom.resourceFieldRef", AtomicMap),
    ("env[].valueFrom.secretKeyRef", AtomicMap),
    ("env[].valueFrom.configMapKeyRef", AtomicMap),
    ("volumeMounts", Map(&["mountPath"])),
    ("volumeDevices", Map(&["devicePath"])),
    ("resources.claims", Map(&["name"])),
];

const METADATA: &[(&str, Rule)] = &[
    ("metadata.finalizers", Set),
    ("metadata.ownerReferences", Map(&["uid"])),
    ("metadata.ownerReferences[]", AtomicMap),
];

fn rules(kind: &str) -> &'static [(&'static str, Rule)] {
    match kind {
        "Service" => &[
            ("spec.ports", Map(&["port", "protocol"])),
            ("spec.selector", AtomicMap),
            ("status.conditions", Map(&["type"])),
        ],
        "Deployment" | "ReplicaSet" => &[
            ("spec.selector", AtomicMap),
            ("status.conditions", Map(&["type"])),
        ],
        "Node" => &[
            ("spec.taints", AtomicBy("key")),
            ("spec.podCIDRs", Set),
            ("status.conditions", Map(&["type"])),
            ("status.addresses", Map(&["type"])),
        ],
        "ServiceAccount" => &[
            ("secrets", Map(&["name"])),
            ("imagePullSecrets", AtomicBy("name")),
        ],
        "Namespace" | "CustomResourceDefinition" => &[("status.conditions", Map(&["type"]))],
        "ClusterRoleBinding" | "RoleBinding" => &[("roleRef", AtomicMap)],
        "Event" => &[("involvedObject", AtomicMap), ("regarding", AtomicMap)],
        _ => &[],
    }
}

/// Fields of built-in kinds that are maps with free keys, not structures.
const FREE_MAPS: &[&str] = &[
    "labels",
    "annotations",
    "data",
    "binaryData",
    "stringData",
    "matchLabels",
    "limits",
    "requests",
    "capacity",
    "allocatable",
    "nodeSelector",
    "parameters",
];

fn find(kind: &str, path: &str) -> Option<Rule> {
    let by_path = |rules: &[(&str, Rule)], path: &str| {
        rules
            .iter()
            .find(|(p, _)| *p == path)
            .map(|(_, rule)| *rule)
    };
    if let Some(rule) = by_path(METADATA, path).or_else(|| by_path(rules(kind), path)) {
        return Some(rule);
    }
    let pod = match kind {
        "Pod" => path,
        "Deployment" | "ReplicaSet" => path.strip_prefix("spec.template.")?,
        _ => return None,
    };
    let containers = [
        "spec.containers[].",
        "spec.initContainers[].",
        "spec.ephemeralContainers[].",
    ];
    let in_container = containers
        .iter()
        .find_map(|prefix| pod.strip_prefix(prefix));
    match in_container {
        Some(rest) => by_path(CONTAINER, rest),
        None => by_path(METADATA, pod).or_else(|| by_path(POD, pod)),
    }
}

impl<'a> Shape<'a> {
    /// The shape of a built-in kind.
    pub(in crate::apiserver) fn builtin(kind: &'a str) -> Self {
        Self::Builtin {
            kind,
            path: String::new(),
        }
    }

    /// A field of an object here.
    pub(in crate::apiserver) fn field(&self, name: &str) -> Self {
        match self {
            Self::Builtin { kind, path } => {
                let dot = if path.is_empty() { "" } else { "." };
                Self::Builtin {
                    kind,
                    path: format!("{path}{dot}{name}"),
                }
            }
            Self::Custom(_) if name == "metadata" => Self::Builtin {
                kind: "",
                path: name.to_owned(),
            },
            Self::Custom(None) => Self::Unknown,
            Self::Custom(Some(schema)) => Self::Schema(schema).field(name),
            Self::Schema(schema) => {
                let property = schema.get("properties").and_then(|p| p.get(name));
                match property.or_else(|| schema.get("additionalProperties")) {
                    Some(found) if found.is_object() => Self::Schema(found),
                    _ => Self::Unknown,
                }
            }
            Self::Unknown => Self::Unknown,
        }
    }

    /// An item of a list here.
    pub(in crate::apiserver) fn item(&self) -> Self {
        match self {
            Self::Builtin { kind, path } => Self::Builtin {
                kind,
                path: format!("{path}[]"),
            },
            Self::Schema(schema) => schema.get("items").map_or(Self::Unknown, Self::Schema),
            Self::Custom(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// How a list here merges under server-side apply.
    pub(in crate::apiserver) fn list(&self) -> ListKind {
        match self {
            Self::Builtin { kind, path } => match find(kind, path) {
                Some(Map(keys)) => ListKind::Map(keys.iter().map(|k| builtin_key(k)).collect()),
                Some(Set) => ListKind::Set,
                Some(AtomicBy(_) | AtomicMap) | None => ListKind::Atomic,
            },
            Self::Schema(schema) => schema_list(schema),
            Self::Custom(_) | Self::Unknown => ListKind::Atomic,
        }
    }

    /// The field strategic merge tells items of a list here apart by; `Some(None)` for a list of
    /// scalars that merges; `None` for a list that is replaced.
    pub(in crate::apiserver) fn merge_key(&self) -> Option<Option<&'static str>> {
        let Self::Builtin { kind, path } = self else {
            return None;
        };
        match find(kind, path)? {
            Map(keys) => keys.first().map(|k| Some(*k)),
            AtomicBy(key) => Some(Some(key)),
            Set => Some(None),
            AtomicMap => None,
        }
    }

    /// Whether a map here is set as a whole.
    pub(in crate::apiserver) fn atomic_map(&self) -> bool {
        match self {
            Self::Builtin { kind, path } => matches!(find(kind, path), Some(AtomicMap)),
            Self::Schema(schema) => schema
                .get("x-kubernetes-map-type")
                .is_some_and(|t| t == "atomic"),
            Self::Custom(_) | Self::Unknown => false,
        }
    }

    /// Whether an object here is a structure, which nobody owns apart from its fields.
    pub(in crate::apiserver) fn structure(&self) -> bool {
        if matches!(self, Self::Custom(_)) {
            return true;
        }
        let Self::Builtin { path, .. } = self else {
            return false;
        };
        let last = path.rsplit('.').next().unwrap_or_default();
        !FREE_MAPS.contains(&last)
    }
}

fn builtin_key(name: &str) -> Key {
    let default = (name == "protocol").then(|| json!("TCP"));
    Key {
        name: name.to_owned(),
        default,
    }
}

fn schema_list(schema: &Value) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let names = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array);
            let properties = schema.get("items").and_then(|i| i.get("properties"));
            let key = |name: &Value| {
                let name = name.as_str()?.to_owned();
                let default = properties
                    .and_then(|p| p.get(&name)?.get("default"))
                    .cloned();
                Some(Key { name, default })
            };
            ListKind::Map(names.into_iter().flatten().filter_map(key).collect())
        }
        _ => ListKind::Atomic,
    }
}
