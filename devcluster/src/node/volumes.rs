//! Volumes as folders: what belongs in them (pure), and keeping the folders so.
//!
//! One in memory is a link to a tmpfs where there can be one (the `netns` network).
//!
//! A volume is written before the pod's first container starts and looked at again regularly, so
//! that changed ConfigMaps and fresh tokens arrive. Each file is replaced atomically; files are
//! for this user only.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::disk::{create_dir, write_atomic};
use super::downward::{DownwardError, Facts, service_account};
use super::model::{Stamp, now};
use super::quantity::millis;
use super::sources::Sources;

/// How long a token lives unless the volume says otherwise; what Kubernetes uses.
const DEFAULT_TOKEN_S: i64 = 3600;

/// Why a volume cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    #[error(
        "volume {volume:?}: {kind} is not supported by this node, where volumes are folders of the \
         agent's; use emptyDir, configMap, secret, downwardAPI or projected"
    )]
    Unsupported { volume: String, kind: &'static str },
    #[error("volume {volume:?}: {kind} {name:?} not found")]
    Missing {
        volume: String,
        kind: &'static str,
        name: String,
    },
    #[error("volume {volume:?}: {name:?} has no key {key:?}")]
    Key {
        volume: String,
        name: String,
        key: String,
    },
    #[error("volume {volume:?}: path {path:?} leads out of the volume")]
    Path { volume: String, path: String },
    #[error("volume {volume:?}: {source}")]
    Downward {
        volume: String,
        source: DownwardError,
    },
    #[error("token of ServiceAccount {account:?}: {source}")]
    Token {
        account: String,
        source: Box<kube::Error>,
    },
    #[error("token of ServiceAccount {account:?}: the API server answered without one")]
    NoToken { account: String },
    #[error("volume {volume:?}: {source}")]
    Io { volume: String, source: io::Error },
}

/// A file's contents, and whether it may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileData {
    pub(super) bytes: Vec<u8>,
    pub(super) exec: bool,
}

/// Who may look into a volume's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// This user, whom the pod's processes run as.
    Owner,
    /// Whoever gets there: containers run as users of their own, and the folders above are shut.
    Pod,
}

/// Files of a volume by path relative to it; `None` for a folder that is the pod's own business.
pub(super) type Files = Option<BTreeMap<PathBuf, FileData>>;

/// Tokens of one pod, by what was asked for.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<(String, i64), Token>);

#[derive(Debug)]
struct Token {
    text: String,
    /// Four fifths of its life.
    refresh: Stamp,
}

impl Tokens {
    /// Makes sure every token the pod's volumes show is there and not about to expire.
    pub(super) async fn refresh(&mut self, client: &Client, pod: &Pod) -> Result<(), VolumeError> {
        let wanted: Vec<(String, i64)> = projections(pod).map(asked).collect();
        for (audience, expiration) in wanted {
            self.ensure(client, pod, audience, expiration).await?;
        }
        Ok(())
    }

    /// One token; audience "" is the API server's own.
    pub(super) async fn ensure(
        &mut self,
        client: &Client,
        pod: &Pod,
        audience: String,
        expiration: i64,
    ) -> Result<String, VolumeError> {
        let key = (audience, expiration);
        if let Some(token) = self.0.get(&key).filter(|t| now() < t.refresh) {
            return Ok(token.text.clone());
        }
        let account = service_account(pod);
        let request = token_request(pod, &key.0, expiration);
        let ns = pod.metadata.namespace.as_deref().unwrap_or("default");
        let answer = Api::<ServiceAccount>::namespaced(client.clone(), ns)
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|source| VolumeError::Token {
                account: account.to_owned(),
                source: Box::new(source),
            })?;
        let Some(status) = answer.status else {
            return Err(VolumeError::NoToken {
                account: account.to_owned(),
            });
        };
        let life = status.expiration_timestamp.0.as_millisecond() - now();
        let refresh = now() + life / 5 * 4;
        self.0.insert(
            key,
            Token {
                text: status.token.clone(),
                refresh,
            },
        );
        Ok(status.token)
    }

    /// When the first token is due.
    pub(super) fn due(&self) -> Option<Stamp> {
        self.0.values().map(|t| t.refresh).min()
    }

    fn get(&self, projection: &ServiceAccountTokenProjection) -> Vec<u8> {
        self.0
            .get(&asked(projection))
            .map(|t| t.text.clone().into_bytes())
            .unwrap_or_default()
    }
}

/// What a volume is to contain. Tokens and sources were fetched before.
pub(super) fn contents(
    volume: &Volume,
    facts: Facts<'_>,
    sources: &Sources,
    tokens: &Tokens,
) -> Result<Files, VolumeError> {
    let mut builder = Builder {
        volume: &volume.name,
        facts,
        sources,
        files: BTreeMap::new(),
    };
    if volume.empty_dir.is_some() {
        return Ok(None);
    } else if let Some(v) = &volume.config_map {
        let mode = v.default_mode;
        builder.config_map(&v.name, v.items.as_deref(), v.optional, mode)?;
    } else if let Some(v) = &volume.secret {
        let name = v.secret_name.as_deref().unwrap_or_default();
        builder.secret(name, v.items.as_deref(), v.optional, v.default_mode)?;
    } else if let Some(v) = &volume.downward_api {
        builder.downward(v.items.as_deref())?;
    } else if let Some(v) = &volume.projected {
        for source in v.sources.iter().flatten() {
            if let Some(s) = &source.config_map {
                builder.config_map(&s.name, s.items.as_deref(), s.optional, v.default_mode)?;
            }
            if let Some(s) = &source.secret {
                builder.secret(&s.name, s.items.as_deref(), s.optional, v.default_mode)?;
            }
            if let Some(s) = &source.downward_api {
                builder.downward(s.items.as_deref())?;
            }
            if let Some(s) = &source.service_account_token {
                builder.put(&s.path, tokens.get(s), None)?;
            }
            if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
                return Err(builder.unsupported("this projected source"));
            }
        }
    } else {
        return Err(builder.unsupported(kind(volume)));
    }
    Ok(Some(builder.files))
}

/// A volume that is to be in memory and nowhere else: the bytes it may take at most, if it says so.
pub(super) fn in_memory(volume: &Volume) -> Option<Option<u64>> {
    let empty = volume.empty_dir.as_ref();
    let empty = empty.filter(|e| e.medium.as_deref() == Some("Memory"))?;
    let millis = empty.size_limit.as_ref().and_then(|q| millis(&q.0));
    let bytes = millis.and_then(|millis| u64::try_from(millis.div_ceil(1000)).ok());
    // A tmpfs takes 0 for no limit; so does Kubernetes.
    Some(bytes.filter(|bytes| *bytes > 0))
}

/// Makes the folder a link to where the volume is.
pub(super) fn link(folder: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(there) if there.is_symlink() && fs::read_link(folder)? == to => return Ok(()),
        Ok(there) if there.is_symlink() => fs::remove_file(folder)?,
        // Made by an agent that knew no better; its pod uses it.
        Ok(_) => return Ok(()),
        Err(_) => {}
    }
    if let Some(above) = folder.parent() {
        create_dir(above)?;
    }
    symlink(to, folder)
}

/// Makes the folder contain exactly `files`.
pub(super) fn write(folder: &Path, files: &Files, readers: Readers) -> io::Result<()> {
    create_dir(folder)?;
    let Some(files) = files else {
        return open_to(readers, folder, 0o777);
    };
    open_to(readers, folder, 0o755)?;
    for (path, data) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            create_dir(parent)?;
            open_to(readers, parent, 0o755)?;
        }
        let mode = match (readers, data.exec) {
            (Readers::Owner, true) => 0o700,
            (Readers::Owner, false) => 0o600,
            (Readers::Pod, true) => 0o755,
            (Readers::Pod, false) => 0o644,
        };
        if !holds(&path, &data.bytes, mode) {
            write_atomic(&path, &data.bytes, mode)?;
        }
    }
    prune(folder, folder, files)
}

fn open_to(readers: Readers, folder: &Path, mode: u32) -> io::Result<()> {
    match readers {
        Readers::Owner => Ok(()),
        Readers::Pod => fs::set_permissions(folder, fs::Permissions::from_mode(mode)),
    }
}

/// What the pod itself says about access to the API server.
pub(super) fn api_access(pod: &Pod) -> Option<bool> {
    pod.spec.as_ref()?.automount_service_account_token
}

struct Builder<'a> {
    volume: &'a str,
    facts: Facts<'a>,
    sources: &'a Sources,
    files: BTreeMap<PathBuf, FileData>,
}

impl Builder<'_> {
    fn unsupported(&self, kind: &'static str) -> VolumeError {
        VolumeError::Unsupported {
            volume: self.volume.to_owned(),
            kind,
        }
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let data = self.sources.config_map_files(name);
        self.keys("ConfigMap", name, data, items, optional == Some(true), mode)
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let data = self.sources.secret_files(name);
        self.keys("Secret", name, data, items, optional == Some(true), mode)
    }

    fn keys(
        &mut self,
        kind: &'static str,
        name: &str,
        data: Option<BTreeMap<String, Vec<u8>>>,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let volume = || self.volume.to_owned();
        let Some(mut data) = data else {
            return if optional {
                Ok(())
            } else {
                Err(VolumeError::Missing {
                    volume: volume(),
                    kind,
                    name: name.to_owned(),
                })
            };
        };
        match items.filter(|items| !items.is_empty()) {
            None => data
                .into_iter()
                .try_for_each(|(key, bytes)| self.put(&key, bytes, mode)),
            Some(items) => items
                .iter()
                .try_for_each(|item| match data.remove(&item.key) {
                    Some(bytes) => self.put(&item.path, bytes, item.mode.or(mode)),
                    None if optional => Ok(()),
                    None => Err(VolumeError::Key {
                        volume: self.volume.to_owned(),
                        name: name.to_owned(),
                        key: item.key.clone(),
                    }),
                }),
        }
    }

    fn downward(&mut self, items: Option<&[DownwardAPIVolumeFile]>) -> Result<(), VolumeError> {
        for item in items.unwrap_or_default() {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(f), _) => self.facts.field(&f.field_path),
                (None, Some(r)) => self.facts.resource(r, None),
                (None, None) => Ok(String::new()),
            };
            let value = value.map_err(|source| VolumeError::Downward {
                volume: self.volume.to_owned(),
                source,
            })?;
            self.put(&item.path, value.into_bytes(), item.mode)?;
        }
        Ok(())
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>, mode: Option<i32>) -> Result<(), VolumeError> {
        let plain = Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        if !plain || path.is_empty() {
            return Err(VolumeError::Path {
                volume: self.volume.to_owned(),
                path: path.to_owned(),
            });
        }
        let exec = mode.is_some_and(|m| m & 0o100 != 0);
        self.files.insert(path.into(), FileData { bytes, exec });
        Ok(())
    }
}

fn projections(pod: &Pod) -> impl Iterator<Item = &ServiceAccountTokenProjection> {
    let volumes = pod.spec.iter().filter_map(|s| s.volumes.as_ref()).flatten();
    volumes
        .filter_map(|v| v.projected.as_ref()?.sources.as_ref())
        .flatten()
        .filter_map(|s| s.service_account_token.as_ref())
}

fn asked(projection: &ServiceAccountTokenProjection) -> (String, i64) {
    let audience = projection.audience.clone().unwrap_or_default();
    (
        audience,
        projection.expiration_seconds.unwrap_or(DEFAULT_TOKEN_S),
    )
}

fn token_request(pod: &Pod, audience: &str, expiration: i64) -> TokenRequest {
    TokenRequest {
        spec: TokenRequestSpec {
            audiences: Some(audience.to_owned())
                .filter(|a| !a.is_empty())
                .into_iter()
                .collect(),
            expiration_seconds: Some(expiration),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..Default::default()
    }
}

fn kind(volume: &Volume) -> &'static str {
    if volume.host_path.is_some() {
        "hostPath"
    } else if volume.persistent_volume_claim.is_some() {
        "persistentVolumeClaim"
    } else if volume.csi.is_some() {
        "csi"
    } else {
        "this kind of volume"
    }
}

fn holds(path: &Path, bytes: &[u8], mode: u32) -> bool {
    let mode_is_right = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o777 == mode);
    mode_is_right && fs::read(path).is_ok_and(|held| held == bytes)
}

fn prune(folder: &Path, root: &Path, files: &BTreeMap<PathBuf, FileData>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            prune(&path, root, files)?;
        } else if !path.strip_prefix(root).is_ok_and(|p| files.contains_key(p)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
