//! Who a pod belongs to: the workload people know, not the ReplicaSet between.
//!
//! The API server is asked, briefly; where it does not answer, names tell nearly as well.

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, Resource};
use serde_json::Value;
use std::{fmt::Debug, time::Duration};

/// Admission waits for this; the API server is next door.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The workload a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Empty where it is not known.
    pub(crate) uid: String,
}

/// The workload of `pod`; `None` for a pod of its own.
pub(crate) async fn of(client: &Client, namespace: &str, pod: &Value) -> Option<Workload> {
    let owner = controller(pod)?;
    let above = match owner.kind.as_str() {
        "ReplicaSet" => parent::<ReplicaSet>(client, namespace, &owner.name).await,
        "Job" => parent::<Job>(client, namespace, &owner.name).await,
        _ => return Some(owner),
    };
    match above {
        Some(above) => above.or(Some(owner)),
        None => Some(guess(pod, owner)),
    }
}

fn controller(pod: &Value) -> Option<Workload> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let text = |key: &str| owner[key].as_str().unwrap_or_default().to_owned();
    Some(Workload {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
    })
}

/// The controller of an object: `None` where it could not be asked, `Some(None)` without one.
async fn parent<K>(client: &Client, namespace: &str, name: &str) -> Option<Option<Workload>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let asked = tokio::time::timeout(TIMEOUT, api.get_metadata(name)).await;
    match asked {
        Ok(Ok(object)) => {
            let owners = object.metadata.owner_references.unwrap_or_default();
            let owner = owners.into_iter().find(|one| one.controller == Some(true));
            Some(owner.map(Workload::from))
        }
        Ok(Err(error)) => {
            tracing::debug!(namespace, name, %error, "cannot ask for a pod's owner");
            None
        }
        Err(_) => None,
    }
}

/// `web-5d4f9c7b8` with the label `pod-template-hash: 5d4f9c7b8` belongs to the Deployment `web`.
fn guess(pod: &Value, owner: Workload) -> Workload {
    let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str();
    let stem = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    match stem {
        Some(stem) if owner.kind == "ReplicaSet" && !stem.is_empty() => Workload {
            kind: "Deployment".to_owned(),
            name: stem.to_owned(),
            uid: String::new(),
            ..owner
        },
        _ => owner,
    }
}

impl From<OwnerReference> for Workload {
    fn from(owner: OwnerReference) -> Self {
        Self {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_replica_sets_name_tells_its_deployment() {
        let pod = |kind: &str, name: &str| {
            json!({"metadata": {
                "labels": {"pod-template-hash": "5d4f9c7b8"},
                "ownerReferences": [
                    {"kind": "Watcher", "name": "x"},
                    {"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true},
                ],
            }})
        };
        for (kind, name, expected) in [
            ("ReplicaSet", "web-5d4f9c7b8", ("Deployment", "web")),
            ("ReplicaSet", "web-other", ("ReplicaSet", "web-other")),
            ("ReplicaSet", "-5d4f9c7b8", ("ReplicaSet", "-5d4f9c7b8")),
            ("StatefulSet", "db", ("StatefulSet", "db")),
        ] {
            let pod = pod(kind, name);
            let owner = guess(&pod, controller(&pod).unwrap());
            assert_eq!((owner.kind.as_str(), owner.name.as_str()), expected);
        }
        assert_eq!(controller(&json!({"metadata": {}})), None);
    }
}
