//! Who is called: rules, scopes, selectors. Pure, but for the labels of the namespace.

use super::{Ask, Operation, Subject};
use crate::schema::json::{at, items, text};
use crate::schema::selector;
use crate::status::ApiError;
use crate::store::{ResourceKey, Store};
use serde_json::Value;
use std::sync::Arc;

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    configuration: Arc<Value>,
    index: usize,
    /// The version of the resource it is to be shown; not that of the request when a rule matches
    /// only another version.
    pub(super) version: String,
}

impl Hook {
    /// Those of a configuration.
    pub(super) fn of(configuration: &Arc<Value>) -> Vec<Self> {
        let count = items(configuration, &["webhooks"]).len();
        let hook = |index| Self {
            configuration: configuration.clone(),
            index,
            version: String::new(),
        };
        (0..count).map(hook).collect()
    }

    /// What the configuration says about it.
    pub(super) fn said(&self) -> &Value {
        at(&self.configuration["webhooks"][self.index], &[])
    }

    pub(super) fn name(&self) -> &str {
        text(self.said(), &["name"])
    }

    /// Whether a request may go on when the webhook cannot be asked.
    pub(super) fn may_fail(&self) -> bool {
        text(self.said(), &["failurePolicy"]) == "Ignore"
    }

    /// Whether it wants to be asked again when others changed the object after it.
    pub(super) fn asks_again(&self) -> bool {
        text(self.said(), &["reinvocationPolicy"]) == "IfNeeded"
    }

    /// This webhook, if its rules are about the request.
    pub(super) fn concerned(mut self, ask: &Ask) -> Option<Self> {
        let rules = items(self.said(), &["rules"]);
        let other = text(self.said(), &["matchPolicy"]) != "Exact";
        let versions = ask.def.versions.iter().filter(|v| v.served && other);
        let versions = versions.map(|v| v.name.as_str());
        let mut versions = std::iter::once(ask.version.as_str()).chain(versions);
        let matching = |version: &&str| rules.iter().any(|rule| matches(rule, ask, version));
        self.version = versions.find(matching)?.to_owned();
        Some(self)
    }

    /// Whether its selectors want the object.
    pub(super) fn selects(
        &self,
        ask: &Ask,
        subject: &Subject<'_>,
        store: &Store,
    ) -> Result<bool, ApiError> {
        let wanted = at(self.said(), &["objectSelector"]);
        // What has no metadata (the options of a connection) can be chosen by nobody.
        let labelled = |obj: &Value| {
            let metadata = at(obj, &["metadata"]);
            metadata.is_object() && selector::matches(wanted, at(metadata, &["labels"]))
        };
        let objects = subject.object.iter().chain(subject.old);
        if !selector::is_empty(wanted) && !objects.into_iter().any(labelled) {
            return Ok(false);
        }
        let wanted = at(self.said(), &["namespaceSelector"]);
        let about_namespaces = is_namespaces(ask);
        if selector::is_empty(wanted) || (ask.namespace.is_empty() && !about_namespaces) {
            return Ok(true);
        }
        let own = about_namespaces
            && ask.subresource.is_empty()
            && matches!(ask.operation, Operation::Create | Operation::Update);
        if let Some(object) = subject.object.as_ref().filter(|_| own) {
            return Ok(selector::matches(
                wanted,
                at(object, &["metadata", "labels"]),
            ));
        }
        let found = store.get(&ResourceKey::core("namespaces"), None, &ask.namespace);
        let found = found.ok_or_else(|| ApiError::not_found("", "namespaces", &ask.namespace))?;
        Ok(selector::matches(
            wanted,
            at(&found, &["metadata", "labels"]),
        ))
    }
}

fn is_namespaces(ask: &Ask) -> bool {
    ask.def.group.is_empty() && ask.def.plural == "namespaces"
}

/// Whether a rule is about a request in this version of the resource.
fn matches(rule: &Value, ask: &Ask, version: &str) -> bool {
    let any_of = |field: &str, wanted: &str| {
        let listed = items(rule, &[field]);
        listed.iter().any(|v| v == "*" || v == wanted)
    };
    let resource = |listed: &Value| {
        let listed = listed.as_str().unwrap_or_default();
        let (resource, sub) = listed.split_once('/').unwrap_or((listed, ""));
        (resource == "*" || resource == ask.def.plural) && (sub == "*" || sub == ask.subresource)
    };
    let inside = !is_namespaces(ask) && !ask.namespace.is_empty();
    let scope = match text(rule, &["scope"]) {
        "Namespaced" => inside,
        "Cluster" => !inside,
        _ => true,
    };
    scope
        && any_of("operations", ask.operation.name())
        && any_of("apiGroups", &ask.def.group)
        && any_of("apiVersions", version)
        && items(rule, &["resources"]).iter().any(resource)
}
