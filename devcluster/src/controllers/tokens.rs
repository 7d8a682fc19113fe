//! Secrets of type `kubernetes.io/service-account-token`: filled with a token of their account,
//! and removed with it.
//!
//! A Secret whose account does not exist yet waits for it (kube-apiserver would delete it), so
//! that manifests may list the two in any order.

use super::driver::Controller;
use super::objects::Key;
use crate::auth::Auth;
use crate::schema::json::{at, deleting, name, namespace, text, uid};
use crate::schema::{TOKEN_SECRET, TOKEN_SECRET_ACCOUNT};
use crate::status::ApiError;
use crate::store::{DeleteOptions, ResourceKey, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Fills token Secrets.
pub(super) struct Tokens {
    pub(super) store: Store,
    pub(super) auth: Auth,
    pub(super) ca_pem: String,
}

fn secrets() -> ResourceKey {
    ResourceKey::core("secrets")
}

fn accounts() -> ResourceKey {
    ResourceKey::core("serviceaccounts")
}

fn account_of(secret: &Value) -> &str {
    text(secret, &["metadata", "annotations", TOKEN_SECRET_ACCOUNT])
}

fn is_token(secret: &Value) -> bool {
    text(secret, &["type"]) == TOKEN_SECRET
}

impl Controller for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn sources(&self) -> Vec<ResourceKey> {
        vec![secrets(), accounts()]
    }

    fn touched(&self, source: &ResourceKey, object: &Value) -> Vec<Key> {
        if *source == secrets() {
            return if is_token(object) {
                vec![Key::of(object)]
            } else {
                Vec::new()
            };
        }
        let (all, _) = self.store.list(&secrets(), Some(namespace(object)));
        all.iter()
            .filter(|s| is_token(s) && account_of(s) == name(object))
            .map(|s| Key::of(s))
            .collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        self.store.exclusive(|| {
            let Some(secret) = self.store.get(&secrets(), key.namespace(), &key.name) else {
                return Ok(None);
            };
            if !is_token(&secret) || deleting(&secret) {
                return Ok(None);
            }
            let account = self
                .store
                .get(&accounts(), key.namespace(), account_of(&secret));
            let filled_for = text(&secret, &["metadata", "annotations", ACCOUNT_UID]);
            match account {
                Some(account) if filled_for.is_empty() || filled_for == uid(&account) => {
                    self.fill(key, &secret, &account)?;
                }
                None if filled_for.is_empty() => {}
                _ => {
                    let options = DeleteOptions {
                        uid: Some(uid(&secret).to_owned()),
                        ..DeleteOptions::default()
                    };
                    self.store
                        .delete(&secrets(), key.namespace(), &key.name, &options)?;
                }
            }
            Ok(None)
        })
    }
}

impl Tokens {
    fn fill(&self, key: &Key, secret: &Value, account: &Value) -> Result<(), ApiError> {
        let held = |key: &str| {
            STANDARD
                .decode(text(secret, &["data", key]))
                .unwrap_or_default()
        };
        let token = String::from_utf8(held("token")).unwrap_or_default();
        let signed = self.auth.signed(&token);
        if signed
            && held("ca.crt") == self.ca_pem.as_bytes()
            && held("namespace") == key.ns.as_bytes()
        {
            return Ok(());
        }
        let token = if signed {
            token
        } else {
            self.auth.secret_token(&key.ns, account, secret)?
        };
        let data = json!({
            "token": STANDARD.encode(token), "ca.crt": STANDARD.encode(&self.ca_pem),
            "namespace": STANDARD.encode(&key.ns),
        });
        let fill = |old: &Value| {
            let mut new = old.clone();
            new["metadata"]["annotations"][ACCOUNT_UID] = json!(uid(account));
            if !at(&new, &["data"]).is_object() {
                new["data"] = json!({});
            }
            for (field, value) in data.as_object().into_iter().flatten() {
                new["data"][field] = value.clone();
            }
            Ok(new)
        };
        self.store
            .update(&secrets(), key.namespace(), &key.name, fill)
            .map(drop)
    }
}
