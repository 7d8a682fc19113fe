//! What a request asks for, read from its path and its query. Nothing here answers anything.

use super::select::{FieldSelector, LabelSelector};
use crate::schema::FieldValidation;
use crate::status::{ApiError, Cause};
use percent_encoding::percent_decode_str;
use serde_json::json;
use std::time::Duration;

/// Longest `fieldManager`.
const MAX_MANAGER: usize = 128;

/// What a path is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A resource, one of its objects, or a subresource of one.
    Resource(ResourcePath),
    /// Anything else: discovery, health.
    Path,
}

/// `/apis/<group>/<version>[/namespaces/<namespace>]/<resource>[/<name>[/<subresource>]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourcePath {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) resource: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

/// Reads a path.
pub(super) fn target(path: &str) -> Result<Target, ApiError> {
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        let decoded = percent_decode_str(segment)
            .decode_utf8()
            .map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
        segments.push(decoded.into_owned());
    }
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(Target::Path),
    };
    let mut path = ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        ..ResourcePath::default()
    };
    let rest = match rest {
        [] => return Ok(Target::Path),
        // `namespaces/x/status` is about the Namespace; `namespaces/x/pods` is about pods in it.
        ["namespaces", ns, resource, more @ ..]
            if !(group.is_empty() && matches!(*resource, "status" | "finalize")) =>
        {
            path.namespace = Some((*ns).to_owned());
            path.resource = (*resource).to_owned();
            more
        }
        [resource, more @ ..] => {
            path.resource = (*resource).to_owned();
            more
        }
    };
    match rest {
        [] => {}
        [name] => path.name = Some((*name).to_owned()),
        [name, subresource] => {
            path.name = Some((*name).to_owned());
            path.subresource = Some((*subresource).to_owned());
        }
        _ => return Err(ApiError::no_such_path()),
    }
    Ok(Target::Resource(path))
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self {
            pairs: pairs.into_owned().collect(),
        }
    }

    /// The first value of a parameter, unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(k, _)| k == key);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Every value of a parameter.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.pairs.iter().filter(move |(k, _)| k == key);
        named.map(|(_, v)| v.as_str())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        // As apimachinery converts: present and not literally false.
        let found = self.pairs.iter().find(|(k, _)| k == key);
        found.is_some_and(|(_, v)| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        self.text(key).map(|v| v.parse()).transpose().map_err(|_| {
            let value = self.text(key).unwrap_or_default();
            ApiError::bad_request(format!(
                "unable to decode query: {key}: {value:?} is not a number"
            ))
        })
    }
}

/// What decides which objects a list or watch shows.
#[derive(Clone, Debug, Default)]
pub(super) struct ListParams {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    pub(super) limit: usize,
    pub(super) continue_from: Option<String>,
    pub(super) resource_version: Option<u64>,
    /// `resourceVersionMatch=Exact`.
    pub(super) exact: bool,
    pub(super) bookmarks: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) send_initial_events: bool,
}

impl ListParams {
    pub(super) fn read(query: &Query) -> Result<Self, ApiError> {
        let version = query
            .text("resourceVersion")
            .map(str::parse)
            .transpose()
            .map_err(|_| {
                let value = json!(query.text("resourceVersion"));
                let cause = Cause::invalid("resourceVersion", &value, "must be a number");
                ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![cause])
            })?;
        let limit = query.number("limit")?.unwrap_or(0);
        let matching = query.text("resourceVersionMatch");
        let watch = query.flag("watch");
        let initial = watch && query.flag("sendInitialEvents");
        if let Some(matching) = matching {
            Self::check_match(matching, version, watch, initial)?;
        }
        Ok(Self {
            labels: LabelSelector::parse(query.text("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(query.text("fieldSelector").unwrap_or_default())?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            continue_from: query.text("continue").map(str::to_owned),
            resource_version: version,
            exact: matching == Some("Exact"),
            bookmarks: query.flag("allowWatchBookmarks"),
            timeout: query.number("timeoutSeconds")?.map(Duration::from_secs),
            send_initial_events: initial,
        })
    }

    fn check_match(
        matching: &str,
        version: Option<u64>,
        watch: bool,
        initial: bool,
    ) -> Result<(), ApiError> {
        let field = "resourceVersionMatch";
        let refused = |cause| ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![cause]);
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let allowed = &["Exact", "NotOlderThan"];
            return Err(refused(Cause::unsupported(
                field,
                &json!(matching),
                allowed,
            )));
        }
        if watch && !initial {
            return Err(refused(Cause::forbidden(
                field,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )));
        }
        if !watch && version.is_none() {
            return Err(refused(Cause::forbidden(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )));
        }
        Ok(())
    }
}

/// How to write.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteParams {
    pub(super) dry_run: bool,
    pub(super) manager: Option<String>,
    pub(super) validation: FieldValidation,
    pub(super) force: bool,
}

impl WriteParams {
    /// `options` names the kind of options in messages: `CreateOptions`, …
    pub(super) fn read(query: &Query, options: &str) -> Result<Self, ApiError> {
        let refused = |cause| ApiError::invalid("meta.k8s.io", options, "", vec![cause]);
        let dry_run = match query.text("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                return Err(refused(Cause::unsupported(
                    "dryRun",
                    &json!(other),
                    &["All"],
                )));
            }
        };
        let validation = match query.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let allowed = &["Ignore", "Strict", "Warn"];
                let cause = Cause::unsupported("fieldValidation", &json!(other), allowed);
                return Err(refused(cause));
            }
        };
        let manager = query.text("fieldManager").map(str::to_owned);
        if let Some(name) = &manager
            && (name.len() > MAX_MANAGER || name.chars().any(char::is_control))
        {
            let detail = "must be at most 128 printable characters";
            return Err(refused(Cause::invalid(
                "fieldManager",
                &json!(name),
                detail,
            )));
        }
        Ok(Self {
            dry_run,
            manager,
            validation,
            force: query.flag("force"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match target(path).unwrap() {
            Target::Resource(r) => r,
            Target::Path => panic!("{path} is no resource"),
        }
    }

    #[test]
    fn paths_name_resources() {
        let pods = resource("/api/v1/namespaces/a/pods/x/log");
        assert_eq!(pods.namespace.as_deref(), Some("a"));
        assert_eq!(
            (pods.resource.as_str(), pods.subresource.as_deref()),
            ("pods", Some("log"))
        );
        let namespace = resource("/api/v1/namespaces/a");
        assert_eq!(
            (namespace.resource.as_str(), namespace.name.as_deref()),
            ("namespaces", Some("a"))
        );
        let status = resource("/api/v1/namespaces/a/status");
        assert_eq!(status.subresource.as_deref(), Some("status"));
        let crs = resource("/apis/a.b/v1/xs");
        assert_eq!((crs.group.as_str(), crs.name), ("a.b", None));
        assert_eq!(target("/apis/apps/v1").unwrap(), Target::Path);
        assert_eq!(target("/api/v1/pods/a/b/c/d").unwrap_err().code, 404);
    }

    #[test]
    fn odd_write_options_are_refused() {
        let query = Query::parse(Some("dryRun=Some"));
        let error = WriteParams::read(&query, "CreateOptions").unwrap_err();
        assert_eq!(error.code, 422);
        assert_eq!(
            error.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": \
             supported values: \"All\""
        );
    }
}
