//! What there is: groups, versions and resources, in the old (one document each) and the new
//! (aggregated) form; the server's version and health.

use super::openapi;
use super::reply::{Reply, wants_aggregated};
use super::resources::{Registry, ResourceDef, VersionDef, api_version};
use crate::status::ApiError;
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// The Kubernetes release whose API this server follows.
const MAJOR_MINOR: (&str, &str) = ("1", "34");

/// Answers a path that is about no resource.
pub(super) fn answer(
    registry: &Registry,
    path: &str,
    accept: Option<&str>,
    addr: SocketAddr,
) -> Result<Reply, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(Reply::text("ok")),
        ["version"] => Ok(Reply::ok(&version())),
        [] => Ok(Reply::ok(&json!({"paths": paths(registry)}))),
        ["api"] => Ok(match wants_aggregated(accept) {
            Some(v) => aggregated(&[group(registry, "")], v),
            None => Reply::ok(&json!({"kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [
                    {"clientCIDR": "0.0.0.0/0", "serverAddress": addr.to_string()}]})),
        }),
        ["apis"] => Ok(apis(registry, accept)),
        ["apis", name] => {
            let group = group(registry, name);
            if group.resources.is_empty() {
                return Err(ApiError::no_such_page());
            }
            let mut value = group.to_value();
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            Ok(Reply::ok(&value))
        }
        ["api", version] => resource_list(registry, "", version),
        ["apis", group, version] => resource_list(registry, group, version),
        ["openapi", rest @ ..] => openapi::answer(registry, rest, accept),
        _ => Err(ApiError::no_such_page()),
    }
}

fn version() -> Value {
    let (major, minor) = MAJOR_MINOR;
    let release = env!("CARGO_PKG_VERSION");
    json!({"major": major, "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+mesh-{release}"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)})
}

fn paths(registry: &Registry) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in groups(registry) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(
            group
                .versions()
                .iter()
                .map(|v| format!("/apis/{}/{v}", group.name)),
        );
    }
    for more in [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        paths.push(more.to_owned());
    }
    paths
}

/// The resources of one group.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) resources: Vec<Arc<ResourceDef>>,
}

impl Group {
    /// Served versions, preferred first.
    pub(super) fn versions(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for resource in &self.resources {
            for version in resource.versions.iter().filter(|v| v.served) {
                if !out.contains(&version.name) {
                    out.push(version.name.clone());
                }
            }
        }
        out.sort_by_key(|v| std::cmp::Reverse(rank(v)));
        out
    }

    fn to_value(&self) -> Value {
        let entry = |v: &String| json!({"groupVersion": api_version(&self.name, v), "version": v});
        let versions: Vec<Value> = self.versions().iter().map(entry).collect();
        json!({"name": self.name, "preferredVersion": versions.first(), "versions": versions})
    }
}

/// Stable before beta before alpha, newer before older.
fn rank(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse::<u32>().ok();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (word, level) in [("alpha", 1), ("beta", 2)] {
        if let Some((major, minor)) = rest.split_once(word)
            && let (Some(major), Some(minor)) = (number(major), number(minor))
        {
            return (level, major, minor);
        }
    }
    number(rest).map_or((0, 0, 0), |major| (3, major, 0))
}

pub(super) fn group(registry: &Registry, name: &str) -> Group {
    let resources = registry
        .all()
        .into_iter()
        .filter(|d| d.group == name)
        .collect();
    Group {
        name: name.to_owned(),
        resources,
    }
}

/// Every named group: the built-in ones first, then those of custom resources.
pub(super) fn groups(registry: &Registry) -> Vec<Group> {
    let mut out: Vec<Group> = Vec::new();
    for def in registry.all().into_iter().filter(|d| !d.group.is_empty()) {
        match out.iter_mut().find(|g| g.name == def.group) {
            Some(group) => group.resources.push(def),
            None => out.push(Group {
                name: def.group.clone(),
                resources: vec![def],
            }),
        }
    }
    out.sort_by_key(|g| g.resources.iter().all(|d| d.custom));
    out
}

fn apis(registry: &Registry, accept: Option<&str>) -> Reply {
    let groups = groups(registry);
    if let Some(version) = wants_aggregated(accept) {
        return aggregated(&groups, version);
    }
    let groups: Vec<Value> = groups.iter().map(Group::to_value).collect();
    Reply::ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// A subresource: its name, the group, version and kind of its body (where they differ from the
/// resource's), its verbs.
struct Sub<'a> {
    name: &'a str,
    body: Option<(&'static str, &'static str, &'static str)>,
    verbs: &'static [&'static str],
}

fn subresources<'a>(def: &'a ResourceDef, version: &VersionDef) -> Vec<Sub<'a>> {
    let status = version.status_subresource.then_some("status");
    let scale = version.scale.is_some().then_some("scale");
    let others = def.subresources.iter().map(String::as_str);
    let mut out: Vec<Sub<'a>> = others.chain(status).chain(scale).map(sub).collect();
    out.sort_by_key(|s| s.name);
    out
}

fn sub(name: &str) -> Sub<'_> {
    let (body, verbs): (_, &[&str]) = match name {
        "status" => (None, &["get", "patch", "update"]),
        "scale" => (
            Some(("autoscaling", "v1", "Scale")),
            &["get", "patch", "update"],
        ),
        "token" => (
            Some(("authentication.k8s.io", "v1", "TokenRequest")),
            &["create"],
        ),
        "binding" => (Some(("", "v1", "Binding")), &["create"]),
        "eviction" => (Some(("policy", "v1", "Eviction")), &["create"]),
        "log" => (None, &["get"]),
        "exec" => (Some(("", "v1", "PodExecOptions")), &["create", "get"]),
        "portforward" => (
            Some(("", "v1", "PodPortForwardOptions")),
            &["create", "get"],
        ),
        _ => (None, &["update"]),
    };
    Sub { name, body, verbs }
}

fn resource_list(registry: &Registry, name: &str, version: &str) -> Result<Reply, ApiError> {
    let group = group(registry, name);
    let mut resources = Vec::new();
    for def in &group.resources {
        let Some(served) = def.version(version) else {
            continue;
        };
        resources.push(old_entry(def));
        for sub in subresources(def, served) {
            let mut entry = json!({"name": format!("{}/{}", def.plural, sub.name),
                "singularName": "", "namespaced": def.namespaced, "kind": def.kind,
                "verbs": sub.verbs});
            if let Some((group, version, kind)) = sub.body {
                entry["kind"] = json!(kind);
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return Err(ApiError::no_such_page());
    }
    Ok(Reply::ok(
        &json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version(name, version), "resources": resources}),
    ))
}

fn old_entry(def: &ResourceDef) -> Value {
    let mut entry = json!({"name": def.plural, "singularName": def.singular,
        "namespaced": def.namespaced, "kind": def.kind, "verbs": def.verbs});
    if !def.short_names.is_empty() {
        entry["shortNames"] = json!(def.short_names);
    }
    if !def.categories.is_empty() {
        entry["categories"] = json!(def.categories);
    }
    entry
}

fn aggregated(groups: &[Group], version: &str) -> Reply {
    let items: Vec<Value> = groups.iter().map(aggregated_group).collect();
    let value = json!({"kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items});
    let media =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let media = HeaderValue::from_str(&media)
        .unwrap_or_else(|_| HeaderValue::from_static("application/json"));
    Reply::json_as(StatusCode::OK, &value, media)
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions()
        .iter()
        .map(|version| {
            let resources: Vec<Value> = group
                .resources
                .iter()
                .filter_map(|def| Some(aggregated_resource(def, def.version(version)?)))
                .collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    let metadata = if group.name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": group.name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(def: &ResourceDef, version: &VersionDef) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = kind(&def.group, &version.name, &def.kind);
    let subs: Vec<Value> = subresources(def, version)
        .iter()
        .map(|sub| {
            let body = sub
                .body
                .map_or_else(|| own.clone(), |(g, v, k)| kind(g, v, k));
            json!({"subresource": sub.name, "responseKind": body, "verbs": sub.verbs})
        })
        .collect();
    let scope = if def.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    let mut out = json!({"resource": def.plural, "responseKind": own, "scope": scope,
        "singularResource": def.singular, "verbs": def.verbs});
    if !def.short_names.is_empty() {
        out["shortNames"] = json!(def.short_names);
    }
    if !def.categories.is_empty() {
        out["categories"] = json!(def.categories);
    }
    if !subs.is_empty() {
        out["subresources"] = Value::Array(subs);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_and_stabler_versions_come_first() {
        let mut versions = [
            "v1alpha1", "v1", "v2beta1", "v1beta2", "v2", "v1beta1", "odd",
        ];
        versions.sort_by_key(|v| std::cmp::Reverse(rank(v)));
        assert_eq!(
            versions,
            [
                "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "odd"
            ]
        );
    }
}
