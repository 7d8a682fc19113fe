//! Role-based access control: which rules a user has, and whether one allows a request. Reads
//! roles and bindings from the store at every question, so a change counts from the next request.

use super::{Attributes, User};
use crate::apiserver::resources::ResourceDef;
use crate::schema::json::{at, items, name, namespace, text};
use crate::schema::selector;
use crate::store::{ResourceKey, Store};
use serde_json::Value;
use std::sync::Arc;

/// API group of roles and bindings.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// Rules a user has, and which binding gave them.
pub(super) struct Grant {
    /// The rules.
    pub(super) rules: Vec<Value>,
    /// For people: `ClusterRoleBinding "x" of ClusterRole "y" to User "z"`.
    pub(super) origin: String,
}

/// What a user was granted in a namespace (empty: cluster-wide only), and which roles bindings
/// name in vain.
pub(super) fn grants(store: &Store, user: &User, ns: &str) -> (Vec<Grant>, Vec<String>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    let mut add = |binding: &Value| {
        let Some(subject) = subject_of(binding, user) else {
            return;
        };
        let kind = text(binding, &["roleRef", "kind"]);
        let role = text(binding, &["roleRef", "name"]);
        match rules_of_role(store, kind, role, ns) {
            Some(rules) => {
                let from = text(binding, &["kind"]);
                let mut place = name(binding).to_owned();
                if !namespace(binding).is_empty() {
                    place = format!("{place}/{}", namespace(binding));
                }
                let origin = format!("{from} {place:?} of {kind} {role:?} to {subject}");
                found.push(Grant { rules, origin });
            }
            None => {
                let kind = kind.to_lowercase();
                broken.push(format!("{kind}.{GROUP} {role:?} not found"));
            }
        }
    };
    list(store, "clusterrolebindings", None)
        .iter()
        .for_each(|b| add(b));
    if !ns.is_empty() {
        list(store, "rolebindings", Some(ns))
            .iter()
            .for_each(|b| add(b));
    }
    (found, broken)
}

fn list(store: &Store, plural: &str, ns: Option<&str>) -> Vec<Arc<Value>> {
    store.list(&ResourceKey::new(GROUP, plural), ns).0
}

/// The subject of a binding that is the user.
fn subject_of(binding: &Value, user: &User) -> Option<String> {
    items(binding, &["subjects"]).iter().find_map(|subject| {
        let name = text(subject, &["name"]);
        match text(subject, &["kind"]) {
            "User" if name == user.name => Some(format!("User {name:?}")),
            "Group" if user.groups.iter().any(|g| g == name) => Some(format!("Group {name:?}")),
            "ServiceAccount" => {
                let ns = match text(subject, &["namespace"]) {
                    "" => text(binding, &["metadata", "namespace"]),
                    ns => ns,
                };
                let full = format!("system:serviceaccount:{ns}:{name}");
                (full == user.name).then(|| format!("ServiceAccount \"{name}/{ns}\""))
            }
            _ => None,
        }
    })
}

/// The rules of a role; those of the roles it aggregates included.
pub(super) fn rules_of_role(store: &Store, kind: &str, role: &str, ns: &str) -> Option<Vec<Value>> {
    let found = match kind {
        "Role" => store.get(&ResourceKey::new(GROUP, "roles"), Some(ns), role)?,
        _ => store.get(&ResourceKey::new(GROUP, "clusterroles"), None, role)?,
    };
    let mut rules = items(&found, &["rules"]).to_vec();
    let selectors = items(&found, &["aggregationRule", "clusterRoleSelectors"]);
    if !selectors.is_empty() {
        for other in list(store, "clusterroles", None) {
            let labels = at(&other, &["metadata", "labels"]);
            let chosen = selectors.iter().any(|s| selector::matches(s, labels));
            if chosen && name(&other) != role {
                rules.extend_from_slice(items(&other, &["rules"]));
            }
        }
    }
    Some(rules)
}

fn has(list: &[Value], wanted: &str) -> bool {
    list.iter().any(|v| v == "*" || v == wanted)
}

/// Whether a rule allows a request.
pub(super) fn allows(rule: &Value, asked: &Attributes<'_>) -> bool {
    if !has(items(rule, &["verbs"]), asked.verb) {
        return false;
    }
    if let Some(path) = asked.non_resource_path {
        return items(rule, &["nonResourceURLs"]).iter().any(|url| {
            let url = url.as_str().unwrap_or_default();
            match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == url,
            }
        });
    }
    let names = items(rule, &["resourceNames"]);
    has(items(rule, &["apiGroups"]), asked.group)
        && resource_fits(
            items(rule, &["resources"]),
            asked.resource,
            asked.subresource,
        )
        && (names.is_empty()
            || names
                .iter()
                .any(|n| n == asked.name && !asked.name.is_empty()))
}

/// `pods`, `pods/log`, `*`, `*/scale`.
fn resource_fits(resources: &[Value], resource: &str, subresource: &str) -> bool {
    resources.iter().filter_map(Value::as_str).any(|r| {
        if r == "*" {
            return true;
        }
        match r.split_once('/') {
            None => subresource.is_empty() && r == resource,
            Some((parent, sub)) => {
                !subresource.is_empty()
                    && sub == subresource
                    && (parent == "*" || parent == resource)
            }
        }
    })
}

/// The rules among `wanted` that `owned` does not cover in full.
///
/// A rule is taken apart into its smallest parts, and each must be covered by one owned rule. A
/// wildcard that is wanted is a name like others here: only a wildcard covers it.
pub(super) fn uncovered<'a>(owned: &[Value], wanted: &'a [Value]) -> Vec<&'a Value> {
    wanted.iter().filter(|rule| !covered(owned, rule)).collect()
}

fn covered(owned: &[Value], rule: &Value) -> bool {
    let texts = |key: &str| items(rule, &[key]).iter().filter_map(Value::as_str);
    let any = |part: &Attributes<'_>, nameless: bool| {
        owned.iter().any(|own| {
            let unrestricted = items(own, &["resourceNames"]).is_empty();
            (unrestricted || !nameless) && allows(own, part)
        })
    };
    texts("verbs").all(|verb| {
        let urls = texts("nonResourceURLs").all(|url| {
            let part = Attributes {
                verb,
                non_resource_path: Some(url),
                ..Attributes::default()
            };
            any(&part, false)
        });
        let resources = texts("apiGroups").all(|group| {
            texts("resources").all(|full| {
                let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
                let part = Attributes {
                    verb,
                    group,
                    resource,
                    subresource,
                    ..Attributes::default()
                };
                let mut names = texts("resourceNames").peekable();
                if names.peek().is_none() {
                    return any(&part, true);
                }
                names.all(|name| any(&Attributes { name, ..part }, false))
            })
        });
        urls && resources
    })
}

/// What kind of RBAC object a resource is, if it is one.
pub(super) fn is_rbac(def: &ResourceDef) -> bool {
    def.group == GROUP
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
    }

    fn ask<'a>(verb: &'a str, group: &'a str, full: &'a str, name: &'a str) -> Attributes<'a> {
        let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
        Attributes {
            verb,
            group,
            resource,
            subresource,
            name,
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_allow_what_they_say_and_nothing_else() {
        let table = [
            (
                rule(&["get"], &[""], &["pods"], &[]),
                ask("get", "", "pods", "x"),
                true,
            ),
            (
                rule(&["get"], &[""], &["pods"], &[]),
                ask("list", "", "pods", ""),
                false,
            ),
            (
                rule(&["get"], &["apps"], &["pods"], &[]),
                ask("get", "", "pods", "x"),
                false,
            ),
            (
                rule(&["*"], &["*"], &["*"], &[]),
                ask("get", "apps", "deployments/scale", "x"),
                true,
            ),
            (
                rule(&["get"], &[""], &["pods"], &[]),
                ask("get", "", "pods/log", "x"),
                false,
            ),
            (
                rule(&["get"], &[""], &["pods/log"], &[]),
                ask("get", "", "pods/log", "x"),
                true,
            ),
            (
                rule(&["get"], &[""], &["pods/log"], &[]),
                ask("get", "", "pods", "x"),
                false,
            ),
            (
                rule(&["get"], &[""], &["*/log"], &[]),
                ask("get", "", "pods/log", "x"),
                true,
            ),
            (
                rule(&["get"], &[""], &["secrets"], &["a"]),
                ask("get", "", "secrets", "a"),
                true,
            ),
            (
                rule(&["get"], &[""], &["secrets"], &["a"]),
                ask("get", "", "secrets", "b"),
                false,
            ),
            (
                rule(&["list"], &[""], &["secrets"], &["a"]),
                ask("list", "", "secrets", ""),
                false,
            ),
        ];
        for (rule, asked, expected) in table {
            assert_eq!(allows(&rule, &asked), expected, "{rule} {asked:?}");
        }
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]});
        for (path, expected) in [("/healthz", true), ("/healthz/x", false), ("/api/v1", true)] {
            let asked = Attributes {
                verb: "get",
                non_resource_path: Some(path),
                ..Attributes::default()
            };
            assert_eq!(allows(&rule, &asked), expected, "{path}");
        }
    }

    #[test]
    fn nobody_can_grant_more_than_they_have() {
        let owned = [
            rule(&["get", "list"], &[""], &["pods"], &[]),
            rule(&["get"], &[""], &["secrets"], &["a"]),
        ];
        let table = [
            (rule(&["get"], &[""], &["pods"], &[]), true),
            (rule(&["get"], &[""], &["pods"], &["one"]), true),
            (rule(&["get", "delete"], &[""], &["pods"], &[]), false),
            (rule(&["get"], &[""], &["secrets"], &["a"]), true),
            (rule(&["get"], &[""], &["secrets"], &[]), false),
            (rule(&["*"], &[""], &["pods"], &[]), false),
            (rule(&["get"], &["*"], &["pods"], &[]), false),
        ];
        for (wanted, expected) in table {
            let wanted = [wanted];
            assert_eq!(
                uncovered(&owned, &wanted).is_empty(),
                expected,
                "{wanted:?}"
            );
        }
        let all = [rule(&["*"], &["*"], &["*"], &[])];
        assert!(uncovered(&all, &all).is_empty());
    }
}
