//! CustomResourceDefinitions: how one is completed and checked, and the resource it makes.

mod complete;
mod structural;
mod validate;

#[cfg(test)]
mod tests;

use super::json::{at, items, text};
use crate::apiserver::resources::{Column, ResourceDef, ScalePaths, VersionDef};
use crate::status::ApiError;
use serde_json::Value;
use std::cmp::Reverse;

pub(super) use complete::{complete, establish};
pub(super) use validate::{validate, validate_update};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The resource a CRD makes. Fails when its names are taken, so that it is not served.
pub fn crd_to_def(crd: &Value) -> Result<ResourceDef, ApiError> {
    let spec = at(crd, &["spec"]);
    let names = at(spec, &["names"]);
    if let Some(refused) = items(crd, &["status", "conditions"])
        .iter()
        .find(|c| c["type"] == "NamesAccepted" && c["status"] == "False")
    {
        return Err(ApiError::bad_request(text(refused, &["message"])));
    }
    let group = text(spec, &["group"]).to_owned();
    let kind = text(names, &["kind"]).to_owned();
    let mut versions: Vec<VersionDef> = items(spec, &["versions"])
        .iter()
        .map(|v| version(v, &group, &kind))
        .collect();
    versions.sort_by_key(|v| Reverse(priority(&v.name)));
    let texts = |key: &str| {
        let texts = items(names, &[key]).iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let or = |key: &str, other: String| match text(names, &[key]) {
        "" => other,
        given => given.to_owned(),
    };
    Ok(ResourceDef {
        versions,
        plural: text(names, &["plural"]).to_owned(),
        singular: or("singular", kind.to_lowercase()),
        list_kind: or("listKind", format!("{kind}List")),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: text(spec, &["scope"]) != "Cluster",
        verbs: VERBS.iter().map(|v| (*v).to_owned()).collect(),
        custom: true,
        group,
        kind,
        ..ResourceDef::default()
    })
}

fn version(version: &Value, group: &str, kind: &str) -> VersionDef {
    let name = text(version, &["name"]).to_owned();
    let scale = at(version, &["subresources", "scale"]);
    let deprecated = version["deprecated"] == true;
    let warning = match text(version, &["deprecationWarning"]) {
        "" => format!("{group}/{name} {kind} is deprecated"),
        own => own.to_owned(),
    };
    VersionDef {
        served: version["served"] == true,
        storage: version["storage"] == true,
        schema: version.pointer("/schema/openAPIV3Schema").cloned(),
        status_subresource: at(version, &["subresources", "status"]).is_object(),
        scale: scale.is_object().then(|| ScalePaths {
            spec_replicas: text(scale, &["specReplicasPath"]).to_owned(),
            status_replicas: text(scale, &["statusReplicasPath"]).to_owned(),
            label_selector: scale["labelSelectorPath"].as_str().map(str::to_owned),
        }),
        columns: items(version, &["additionalPrinterColumns"])
            .iter()
            .map(column)
            .collect(),
        deprecation_warning: deprecated.then_some(warning),
        name,
    }
}

fn column(column: &Value) -> Column {
    let own = |key: &str| text(column, &[key]).to_owned();
    Column {
        name: own("name"),
        r#type: own("type"),
        format: own("format"),
        description: own("description"),
        priority: column["priority"].as_i64().unwrap_or_default(),
        json_path: own("jsonPath"),
    }
}

/// The order in which clients are offered versions: stable before beta before alpha, higher
/// numbers first, names that are no versions last.
fn priority(name: &str) -> (u8, u64, u64, Reverse<String>) {
    let parsed = || {
        let rest = name.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (major, rest) = rest.split_at(digits);
        let major: u64 = major.parse().ok()?;
        if rest.is_empty() {
            return Some((3, major, 0));
        }
        for (stage, rank) in [("beta", 2), ("alpha", 1)] {
            if let Some(minor) = rest.strip_prefix(stage) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        None
    };
    let (stage, major, minor) = parsed().unwrap_or((0, 0, 0));
    (stage, major, minor, Reverse(name.to_owned()))
}
