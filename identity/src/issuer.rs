//! The issuer: read from its Secret, checked against the trust anchors, replaced when it changes.
//!
//! [`load`] is the pure half: two objects in, something that signs or a [`Problem`] that names the
//! object and the remedy out. [`watch`] keeps [`Issuers`] current. A bad replacement never
//! displaces a good issuer: what works goes on working while somebody mends the Secret.

mod watch;

pub(crate) use watch::watch;

use crate::Args;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_contract::names::TRUST_ROOTS_KEY;
use mesh_tls::{TrustAnchors, ca};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Where issuer and anchors are.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    pub(crate) secret: String,
    pub(crate) roots: String,
}

/// An issuer whose certificates the mesh accepts.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) issuer: ca::Issuer,
    pub(crate) anchors: TrustAnchors,
}

/// Why there is no (new) issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Neither object was looked at yet.
    Starting,
    /// One of them cannot be used; the text names it and the remedy.
    Unusable(String),
}

/// The issuer in use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Issuers(tokio::sync::watch::Receiver<State>);

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) current: Option<Arc<Loaded>>,
    /// Of the objects as they are now, even while `current` still works.
    pub(crate) problem: Option<Problem>,
}

impl Issuers {
    /// The issuer to sign with, or why there is none.
    pub(crate) fn current(&self) -> Result<Arc<Loaded>, Problem> {
        let state = self.0.borrow();
        match &state.current {
            Some(loaded) => Ok(loaded.clone()),
            None => Err(state.problem.clone().unwrap_or(Problem::Starting)),
        }
    }

    /// What this says, now and later.
    #[cfg(test)]
    pub(crate) fn following(states: tokio::sync::watch::Receiver<State>) -> Self {
        Self(states)
    }

    /// Resolves once there is an issuer.
    pub(crate) async fn ready(&self) -> Arc<Loaded> {
        let mut states = self.0.clone();
        let ready = states.wait_for(|state| state.current.is_some()).await;
        let current = ready.ok().and_then(|state| state.current.clone());
        match current {
            Some(loaded) => loaded,
            // The watch has ended, and the process with it.
            None => std::future::pending().await,
        }
    }

    /// Resolves when the issuer, or what is wrong with it, changes.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The watch has ended, and the process with it.
            std::future::pending::<()>().await;
        }
    }

    /// For `/state`.
    pub(crate) fn describe(&self) -> serde_json::Value {
        let state = self.0.borrow();
        let expiry = state.current.as_ref().map(|loaded| {
            let since = loaded
                .issuer
                .expiry()
                .duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        });
        serde_json::json!({
            "loaded": state.current.is_some(),
            "expires_unix_seconds": expiry,
            "problem": state.problem.as_ref().map(Problem::to_string),
        })
    }
}

/// Reads both objects and proves that what the issuer signs is accepted by who trusts the anchors.
pub(crate) fn load(
    names: &Names,
    secret: Option<&Secret>,
    roots: Option<&ConfigMap>,
) -> Result<Loaded, Problem> {
    let roots = read_roots(roots).map_err(|problem| {
        Problem::Unusable(format!(
            "ConfigMap {}/{}: {problem}",
            names.namespace, names.roots
        ))
    })?;
    let in_secret = |problem: String| {
        Problem::Unusable(format!(
            "Secret {}/{}: {problem}",
            names.namespace, names.secret
        ))
    };
    let (certificates, key) = read_secret(secret).map_err(in_secret)?;
    let issuer =
        ca::Issuer::from_pem(&certificates, &key).map_err(|error| in_secret(error.to_string()))?;
    issuer.check(&roots).map_err(|error| {
        let remedy = match &error {
            ca::CaError::Chain(_) => format!(
                "; put the issuer's root into {TRUST_ROOTS_KEY} of ConfigMap {}/{}, or an issuer signed by a root that is in it into the Secret",
                names.namespace, names.roots
            ),
            _ => String::new(),
        };
        in_secret(format!("{error}{remedy}"))
    })?;
    Ok(Loaded {
        issuer,
        anchors: roots,
    })
}

fn read_roots(roots: Option<&ConfigMap>) -> Result<TrustAnchors, String> {
    let missing = "it does not exist; `mesh install` makes it";
    let roots = roots.ok_or(missing)?;
    let bundle = roots
        .data
        .as_ref()
        .and_then(|data| data.get(TRUST_ROOTS_KEY));
    let bundle = bundle.ok_or_else(|| format!("it has no key {TRUST_ROOTS_KEY}"))?;
    TrustAnchors::from_pem(bundle).map_err(|error| error.to_string())
}

/// Linkerd's own names of the keys first, then those of `kubernetes.io/tls`.
const KEYS: [(&str, &str); 2] = [("crt.pem", "key.pem"), ("tls.crt", "tls.key")];

fn read_secret(secret: Option<&Secret>) -> Result<(String, String), String> {
    let missing = "it does not exist; `mesh install` makes it, or cert-manager if you use that";
    let secret = secret.ok_or(missing)?;
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
        Some(String::from_utf8(bytes.0.clone()).map_err(|_| format!("{key} is not text")))
    };
    for (certificate, key) in KEYS {
        match (text(certificate), text(key)) {
            (Some(certificate), Some(key)) => return Ok((certificate?, key?)),
            (Some(_), None) => return Err(format!("it has {certificate} but no {key}")),
            (None, Some(_)) => return Err(format!("it has {key} but no {certificate}")),
            (None, None) => {}
        }
    }
    Err("it has neither crt.pem and key.pem nor tls.crt and tls.key".to_owned())
}

/// Whether the issuer should be replaced soon.
pub(crate) fn expires_within(loaded: &Loaded, span: Duration) -> bool {
    loaded.issuer.expiry() <= SystemTime::now() + span
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("the issuer has not been read yet"),
            Self::Unusable(problem) => f.write_str(problem),
        }
    }
}

impl From<&Args> for Names {
    fn from(args: &Args) -> Self {
        Self {
            namespace: args.controller_namespace.clone(),
            secret: args.issuer_secret.clone(),
            roots: args.trust_roots.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
