//! Who asks, and may they? Placeholder: everybody is admin.

use crate::apiserver::resources::ResourceDef;
use crate::status::ApiError;
use crate::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// User name.
    pub name: String,
    /// Stable id.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// More about them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What they ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, …
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// Namespace or empty.
    pub namespace: &'a str,
    /// Name or empty.
    pub name: &'a str,
    /// Path of a request that is not about a resource.
    pub non_resource_path: Option<&'a str>,
}

/// May they?
#[derive(Clone, Debug)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny {
        /// Why.
        reason: String,
    },
}

/// Settings.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Token of the administrator.
    pub admin_token: String,
    /// CA of the server.
    pub ca_pem: String,
    /// More static tokens.
    pub extra_tokens: Vec<(String, User)>,
    /// Issuer of tokens.
    pub issuer: Option<String>,
}

/// Placeholder.
#[derive(Clone)]
pub struct Auth;

impl Auth {
    /// Placeholder.
    pub fn new(_store: Store, _config: AuthConfig) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// Placeholder.
    pub fn authenticate(&self, _authorization: Option<&str>) -> Result<User, ApiError> {
        Ok(User {
            name: "admin".into(),
            ..User::default()
        })
    }

    /// Placeholder.
    pub fn authorize(&self, _user: &User, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow
    }

    /// Placeholder.
    pub fn admit(
        &self,
        _user: &User,
        _def: &ResourceDef,
        _old: Option<&Value>,
        _new: &Value,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Placeholder.
    pub fn review(
        &self,
        _user: &User,
        _kind: &str,
        _ns: Option<&str>,
        body: Value,
    ) -> Result<Value, ApiError> {
        Ok(body)
    }

    /// Placeholder.
    pub fn token_request(&self, _ns: &str, _sa: &str, body: Value) -> Result<Value, ApiError> {
        Ok(body)
    }
}

/// Placeholder.
pub fn forbidden(user: &User, attributes: &Attributes<'_>) -> ApiError {
    let detail = format!("User {:?} cannot {} resource", user.name, attributes.verb);
    ApiError::forbidden(
        attributes.group,
        attributes.resource,
        attributes.name,
        &detail,
    )
}

/// Placeholder.
pub fn bootstrap(_store: &Store) -> Result<(), ApiError> {
    Ok(())
}
