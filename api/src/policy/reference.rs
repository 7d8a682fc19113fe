//! How policy resources name each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A resource of the referrer's own namespace (or, for `Namespace`, that namespace itself).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalTargetRef {
    /// API group; absent, empty or `core` for Kubernetes' own kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// A resource that may live in another namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespacedTargetRef {
    /// API group; absent, empty or `core` for Kubernetes' own kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Namespace; the referrer's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl LocalTargetRef {
    /// Whether this names a resource of `group` and `kind`, as Kubernetes compares them.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        same(self.group.as_deref(), &self.kind, group, kind)
    }
}

impl NamespacedTargetRef {
    /// Whether this names a resource of `group` and `kind`, as Kubernetes compares them.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        same(self.group.as_deref(), &self.kind, group, kind)
    }
}

/// Group and kind compare case-insensitively; the core group has three spellings.
fn same(group: Option<&str>, kind: &str, want_group: &str, want_kind: &str) -> bool {
    let group = match group.unwrap_or("") {
        "core" => "",
        other => other,
    };
    group.eq_ignore_ascii_case(want_group) && kind.eq_ignore_ascii_case(want_kind)
}
