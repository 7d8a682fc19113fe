//! Who asks, for what, and the answer.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Group of those who may do everything.
pub(super) const MASTERS: &str = "system:masters";
/// Group of everybody who proved who they are.
pub(super) const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub name: String,
    /// Stable id; empty when there is none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// More about them, such as the pod a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Somebody who proved nothing.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// The administrator.
    pub fn admin() -> Self {
        Self {
            name: "kubernetes-admin".into(),
            groups: vec![MASTERS.into(), AUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// A ServiceAccount.
    pub fn account(ns: &str, name: &str, uid: &str) -> Self {
        let groups = [
            "system:serviceaccounts",
            &format!("system:serviceaccounts:{ns}"),
            AUTHENTICATED,
        ];
        Self {
            name: format!("system:serviceaccount:{ns}:{name}"),
            uid: uid.to_owned(),
            groups: groups.map(str::to_owned).to_vec(),
            extra: BTreeMap::new(),
        }
    }

    /// Whether RBAC does not apply to them.
    pub(super) fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == MASTERS)
    }

    /// The user as reviews spell it.
    pub(crate) fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert("username".into(), json!(self.name));
        if !self.uid.is_empty() {
            out.insert("uid".into(), json!(self.uid));
        }
        if !self.groups.is_empty() {
            out.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            out.insert("extra".into(), json!(self.extra));
        }
        Value::Object(out)
    }
}

/// What they ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, …; of other paths the method in lower case.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny {
        /// What kept the rules from saying yes, where something is broken; mostly empty.
        reason: String,
    },
}
