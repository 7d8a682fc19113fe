//! What the webhooks know of the cluster: settings and namespaces, kept fresh by watches.
//!
//! Plain data behind a lock, read for each request. A configuration that cannot be read does not
//! replace one that can.

use crate::settings::{Settings, SidecarValues};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use mesh_contract::names;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Shared; clones are the same world.
#[derive(Clone, Default)]
pub(crate) struct World {
    /// Annotations by namespace.
    pub(crate) namespaces: Arc<Mutex<Namespaces>>,
    /// `linkerd-config` and the trust roots.
    pub(crate) config: Arc<Mutex<Config>>,
}

/// Annotations by namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(BTreeMap<String, Arc<BTreeMap<String, String>>>);

/// The configuration as last seen, and what was made of it.
#[derive(Debug, Default)]
pub(crate) struct Config {
    control_plane_ns: String,
    values: Option<String>,
    anchors: Option<String>,
    settings: Option<Arc<Settings>>,
    problem: Option<String>,
}

/// One of the two ConfigMaps, as an index of one object.
pub(crate) struct ConfigIndex {
    pub(crate) config: Arc<Mutex<Config>>,
    pub(crate) key: &'static str,
}

impl World {
    /// Of a control plane in `namespace`.
    pub(crate) fn new(namespace: &str) -> Self {
        let config = Config {
            control_plane_ns: namespace.to_owned(),
            ..Config::default()
        };
        Self {
            config: Arc::new(Mutex::new(config)),
            ..Self::default()
        }
    }

    /// What sidecars are injected with; why there is nothing, where there is not.
    pub(crate) fn settings(&self) -> Result<Arc<Settings>, String> {
        let config = self.config.lock();
        match (&config.settings, &config.problem) {
            (Some(settings), _) => Ok(settings.clone()),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err("the ConfigMaps of the control plane were not read yet".into()),
        }
    }

    /// The annotations of a namespace; `None` where it was not heard of.
    pub(crate) fn annotations(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        self.namespaces.lock().0.get(namespace).cloned()
    }

    /// For `/state`.
    pub(crate) fn to_json(&self) -> Value {
        let config = self.config.lock();
        json!({
            "namespaces": self.namespaces.lock().0.len(),
            "configured": config.settings.is_some(),
            "problem": config.problem,
        })
    }
}

impl mesh_watch::Index<Namespace> for Namespaces {
    fn apply(&mut self, object: Namespace) {
        let name = object.metadata.name.unwrap_or_default();
        let annotations = object.metadata.annotations.unwrap_or_default();
        self.0.insert(name, Arc::new(annotations));
    }

    fn delete(&mut self, _: Option<&str>, name: &str) {
        self.0.remove(name);
    }

    fn reset(&mut self, objects: Vec<Namespace>) {
        self.0.clear();
        objects.into_iter().for_each(|object| self.apply(object));
    }
}

impl mesh_watch::Index<ConfigMap> for ConfigIndex {
    fn apply(&mut self, object: ConfigMap) {
        let text = object.data.and_then(|mut data| data.remove(self.key));
        self.config.lock().learn(self.key, text);
    }

    /// Sidecars keep being injected as before: a lost ConfigMap is a mistake to be repaired, not
    /// an order to stop.
    fn delete(&mut self, _: Option<&str>, name: &str) {
        tracing::warn!(
            name,
            "a ConfigMap of the control plane was deleted; keeping what it said"
        );
    }

    fn reset(&mut self, objects: Vec<ConfigMap>) {
        for object in objects {
            self.apply(object);
        }
    }
}

impl Config {
    fn learn(&mut self, key: &str, text: Option<String>) {
        let kept = match key {
            names::TRUST_ROOTS_KEY => &mut self.anchors,
            _ => &mut self.values,
        };
        let Some(text) = text else {
            self.problem = Some(format!(
                "a ConfigMap of the control plane lacks the key {key:?}"
            ));
            return;
        };
        *kept = Some(text);
        let (Some(values), Some(anchors)) = (&self.values, &self.anchors) else {
            return;
        };
        match SidecarValues::read(values) {
            Ok(values) => {
                let settings = Settings::new(&self.control_plane_ns, values, anchors);
                self.settings = Some(Arc::new(settings));
                self.problem = None;
                tracing::info!("configuration read");
            }
            Err(error) => {
                let name = names::CONFIG;
                let problem = format!("the values in the ConfigMap {name} cannot be read: {error}");
                tracing::error!(problem, kept = self.settings.is_some());
                self.problem = Some(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(world: &World, key: &'static str, text: &str) {
        world.config.lock().learn(key, Some(text.to_owned()));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_does_not_replace_one_that_can() {
        let world = World::new("linkerd");
        assert!(world.settings().is_err());
        let given = "proxy: {logLevel: debug, opaquePorts: 25}\nunrelated: 1";
        learn(&world, "values", given);
        assert!(world.settings().is_err(), "anchors are missing");
        learn(&world, names::TRUST_ROOTS_KEY, "PEM");
        assert_eq!(world.settings().unwrap().values.proxy.log_level, "debug");
        learn(&world, "values", "proxy: [");
        assert_eq!(world.settings().unwrap().values.proxy.log_level, "debug");
        assert!(world.to_json()["problem"].is_string());
        learn(&world, names::TRUST_ROOTS_KEY, "other");
        assert_eq!(world.settings().unwrap().trust_anchors, "PEM");
        learn(&world, "values", "{}");
        assert_eq!(world.settings().unwrap().trust_anchors, "other");
    }
}
