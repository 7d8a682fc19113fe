//! Reads what is installed in a cluster: the values, and what sidecars are injected with.

use crate::cluster::explain;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use mesh_contract::names;
use mesh_install::values::Values;

/// The values a cluster was installed with, trust anchors included.
pub(crate) async fn values(client: &Client, namespace: &str) -> anyhow::Result<Values> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let config = config_map(&api, namespace, names::CONFIG).await?;
    let text = key(&config, namespace, names::CONFIG, "values")?;
    let mut values = mesh_install::values::read(&text).with_context(|| {
        format!(
            "the ConfigMap {namespace}/{} does not hold values",
            names::CONFIG
        )
    })?;
    let roots = config_map(&api, namespace, names::TRUST_ROOTS).await?;
    values.identity_trust_anchors_pem = key(
        &roots,
        namespace,
        names::TRUST_ROOTS,
        names::TRUST_ROOTS_KEY,
    )?;
    Ok(values)
}

async fn config_map(
    api: &Api<ConfigMap>,
    namespace: &str,
    name: &str,
) -> anyhow::Result<ConfigMap> {
    api.get(name).await.map_err(|error| {
        if matches!(&error, kube::Error::Api(status) if status.code == 404) {
            return anyhow::anyhow!(
                "there is no control plane in the namespace {namespace} of that cluster (it has no \
                 ConfigMap {name}): install one (mesh install), name its namespace \
                 (--linkerd-namespace), or choose another context"
            );
        }
        explain(
            error,
            &format!("cannot read the ConfigMap {namespace}/{name}"),
        )
    })
}

fn key(map: &ConfigMap, namespace: &str, name: &str, key: &str) -> anyhow::Result<String> {
    map.data
        .as_ref()
        .and_then(|data| data.get(key))
        .cloned()
        .with_context(|| format!("the ConfigMap {namespace}/{name} has no key {key:?}"))
}
