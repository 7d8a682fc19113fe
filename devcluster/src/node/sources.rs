//! ConfigMaps and Secrets a pod refers to: which they are, fetching them, looking into them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret, Volume};
use kube::{Api, Client};

use super::environment::EnvironmentError;

/// Fetched objects by name; one that does not exist is simply not there.
#[derive(Debug, Default)]
pub(super) struct Sources {
    config_maps: BTreeMap<String, ConfigMap>,
    secrets: BTreeMap<String, Secret>,
}

/// Names to fetch.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    /// Adds what a container's variables refer to.
    pub(super) fn of_container(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            self.config_maps
                .extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            self.secrets
                .extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|v| v.value_from.as_ref())
        {
            self.config_maps
                .extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            self.secrets
                .extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }

    /// Adds what a volume shows.
    pub(super) fn of_volume(&mut self, volume: &Volume) {
        self.config_maps
            .extend(volume.config_map.iter().map(|v| v.name.clone()));
        self.secrets
            .extend(volume.secret.iter().filter_map(|v| v.secret_name.clone()));
        let projected = volume
            .projected
            .iter()
            .filter_map(|p| p.sources.as_ref())
            .flatten();
        for source in projected {
            self.config_maps
                .extend(source.config_map.iter().map(|v| v.name.clone()));
            self.secrets
                .extend(source.secret.iter().map(|v| v.name.clone()));
        }
    }
}

impl Sources {
    /// Fetches all of `names` that exist.
    pub(super) async fn fetch(client: &Client, ns: &str, names: Names) -> kube::Result<Self> {
        let mut sources = Self::default();
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), ns);
        for name in names.config_maps {
            if let Some(object) = config_maps.get_opt(&name).await? {
                sources.config_maps.insert(name, object);
            }
        }
        for name in names.secrets {
            if let Some(object) = secrets.get_opt(&name).await? {
                sources.secrets.insert(name, object);
            }
        }
        Ok(sources)
    }

    /// Files of a ConfigMap, `None` if it does not exist.
    pub(super) fn config_map_files(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let object = self.config_maps.get(name)?;
        let text = object
            .data
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
        let binary = object
            .binary_data
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.0.clone()));
        Some(text.chain(binary).collect())
    }

    /// Files of a Secret, `None` if it does not exist.
    pub(super) fn secret_files(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let object = self.secrets.get(name)?;
        Some(
            object
                .data
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.0.clone()))
                .collect(),
        )
    }

    /// `configMapKeyRef`.
    pub(super) fn config_map_key(
        &self,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<String>, EnvironmentError> {
        let object = self.config_maps.get(name);
        let value = object
            .and_then(|o| o.data.as_ref())
            .and_then(|d| d.get(key))
            .cloned();
        present(value, object.is_some(), "ConfigMap", name, key, optional)
    }

    /// `secretKeyRef`.
    pub(super) fn secret_key(
        &self,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<String>, EnvironmentError> {
        let object = self.secrets.get(name);
        let value = object
            .and_then(|o| o.data.as_ref())
            .and_then(|d| d.get(key));
        let value = value.map(|bytes| text(name, key, &bytes.0)).transpose()?;
        present(value, object.is_some(), "Secret", name, key, optional)
    }

    /// `configMapRef` of `envFrom`.
    pub(super) fn whole_config_map(
        &self,
        name: &str,
        optional: bool,
    ) -> Result<Vec<(String, String)>, EnvironmentError> {
        match self.config_maps.get(name) {
            Some(o) => Ok(o
                .data
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()),
            None if optional => Ok(Vec::new()),
            None => Err(EnvironmentError::Object {
                kind: "ConfigMap",
                name: name.to_owned(),
            }),
        }
    }

    /// `secretRef` of `envFrom`.
    pub(super) fn whole_secret(
        &self,
        name: &str,
        optional: bool,
    ) -> Result<Vec<(String, String)>, EnvironmentError> {
        match self.secrets.get(name) {
            Some(o) => {
                let pairs = o.data.iter().flatten();
                pairs
                    .map(|(k, v)| Ok((k.clone(), text(name, k, &v.0)?)))
                    .collect()
            }
            None if optional => Ok(Vec::new()),
            None => Err(EnvironmentError::Object {
                kind: "Secret",
                name: name.to_owned(),
            }),
        }
    }

    #[cfg(test)]
    pub(super) fn put_config_map(&mut self, name: &str, object: ConfigMap) {
        self.config_maps.insert(name.to_owned(), object);
    }

    #[cfg(test)]
    pub(super) fn put_secret(&mut self, name: &str, object: Secret) {
        self.secrets.insert(name.to_owned(), object);
    }
}

fn text(name: &str, key: &str, bytes: &[u8]) -> Result<String, EnvironmentError> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| EnvironmentError::NotText {
        name: name.to_owned(),
        key: key.to_owned(),
    })
}

fn present(
    value: Option<String>,
    object_exists: bool,
    kind: &'static str,
    name: &str,
    key: &str,
    optional: bool,
) -> Result<Option<String>, EnvironmentError> {
    match value {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None if object_exists => Err(EnvironmentError::Key {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
        }),
        None => Err(EnvironmentError::Object {
            kind,
            name: name.to_owned(),
        }),
    }
}
