//! What of another mesh is in a cluster. Everything we make says so; what has our names and does
//! not is Linkerd's.

use crate::cluster::explain;
use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::ConfigMap,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use mesh_contract::{annotations, names};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What to do about it.
pub(crate) const REMEDY: &str = "The two share the names of their resources, so one would take \
    over the other's. Save what you wrote yourself (kubectl get \
    links,servers,authorizationpolicies,meshtlsauthentications,networkauthentications -A -o yaml), \
    remove Linkerd (linkerd multicluster uninstall, linkerd uninstall, each piped to kubectl \
    delete -f -), and install then; or use a cluster without it.";

/// Groups whose resources both define.
const GROUPS: &[&str] = &["linkerd.io", "policy.linkerd.io", "multicluster.linkerd.io"];

/// Whether we made it.
pub(crate) fn is_ours(object: &impl Resource) -> bool {
    let annotations = object.annotations();
    let made_by = annotations.get(annotations::CREATED_BY);
    made_by.is_some_and(|made_by| made_by.starts_with("mesh/"))
}

/// What is told where the survey itself fails.
pub(super) const GO_ON: &str = "cannot tell what is installed already; to print the manifests all \
    the same, add --ignore-cluster";

/// Refuses to take over what another mesh has in the cluster.
pub(crate) async fn refuse_foreign(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let foreign = foreign(client, namespace).await.context(GO_ON)?;
    if !foreign.is_empty() {
        bail!(
            "Linkerd, or what it left, is in this cluster: {}. {REMEDY} To print the manifests all \
             the same, add --ignore-cluster",
            foreign.join(", ")
        );
    }
    Ok(())
}

/// What is there that we did not make, as `kind/name`.
pub(crate) async fn foreign(client: &Client, namespace: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let config: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let config = config.get_opt(names::CONFIG).await;
    let config = config.map_err(|e| explain(e, "cannot look for linkerd-config"))?;
    if config.is_some_and(|config| !is_ours(&config)) {
        found.push(format!("configmap/{namespace}/{}", names::CONFIG));
    }
    for crd in list::<CustomResourceDefinition>(client).await? {
        if GROUPS.contains(&crd.spec.group.as_str()) && !is_ours(&crd) {
            found.push(format!("crd/{}", crd.name_any()));
        }
    }
    for webhook in list::<MutatingWebhookConfiguration>(client).await? {
        if webhook.name_any().starts_with("linkerd-") && !is_ours(&webhook) {
            found.push(format!(
                "mutatingwebhookconfiguration/{}",
                webhook.name_any()
            ));
        }
    }
    for webhook in list::<ValidatingWebhookConfiguration>(client).await? {
        if webhook.name_any().starts_with("linkerd-") && !is_ours(&webhook) {
            found.push(format!(
                "validatingwebhookconfiguration/{}",
                webhook.name_any()
            ));
        }
    }
    Ok(found)
}

async fn list<K>(client: &Client) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let what = format!("cannot list {}", K::plural(&()));
    let listed = Api::<K>::all(client.clone())
        .list(&ListParams::default())
        .await;
    match listed {
        Ok(listed) => Ok(listed.items),
        // An API server that does not know the kind has none.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(explain(error, &what)),
    }
}
