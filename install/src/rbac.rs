//! Small builders for ServiceAccounts and the roles bound to them.

use serde_json::{Value, json};

/// One rule of a role.
pub(crate) struct Rule {
    pub(crate) group: &'static str,
    pub(crate) resources: &'static [&'static str],
    pub(crate) names: &'static [&'static str],
    pub(crate) verbs: &'static [&'static str],
}

impl Rule {
    /// Any object of `resources`.
    pub(crate) const fn new(
        group: &'static str,
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
    ) -> Self {
        Self {
            group,
            resources,
            names: &[],
            verbs,
        }
    }

    /// Only the objects called `names`.
    pub(crate) const fn named(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    /// As a role lists it.
    pub(crate) fn render(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group],
            "resources": self.resources,
            "verbs": self.verbs,
        });
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

/// Verbs of a reader that follows changes.
pub(crate) const READ: &[&str] = &["get", "list", "watch"];

/// A ServiceAccount.
pub(crate) fn service_account(name: &str, namespace: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace, "labels": labels },
    })
}

/// A ClusterRole called `role`, bound to the ServiceAccount `account` of `namespace`.
pub(crate) fn cluster_role(
    role: &str,
    (account, namespace): (&str, &str),
    labels: &Value,
    rules: &[Rule],
) -> [Value; 2] {
    let rules: Vec<_> = rules.iter().map(Rule::render).collect();
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": role, "labels": labels },
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": role, "labels": labels },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role,
            },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
        }),
    ]
}

/// A Role called `role` in `namespace`, bound to the ServiceAccount `(name, namespace)`.
pub(crate) fn role(
    (role, namespace): (&str, &str),
    (account, account_ns): (&str, &str),
    labels: &Value,
    rules: &[Rule],
) -> [Value; 2] {
    let rules: Vec<_> = rules.iter().map(Rule::render).collect();
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": { "name": role, "namespace": namespace, "labels": labels },
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": namespace, "labels": labels },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role,
            },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": account_ns }],
        }),
    ]
}
