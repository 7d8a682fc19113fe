//! Who asks, and may they?
//!
//! `apiserver` asks [`Auth`] at every request: first [`Auth::authenticate`] (a static token, or a
//! ServiceAccount token that is still bound to living objects), then [`Auth::authorize`] (RBAC,
//! for everybody but `system:masters`). Reviews and token requests are answered here too. It
//! reads the store; the only thing it ever writes are the roles a cluster starts with.

mod bootstrap;
mod escalation;
mod keys;
mod rbac;
mod reviews;
mod tokens;
mod user;

#[cfg(test)]
mod tests;

use crate::status::ApiError;
use crate::store::Store;
use keys::{Keys, Refused};
use std::sync::Arc;

pub use bootstrap::bootstrap;
pub use user::{Attributes, Decision, User};

/// Audience and issuer of tokens unless somebody says otherwise.
const ISSUER: &str = "https://kubernetes.default.svc";

/// Settings.
#[derive(Clone, Default)]
pub struct AuthConfig {
    /// Token of the administrator.
    pub admin_token: String,
    /// More static tokens.
    pub extra_tokens: Vec<(String, User)>,
    /// Issuer of tokens; by default that of every Kubernetes cluster.
    pub issuer: Option<String>,
    /// P-256 key (PKCS#8 PEM) that signs tokens, so that they outlive this process; without it a
    /// new one is made and kept in memory.
    pub signing_key_pem: Option<String>,
}

/// Answers who somebody is and what they may do. Clones share everything.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    static_tokens: Vec<(String, User)>,
    keys: Keys,
    /// Audiences of this server.
    audiences: Vec<String>,
}

impl Auth {
    /// Answers over the objects of a store. Fails on a signing key that is none.
    pub fn new(store: Store, config: AuthConfig) -> anyhow::Result<Self> {
        let issuer = config.issuer.unwrap_or_else(|| ISSUER.to_owned());
        let mut static_tokens = config.extra_tokens;
        static_tokens.push((config.admin_token, User::admin()));
        static_tokens.retain(|(token, _)| !token.is_empty());
        let keys = Keys::new(config.signing_key_pem.as_deref(), &issuer)?;
        let audiences = vec![issuer];
        let shared = Shared {
            store,
            static_tokens,
            keys,
            audiences,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Who sent an `Authorization` header; nobody in particular without one. A token that proves
    /// nothing is 401, not anonymous.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<User, ApiError> {
        let Some((scheme, token)) = authorization.and_then(|a| a.trim().split_once(' ')) else {
            return Ok(User::anonymous());
        };
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Ok(User::anonymous());
        }
        match self.identify(token.trim(), &self.shared.audiences) {
            Ok((user, _)) => Ok(user),
            Err(refused) => {
                tracing::debug!(%refused, "bearer token refused");
                Err(ApiError::unauthorized())
            }
        }
    }

    /// The bearer of a token, and which of the audiences it is for.
    fn identify(&self, token: &str, wanted: &[String]) -> Result<(User, Vec<String>), Refused> {
        let known = self
            .shared
            .static_tokens
            .iter()
            .find(|(known, _)| same(known, token));
        if let Some((_, user)) = known {
            let shared: Vec<String> = wanted
                .iter()
                .filter(|w| self.shared.audiences.contains(w))
                .cloned()
                .collect();
            if shared.is_empty() {
                let (found, wanted) = (self.shared.audiences.clone(), wanted.to_vec());
                return Err(Refused::Audience { found, wanted });
            }
            return Ok((user.clone(), shared));
        }
        self.check_token(token, wanted)
    }

    /// Whether a user may do something.
    pub fn authorize(&self, user: &User, asked: &Attributes<'_>) -> Decision {
        match self.explain(user, asked) {
            Ok(_) => Decision::Allow,
            Err(reason) => Decision::Deny { reason },
        }
    }

    /// Why a user may, or why not.
    fn explain(&self, user: &User, asked: &Attributes<'_>) -> Result<String, String> {
        if user.is_master() {
            return Ok(String::new());
        }
        let (grants, broken) = rbac::grants(&self.shared.store, user, asked.namespace);
        let allowing = grants
            .iter()
            .find(|g| g.rules.iter().any(|r| rbac::allows(r, asked)));
        match allowing {
            Some(grant) => Ok(format!("RBAC: allowed by {}", grant.origin)),
            None if broken.is_empty() => Err(String::new()),
            None => Err(format!("RBAC: [{}]", broken.join(", "))),
        }
    }
}

/// Compares secrets in a time that tells nothing about where they differ.
fn same(a: &str, b: &str) -> bool {
    let differ = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |acc, (a, b)| acc | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

/// 403 in the words of kube-apiserver.
pub fn forbidden(user: &User, asked: &Attributes<'_>) -> ApiError {
    let Attributes {
        verb,
        group,
        resource,
        namespace,
        name,
        ..
    } = asked;
    if let Some(path) = asked.non_resource_path {
        let message = format!(
            "forbidden: User {:?} cannot {verb} path {path:?}",
            user.name
        );
        return ApiError::new(403, "Forbidden", message);
    }
    let what = match asked.subresource {
        "" => (*resource).to_owned(),
        sub => format!("{resource}/{sub}"),
    };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    let detail = format!(
        "User {:?} cannot {verb} resource {what:?} in API group {group:?} {place}",
        user.name
    );
    ApiError::forbidden(group, resource, name, &detail)
}
