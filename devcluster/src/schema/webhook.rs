//! Webhook configurations: what users leave out, and what is refused. Calling webhooks is
//! `apiserver::admission`'s business.

use super::json::{at, default, items, items_mut, map_in, text};
use super::names::{self, check};
use super::selector;
use crate::apiserver::resources::ResourceDef;
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The group of the configurations.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const URL_FORM: &str = "; desired format: https://host[/path]";

/// Fills in a configuration of either kind.
pub(super) fn complete(def: &ResourceDef, obj: &mut Value) {
    for hook in items_mut(obj, "webhooks") {
        default(hook, "failurePolicy", "Fail");
        default(hook, "matchPolicy", "Equivalent");
        map_in(hook, "namespaceSelector");
        map_in(hook, "objectSelector");
        default(hook, "timeoutSeconds", 10);
        if def.kind == "MutatingWebhookConfiguration" {
            default(hook, "reinvocationPolicy", "Never");
        }
        map_in(hook, "clientConfig");
        if let Some(service) = hook.pointer_mut("/clientConfig/service") {
            default(service, "port", 443);
        }
        for rule in items_mut(hook, "rules") {
            default(rule, "scope", "*");
        }
    }
}

/// Whether a configuration is well formed.
pub(super) fn validate(obj: &Value, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (i, hook) in items(obj, &["webhooks"]).iter().enumerate() {
        let field = format!("webhooks[{i}]");
        validate_hook(hook, &field, causes);
        review_versions(hook, &format!("{field}.admissionReviewVersions"), causes);
        let name = at(hook, &["name"]);
        if !text(hook, &["name"]).is_empty() && !seen.insert(name.to_string()) {
            causes.push(Cause::duplicate(format!("{field}.name"), name));
        }
    }
}

fn validate_hook(hook: &Value, field: &str, causes: &mut Vec<Cause>) {
    qualified_name(hook, &format!("{field}.name"), causes);
    for (i, rule) in items(hook, &["rules"]).iter().enumerate() {
        validate_rule(rule, &format!("{field}.rules[{i}]"), causes);
    }
    one_of(hook, field, "failurePolicy", &["Fail", "Ignore"], causes);
    one_of(hook, field, "matchPolicy", &["Equivalent", "Exact"], causes);
    let side_effects = &["None", "NoneOnDryRun"];
    if at(hook, &["sideEffects"]).is_null() {
        let detail = "must specify one of None, NoneOnDryRun";
        causes.push(Cause::required(format!("{field}.sideEffects"), detail));
    }
    one_of(hook, field, "sideEffects", side_effects, causes);
    let timeout = at(hook, &["timeoutSeconds"]);
    if timeout.as_i64().is_some_and(|t| !(1..=30).contains(&t)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        causes.push(Cause::invalid(
            format!("{field}.timeoutSeconds"),
            timeout,
            detail,
        ));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        selector::validate(at(hook, &[name]), &format!("{field}.{name}"), causes);
    }
    let policies = &["IfNeeded", "Never"];
    one_of(hook, field, "reinvocationPolicy", policies, causes);
    validate_client(
        at(hook, &["clientConfig"]),
        &format!("{field}.clientConfig"),
        causes,
    );
    if !items(hook, &["matchConditions"]).is_empty() {
        // Better none than conditions that are taken and never looked at.
        let detail = "conditions in CEL are not evaluated by this server";
        causes.push(Cause::forbidden(format!("{field}.matchConditions"), detail));
    }
}

fn qualified_name(hook: &Value, field: &str, causes: &mut Vec<Cause>) {
    let name = text(hook, &["name"]);
    let wrong = names::subdomain(name);
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if !wrong.is_empty() {
        causes.push(Cause::invalid(field, &json!(name), &wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
}

fn one_of(hook: &Value, field: &str, name: &str, allowed: &[&str], causes: &mut Vec<Cause>) {
    let value = at(hook, &[name]);
    if value.as_str().is_some_and(|v| !allowed.contains(&v)) {
        causes.push(Cause::unsupported(
            format!("{field}.{name}"),
            value,
            allowed,
        ));
    }
}

fn has(list: &[Value], wanted: &str) -> bool {
    list.iter().any(|v| v == wanted)
}

fn validate_rule(rule: &Value, field: &str, causes: &mut Vec<Cause>) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let lists = [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
    ];
    for (name, what) in lists {
        let (list, field) = (items(rule, &[name]), format!("{field}.{name}"));
        if list.is_empty() {
            causes.push(Cause::required(&field, ""));
        }
        if list.len() > 1 && has(list, "*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            causes.push(Cause::invalid(&field, at(rule, &[name]), &detail));
        }
        for (i, value) in list.iter().enumerate() {
            let known = value.as_str().is_some_and(|v| OPERATIONS.contains(&v));
            if name == "operations" && !known {
                let field = format!("{field}[{i}]");
                causes.push(Cause::unsupported(field, value, OPERATIONS));
            }
            if name == "apiVersions" && value == "" {
                causes.push(Cause::required(format!("{field}[{i}]"), ""));
            }
        }
    }
    resources(
        at(rule, &["resources"]),
        &format!("{field}.resources"),
        causes,
    );
    one_of(
        rule,
        field,
        "scope",
        &["*", "Cluster", "Namespaced"],
        causes,
    );
}

fn resources(value: &Value, field: &str, causes: &mut Vec<Cause>) {
    let list = items(value, &[]);
    if list.is_empty() {
        causes.push(Cause::required(field, ""));
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut without_subresource = false;
    for (i, entry) in list.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let said = entry.as_str().unwrap_or_default();
        if said.is_empty() {
            causes.push(Cause::required(field, ""));
            continue;
        }
        let Some((resource, sub)) = said.split_once('/') else {
            without_subresource = said != "*";
            continue;
        };
        for (taken, pattern) in [
            (whole.contains(resource), format!("{resource}/*")),
            (everywhere.contains(sub), format!("*/{sub}")),
        ] {
            if taken {
                let detail = format!("if '{pattern}' is present, must not specify {said}");
                causes.push(Cause::invalid(&field, entry, &detail));
            }
        }
        if sub == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    if list.len() > 1 && has(list, "*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        causes.push(Cause::invalid(field, value, detail));
    }
    if has(list, "*") && without_subresource {
        let detail = "if '*' is present, must not specify other resources without subresources";
        causes.push(Cause::invalid(field, value, detail));
    }
}

fn review_versions(hook: &Value, field: &str, causes: &mut Vec<Cause>) {
    let list = items(hook, &["admissionReviewVersions"]);
    if list.is_empty() {
        let detail = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        causes.push(Cause::required(field, &detail));
        return;
    }
    for (i, version) in list.iter().enumerate() {
        let field = format!("{field}[{i}]");
        if list.iter().take(i).any(|v| v == version) {
            causes.push(Cause::invalid(field, version, "duplicate version"));
        } else {
            let said = version.as_str().unwrap_or_default();
            check(causes, &field, said, names::label_1035);
        }
    }
    if !REVIEW_VERSIONS.iter().any(|known| has(list, known)) {
        let detail = format!(
            "must include at least one of {}",
            REVIEW_VERSIONS.join(", ")
        );
        let value = at(hook, &["admissionReviewVersions"]);
        causes.push(Cause::invalid(field, value, &detail));
    }
}

fn validate_client(client: &Value, field: &str, causes: &mut Vec<Cause>) {
    let (url, service) = (at(client, &["url"]), at(client, &["service"]));
    if url.is_null() == service.is_null() {
        let detail = "exactly one of url or service is required";
        causes.push(Cause::required(field, detail));
    } else if let Some(url) = url.as_str() {
        validate_url(url, &format!("{field}.url"), causes);
    } else {
        validate_service(service, &format!("{field}.service"), causes);
    }
}

fn validate_url(url: &str, field: &str, causes: &mut Vec<Cause>) {
    let mut refuse = |value: &str, detail: &str| {
        causes.push(Cause::invalid(field, &json!(value), detail));
    };
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{URL_FORM}");
        refuse(scheme, &detail);
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.split_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        refuse("", &format!("host must be specified{URL_FORM}"));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            refuse(part, detail);
        }
    }
}

fn validate_service(service: &Value, field: &str, causes: &mut Vec<Cause>) {
    for name in ["name", "namespace"] {
        if text(service, &[name]).is_empty() {
            causes.push(Cause::required(format!("{field}.{name}"), ""));
        }
    }
    let port = at(service, &["port"]);
    let wrong = names::port_number(port.as_i64().unwrap_or(443));
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(", "));
        causes.push(Cause::invalid(format!("{field}.port"), port, &detail));
    }
    let path = text(service, &["path"]);
    if path.is_empty() || path == "/" {
        return;
    }
    let field = format!("{field}.path");
    let mut refuse = |detail: &str| causes.push(Cause::invalid(&field, &json!(path), detail));
    if !path.starts_with('/') {
        refuse("must start with a '/'");
    }
    let inner = path.get(1..).unwrap_or_default();
    for (i, step) in inner
        .strip_suffix('/')
        .unwrap_or(inner)
        .split('/')
        .enumerate()
    {
        if step.is_empty() {
            refuse(&format!("segment[{i}] may not be empty"));
            continue;
        }
        for detail in names::subdomain(step) {
            refuse(&format!("segment[{i}]: {detail}"));
        }
    }
}
