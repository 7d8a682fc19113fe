//! Which resources are served: the built-in ones, and those CRDs add while the server runs.
//!
//! The verbs, discovery, tables and the controllers ask here; a resource that is in no
//! [`Registry`] does not exist.

use crate::store::ResourceKey;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One kind of objects.
#[derive(Clone, Debug, Default)]
pub struct ResourceDef {
    /// API group, empty for core.
    pub group: String,
    /// The versions it is served in, preferred first.
    pub versions: Vec<VersionDef>,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Kind of its lists.
    pub list_kind: String,
    /// What users may type instead of the plural.
    pub short_names: Vec<String>,
    /// Groups of resources it belongs to, such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verbs: Vec<String>,
    /// Subresources other than `status` and `scale`, such as `token`.
    pub subresources: Vec<String>,
    /// Where its objects are stored when that is not under its own name.
    pub stored_as: Option<ResourceKey>,
    /// Whether a CRD made it.
    pub custom: bool,
}

/// A resource as one version shows it.
#[derive(Clone, Debug, Default)]
pub struct VersionDef {
    /// Such as `v1`.
    pub name: String,
    /// Whether requests in this version are answered.
    pub served: bool,
    /// Whether objects are stored in this version.
    pub storage: bool,
    /// `openAPIV3Schema` of a custom resource.
    pub schema: Option<Value>,
    /// Whether `status` is written apart from the rest.
    pub status_subresource: bool,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<ScalePaths>,
    /// What `kubectl get` prints besides name and age.
    pub columns: Vec<Column>,
    /// What users of this version are warned with.
    pub deprecation_warning: Option<String>,
}

/// JSON paths (`.spec.replicas`) of the `scale` subresource.
#[derive(Clone, Debug, Default)]
pub struct ScalePaths {
    /// Wanted replicas.
    pub spec_replicas: String,
    /// Present replicas.
    pub status_replicas: String,
    /// The label selector, as a string, if there is one.
    pub label_selector: Option<String>,
}

/// One printed column.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub r#type: String,
    /// Format of the type.
    pub format: String,
    /// What it shows.
    pub description: String,
    /// Above 0: only with `-o wide`.
    pub priority: i64,
    /// Where its value is.
    pub json_path: String,
}

impl ResourceDef {
    /// Where its objects are stored.
    pub fn key(&self) -> ResourceKey {
        match &self.stored_as {
            Some(key) => key.clone(),
            None => ResourceKey::new(&self.group, &self.plural),
        }
    }

    /// A version that is served.
    pub fn version(&self, name: &str) -> Option<&VersionDef> {
        self.versions.iter().find(|v| v.served && v.name == name)
    }

    /// The version objects are stored in.
    pub fn storage_version(&self) -> Option<&VersionDef> {
        self.versions.iter().find(|v| v.storage)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self, version: &str) -> String {
        api_version(&self.group, version)
    }
}

/// `v1`, `apps/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Everything that is served. Clones share it.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    defs: RwLock<BTreeMap<(String, String), Arc<ResourceDef>>>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Registry {
    /// The built-in resources.
    pub fn builtin() -> Self {
        let defs = super::builtin::all().into_iter();
        let defs = defs
            .map(|d| ((d.group.clone(), d.plural.clone()), Arc::new(d)))
            .collect();
        let (changed, _) = tokio::sync::watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                defs: RwLock::new(defs),
                changed,
            }),
        }
    }

    /// A resource by group and plural.
    pub fn get(&self, group: &str, plural: &str) -> Option<Arc<ResourceDef>> {
        self.shared
            .defs
            .read()
            .get(&(group.to_owned(), plural.to_owned()))
            .cloned()
    }

    /// A resource by group and kind.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<ResourceDef>> {
        let defs = self.shared.defs.read();
        defs.values()
            .find(|d| d.group == group && d.kind == kind)
            .cloned()
    }

    /// All of them, by group and plural.
    pub fn all(&self) -> Vec<Arc<ResourceDef>> {
        self.shared.defs.read().values().cloned().collect()
    }

    /// Serves a resource, or serves it differently.
    pub fn insert(&self, def: ResourceDef) {
        let key = (def.group.clone(), def.plural.clone());
        self.shared.defs.write().insert(key, Arc::new(def));
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// Serves a resource no more.
    pub fn remove(&self, group: &str, plural: &str) {
        self.shared
            .defs
            .write()
            .remove(&(group.to_owned(), plural.to_owned()));
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// Wakes when resources came or went.
    pub fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}
