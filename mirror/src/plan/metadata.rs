//! Which labels and annotations of another cluster's Service are taken over.
//!
//! Metadata configures things: discovery, policy, retries. What another cluster writes on its
//! Services must not configure this mesh, so the keys that do are never taken over.

use mesh_api::link::LinkSpec;
use mesh_clusters::RemoteService;
use mesh_contract::{annotations, labels};
use std::collections::BTreeMap;

/// The labels of `service` that are taken over.
pub(super) fn imported_labels(
    service: &RemoteService,
    link: Option<&LinkSpec>,
) -> BTreeMap<String, String> {
    let excluded = link
        .and_then(|link| link.excluded_labels.as_deref())
        .unwrap_or_default();
    take(&service.labels, labels::NEVER_IMPORTED, excluded)
}

/// The annotations of `service` that are taken over.
pub(super) fn imported_annotations(
    service: &RemoteService,
    link: Option<&LinkSpec>,
) -> BTreeMap<String, String> {
    let excluded = link
        .and_then(|link| link.excluded_annotations.as_deref())
        .unwrap_or_default();
    let mut taken = take(&service.annotations, annotations::NEVER_IMPORTED, excluded);
    // Without it, clients here would wait for a protocol that never shows.
    if let Some(ports) = service.annotations.get(annotations::OPAQUE_PORTS) {
        taken.insert(annotations::OPAQUE_PORTS.to_owned(), ports.clone());
    }
    taken
}

fn take(
    from: &BTreeMap<String, String>,
    never: &[&str],
    excluded: &[String],
) -> BTreeMap<String, String> {
    from.iter()
        .filter(|(key, _)| !never.iter().any(|prefix| key.starts_with(prefix)))
        .filter(|(key, _)| !excluded.iter().any(|pattern| excludes(pattern, key)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// `key` itself, or `prefix/*` for every key of that prefix and no longer one.
fn excludes(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(prefix) => key
            .split_once('/')
            .is_some_and(|(of_key, _)| of_key == prefix),
        None => pattern == key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_excludes_its_keys_and_no_others() {
        assert!(excludes("evil/*", "evil/key"));
        assert!(!excludes("evil/*", "evilfoo/key"));
        assert!(!excludes("evil/*", "evil"));
        assert!(excludes("evil", "evil"));
    }

    #[test]
    fn what_configures_this_mesh_is_never_taken_over() {
        let map = |keys: &[&str]| {
            keys.iter()
                .map(|key| ((*key).to_owned(), "x".to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let service = RemoteService {
            labels: map(&[
                "app",
                "mirror.linkerd.io/exported",
                "multicluster.linkerd.io/remote-discovery",
            ]),
            annotations: map(&[
                "team",
                "kubectl.kubernetes.io/last-applied-configuration",
                "multicluster.linkerd.io/local-discovery",
                "linkerd.io/inject",
                "config.linkerd.io/opaque-ports",
                "service.kubernetes.io/topology-mode",
            ]),
            ..RemoteService::default()
        };
        let link = LinkSpec {
            excluded_annotations: Some(vec!["config.linkerd.io/*".into()]),
            ..LinkSpec::default()
        };
        assert_eq!(imported_labels(&service, None), map(&["app"]));
        assert_eq!(
            imported_annotations(&service, Some(&link)),
            map(&["team", "config.linkerd.io/opaque-ports"])
        );
    }
}
