//! Whether two clusters share a trust anchor, without which mTLS between them must fail.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use mesh_contract::names;
use mesh_tls::TrustAnchors;
use mesh_watch::said;

/// Reads the other cluster's trust bundle and compares it with `ours`, by content: bundles that
/// overlap are fine, as during a rotation.
pub(crate) async fn shared(
    remote: &Client,
    remote_namespace: &str,
    ours: TrustAnchors,
) -> Result<bool, String> {
    let api: Api<ConfigMap> = Api::namespaced(remote.clone(), remote_namespace);
    let name = format!("{remote_namespace}/{}", names::TRUST_ROOTS);
    let map = api
        .get(names::TRUST_ROOTS)
        .await
        .map_err(|error| format!("cannot read its ConfigMap {name}: {}", said(&error)))?;
    let bundle = map
        .data
        .as_ref()
        .and_then(|data| data.get(names::TRUST_ROOTS_KEY));
    let bundle = bundle
        .ok_or_else(|| format!("its ConfigMap {name} has no key {}", names::TRUST_ROOTS_KEY))?;
    let theirs = TrustAnchors::from_pem(bundle)
        .map_err(|error| format!("its trust bundle in {name} is unusable: {error}"))?;
    Ok(ours.overlaps(&theirs))
}
