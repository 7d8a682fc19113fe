//! Server-side apply of manifests, as `kubectl apply --server-side -f -` does it.

use crate::cluster::explain;
use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a kind may take to be served after its CRD was applied.
const SERVED_TIMEOUT: Duration = Duration::from_secs(10);

/// Applies `documents` in their order.
pub(super) async fn apply(client: &Client, documents: &[Value]) -> anyhow::Result<()> {
    for document in documents {
        apply_one(client, document).await?;
    }
    Ok(())
}

async fn apply_one(client: &Client, document: &Value) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&document["kind"]);
    let name = text(&document["metadata"]["name"]);
    let what = format!("cannot apply {kind}/{name}");
    let api_version = text(&document["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    let (resource, capabilities) = served(client, &gvk).await.with_context(|| what.clone())?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = document["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    api.patch(
        &name,
        &PatchParams::apply("mesh-demo").force(),
        &Patch::Apply(document),
    )
    .await
    .map_err(|error| explain(error, &what))?;
    Ok(())
}

/// Looks a kind up, waiting for a CRD that was applied a moment ago.
async fn served(
    client: &Client,
    gvk: &GroupVersionKind,
) -> anyhow::Result<(discovery::ApiResource, discovery::ApiCapabilities)> {
    let deadline = Instant::now() + SERVED_TIMEOUT;
    loop {
        match discovery::pinned_kind(client, gvk).await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
