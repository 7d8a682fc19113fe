//! Nobody may grant what they do not have: roles and bindings are checked when they are written.

use super::rbac::{self, GROUP};
use super::{Attributes, Auth, Decision, User};
use crate::apiserver::resources::ResourceDef;
use crate::schema::json::{at, items, name, namespace, text};
use crate::status::ApiError;
use serde_json::Value;

impl Auth {
    /// Refuses a role or binding that would give more than its writer has. Other objects pass.
    pub fn admit(
        &self,
        user: &User,
        def: &ResourceDef,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), ApiError> {
        if !rbac::is_rbac(def) || user.is_master() {
            return Ok(());
        }
        match def.kind.as_str() {
            "Role" | "ClusterRole" => self.admit_role(user, def, old, new),
            _ => self.admit_binding(user, def, old, new),
        }
    }

    fn admit_role(
        &self,
        user: &User,
        def: &ResourceDef,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), ApiError> {
        let same = |key: &str| old.is_some_and(|old| at(old, &[key]) == at(new, &[key]));
        if same("rules") && same("aggregationRule") {
            return Ok(());
        }
        if self.may(user, "escalate", &def.plural, new, name(new)) {
            return Ok(());
        }
        let everything = serde_json::json!([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        let wanted = if at(new, &["aggregationRule"]).is_null() || same("aggregationRule") {
            items(new, &["rules"])
        } else {
            // What it will aggregate is not known yet, so its writer must have everything.
            items(&everything, &[])
        };
        self.holds(user, def, new, wanted)
    }

    fn admit_binding(
        &self,
        user: &User,
        def: &ResourceDef,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), ApiError> {
        let same = |key: &str| old.is_some_and(|old| at(old, &[key]) == at(new, &[key]));
        if same("subjects") && same("roleRef") {
            return Ok(());
        }
        let kind = text(new, &["roleRef", "kind"]);
        let role = text(new, &["roleRef", "name"]);
        let plural = if kind == "Role" {
            "roles"
        } else {
            "clusterroles"
        };
        if self.may(user, "bind", plural, new, role) {
            return Ok(());
        }
        let rules = rbac::rules_of_role(&self.shared.store, kind, role, namespace(new))
            .ok_or_else(|| ApiError::not_found(GROUP, plural, role))?;
        self.holds(user, def, new, &rules)
    }

    fn may(&self, user: &User, verb: &str, resource: &str, obj: &Value, name: &str) -> bool {
        let asked = Attributes {
            verb,
            group: GROUP,
            version: "v1",
            resource,
            namespace: namespace(obj),
            name,
            ..Attributes::default()
        };
        self.authorize(user, &asked) == Decision::Allow
    }

    fn holds(
        &self,
        user: &User,
        def: &ResourceDef,
        obj: &Value,
        wanted: &[Value],
    ) -> Result<(), ApiError> {
        let (grants, _) = rbac::grants(&self.shared.store, user, namespace(obj));
        let owned: Vec<Value> = grants.into_iter().flat_map(|g| g.rules).collect();
        let missing = rbac::uncovered(&owned, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = missing.iter().map(|r| shown(r)).collect();
        let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
        let detail = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            groups.join(" "),
            shown.join("\n")
        );
        Err(ApiError::forbidden(
            &def.group,
            &def.plural,
            name(obj),
            &detail,
        ))
    }
}

/// A rule as kube-apiserver prints it.
fn shown(rule: &Value) -> String {
    let parts = [
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, key)| !items(rule, &[key]).is_empty())
        .map(|(title, key)| {
            let values: Vec<String> = items(rule, &[key]).iter().map(Value::to_string).collect();
            format!("{title}:[{}]", values.join(" "))
        })
        .collect();
    format!("{{{}}}", parts.join(", "))
}
