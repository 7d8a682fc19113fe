//! What a container's process is started with: variables, command line, and paths that mean
//! something on this machine. Pure; the worker fetched what is referred to (`sources.rs`).
//!
//! In the `loopback` network there are no mount namespaces. A value, or a word of the command line, that begins with
//! the `mountPath` of one of the container's volumes is rewritten to the folder the volume really
//! is; so is what follows the `=` of a `--flag=`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EnvVarSource};

use super::downward::{DownwardError, Facts};
use super::sources::Sources;

/// Variables by name; order does not matter once they are resolved.
pub(super) type Variables = HashMap<String, String>;

/// Why a container cannot be configured. Kubernetes says `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    #[error("couldn't find key {key} in {kind} {name}")]
    Key {
        kind: &'static str,
        name: String,
        key: String,
    },
    #[error("{kind} {name:?} not found")]
    Object { kind: &'static str, name: String },
    #[error("key {key} of Secret {name} is not text")]
    NotText { name: String, key: String },
    #[error(transparent)]
    Downward(#[from] DownwardError),
    #[error("volumeMount {0:?} names no volume of the pod")]
    Mount(String),
}

/// Resolves `envFrom` and `env`, on top of `base`, which they may override and refer to.
pub(super) fn variables(
    container: &Container,
    facts: Facts<'_>,
    sources: &Sources,
    mounts: &Mounts,
    base: Variables,
) -> Result<Variables, EnvironmentError> {
    let mut vars = base;
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let pairs = if let Some(r) = &from.config_map_ref {
            sources.whole_config_map(&r.name, r.optional == Some(true))?
        } else if let Some(r) = &from.secret_ref {
            sources.whole_secret(&r.name, r.optional == Some(true))?
        } else {
            Vec::new()
        };
        for (key, value) in pairs {
            vars.insert(format!("{prefix}{key}"), mounts.rewrite(&value));
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) => Some(expand(value, &vars)),
            (None, Some(source)) => from_source(source, container, facts, sources)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            vars.insert(var.name.clone(), mounts.rewrite(&value));
        }
    }
    Ok(vars)
}

/// A container's words after expansion and rewriting: `command`, `args`.
pub(super) fn words(list: Option<&Vec<String>>, vars: &Variables, mounts: &Mounts) -> Vec<String> {
    let expanded = list.into_iter().flatten().map(|w| expand(w, vars));
    expanded.map(|w| mounts.rewrite_word(&w)).collect()
}

/// `$(NAME)` becomes the variable's value, or stays if there is none; `$$` is a dollar.
pub(super) fn expand(text: &str, vars: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match vars.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn from_source(
    source: &EnvVarSource,
    container: &Container,
    facts: Facts<'_>,
    sources: &Sources,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(r) = &source.field_ref {
        return Ok(Some(facts.field(&r.field_path)?));
    }
    if let Some(r) = &source.resource_field_ref {
        return Ok(Some(facts.resource(r, Some(container))?));
    }
    if let Some(r) = &source.config_map_key_ref {
        return sources.config_map_key(&r.name, &r.key, r.optional == Some(true));
    }
    if let Some(r) = &source.secret_key_ref {
        return sources.secret_key(&r.name, &r.key, r.optional == Some(true));
    }
    Ok(Some(String::new()))
}

/// A container's volume mounts, most specific first.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts {
    /// Everything the rewriting leads to is below this; such paths are left alone.
    root: PathBuf,
    list: Vec<(String, PathBuf)>,
}

impl Mounts {
    /// Reads `volumeMounts`; `volumes` is the folder with one folder per volume.
    pub(super) fn new(
        container: &Container,
        names: &[&str],
        volumes: &Path,
    ) -> Result<Self, EnvironmentError> {
        let mut list = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            if !names.contains(&mount.name.as_str()) {
                return Err(EnvironmentError::Mount(mount.name.clone()));
            }
            let mut target = volumes.join(&mount.name);
            // Only plain components: a subPath must not lead out of its volume.
            for part in Path::new(mount.sub_path.as_deref().unwrap_or_default()).components() {
                if let std::path::Component::Normal(part) = part {
                    target.push(part);
                }
            }
            list.push((mount.mount_path.trim_end_matches('/').to_owned(), target));
        }
        list.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(Self {
            root: volumes.to_owned(),
            list,
        })
    }

    /// Where volumes are mounted, and the folder (or the file in it) that each shows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.list
            .iter()
            .map(|(at, from)| (at.as_str(), from.as_path()))
    }

    /// A path as the container knows it → the path on this machine.
    pub(super) fn rewrite(&self, value: &str) -> String {
        if Path::new(value).starts_with(&self.root) {
            return value.to_owned();
        }
        for (mount, target) in &self.list {
            match value.strip_prefix(mount.as_str()) {
                Some("") => return target.display().to_string(),
                Some(rest) if rest.starts_with('/') => {
                    return format!("{}{rest}", target.display());
                }
                _ => {}
            }
        }
        value.to_owned()
    }

    fn rewrite_word(&self, word: &str) -> String {
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => {
                format!("{flag}={}", self.rewrite(value))
            }
            _ => self.rewrite(word),
        }
    }
}

#[cfg(test)]
mod tests;
