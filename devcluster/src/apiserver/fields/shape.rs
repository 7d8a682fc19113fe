//! How lists and maps of an object merge: item by item, or as a whole.
//!
//! Built-in kinds go by what kube-apiserver publishes about them (`openapi::builtin`), custom
//! resources by their own schema; the words are the same: `x-kubernetes-list-type` and its
//! siblings. What has none is a granular map or an atomic list.

use super::super::openapi::builtin;
use serde_json::Value;

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
#[derive(Clone, Copy, Debug)]
pub(in crate::apiserver) enum Shape<'a> {
    /// The root of a custom resource, and its schema if it has one.
    Custom(Option<&'a Value>),
    /// A place in a schema.
    Schema {
        schema: &'a Value,
        /// Whether it is the schema of a built-in kind.
        builtin: bool,
        /// Whether the place is there even in an empty object, so that nobody owns it apart from
        /// what is in it.
        given: bool,
    },
    /// Nothing is known.
    Unknown,
}

impl<'a> Shape<'a> {
    /// The shape of a built-in kind.
    pub(in crate::apiserver) fn builtin(group: &str, kind: &str) -> Self {
        builtin::root(group, kind).map_or(Self::Unknown, |(_, schema)| Self::Schema {
            schema,
            builtin: true,
            given: true,
        })
    }

    /// A place in the schema of a custom resource.
    fn place(schema: &'a Value) -> Self {
        Self::Schema {
            schema,
            builtin: false,
            given: false,
        }
    }

    /// A field of an object here.
    pub(in crate::apiserver) fn field(&self, name: &str) -> Self {
        match *self {
            Self::Custom(_) if name == "metadata" => {
                builtin::metadata().map_or(Self::Unknown, |schema| Self::Schema {
                    schema,
                    builtin: true,
                    given: true,
                })
            }
            Self::Custom(None) | Self::Unknown => Self::Unknown,
            Self::Custom(Some(schema)) => Self::place(schema).field(name),
            Self::Schema {
                schema, builtin, ..
            } => {
                let whole = if builtin {
                    builtin::resolve(schema)
                } else {
                    schema
                };
                let property = whole.get("properties").and_then(|p| p.get(name));
                let found = property.or_else(|| whole.get("additionalProperties"));
                match found.filter(|found| found.is_object()) {
                    Some(found) => Self::Schema {
                        schema: found,
                        builtin,
                        given: builtin && property.is_some() && given(whole, found, name),
                    },
                    None => Self::Unknown,
                }
            }
        }
    }

    /// An item of a list here.
    pub(in crate::apiserver) fn item(&self) -> Self {
        match *self {
            Self::Schema {
                schema, builtin, ..
            } => schema
                .get("items")
                .map_or(Self::Unknown, |schema| Self::Schema {
                    schema,
                    builtin,
                    given: false,
                }),
            Self::Custom(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// How a list here merges under server-side apply.
    pub(in crate::apiserver) fn list(&self) -> ListKind {
        match self {
            Self::Schema { schema, .. } => schema_list(schema),
            Self::Custom(_) | Self::Unknown => ListKind::Atomic,
        }
    }

    /// The field strategic merge tells items of a list here apart by; `Some(None)` for a list of
    /// scalars that merges; `None` for a list that is replaced.
    pub(in crate::apiserver) fn merge_key(&self) -> Option<Option<&'a str>> {
        let Self::Schema { schema, .. } = *self else {
            return None;
        };
        let strategy = schema.get("x-kubernetes-patch-strategy")?.as_str()?;
        let merges = strategy.split(',').any(|s| s == "merge");
        let key = schema.get("x-kubernetes-patch-merge-key");
        merges.then(|| key.and_then(Value::as_str))
    }

    /// Whether strategic merge puts an object here in place of the one that was there.
    pub(in crate::apiserver) fn replaced(&self) -> bool {
        let Self::Schema { schema, .. } = *self else {
            return false;
        };
        schema
            .get("x-kubernetes-patch-strategy")
            .is_some_and(|strategy| strategy == "replace")
    }

    /// Whether a map here is set as a whole.
    pub(in crate::apiserver) fn atomic_map(&self) -> bool {
        let atomic = |schema: &Value| {
            schema
                .get("x-kubernetes-map-type")
                .is_some_and(|t| t == "atomic")
        };
        match *self {
            Self::Schema {
                schema, builtin, ..
            } => atomic(schema) || (builtin && atomic(builtin::resolve(schema))),
            Self::Custom(_) | Self::Unknown => false,
        }
    }

    /// Whether nobody owns what is here apart from its fields.
    pub(in crate::apiserver) fn given(&self) -> bool {
        match self {
            Self::Custom(_) => true,
            Self::Schema { given, .. } => *given,
            Self::Unknown => false,
        }
    }
}

/// Whether a field is there even when nothing was said about it: it must be, or it is a structure
/// that holds its fields itself.
fn given(parent: &Value, field: &Value, name: &str) -> bool {
    let required = parent.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|n| n == name))
        || field
            .get("default")
            .and_then(Value::as_object)
            .is_some_and(|d| d.is_empty())
}

fn schema_list(schema: &Value) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let names = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array);
            let item = schema.get("items").map(builtin::resolve);
            let properties = item.and_then(|i| i.get("properties"));
            let key = |name: &Value| {
                let name = name.as_str()?.to_owned();
                let default = properties
                    .and_then(|p| p.get(&name)?.get("default"))
                    .filter(|default| **default != "")
                    .cloned();
                Some(Key { name, default })
            };
            ListKind::Map(names.into_iter().flatten().filter_map(key).collect())
        }
        _ => ListKind::Atomic,
    }
}
