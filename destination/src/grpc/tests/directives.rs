//! Directives on the wire, beside the policies.

use super::*;
use crate::sandbox::{annotated, gateway_service, object};
use mesh_api::policy::ClientRestriction;
use serde_json::json;

fn deny(name: &str) -> ClientRestriction {
    object(json!({
        "metadata": {"name": name},
        "spec": {"identities": ["bad.example"], "deny": true}
    }))
}

#[tokio::test]
async fn a_restriction_reaches_whoever_listens() {
    let served = Served::new(Sandbox::new()).await;
    let mut stream = served.workload().directives().await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(first.restrictions, [], "nobody is, and that is said");
    served.sandbox.apply(deny("compromised"));
    let second = next(&mut stream).await.unwrap();
    assert_eq!(second.restrictions[0].name, "compromised");
    served
        .sandbox
        .delete::<ClientRestriction>("", "compromised");
    assert_eq!(next(&mut stream).await.unwrap(), first);
}

#[tokio::test]
async fn a_lease_is_renewed_before_it_ends_and_only_the_gateways() {
    let sandbox = Sandbox::new();
    let lease = annotated(gateway_service(), "federation.mesh.io/export-lease", "10s");
    sandbox.apply(lease);
    let served = Served::new(sandbox).await;
    let mut gateway = served.gateway().directives().await.unwrap();
    let first = next(&mut gateway).await.unwrap();
    assert_eq!(first.lease_seconds, 10);
    // Nothing has changed; it is said again, sooner than the lease ends.
    assert_eq!(next(&mut gateway).await.unwrap(), first);
    let mut workload = served.workload().directives().await.unwrap();
    assert_eq!(next(&mut workload).await.unwrap().lease_seconds, 0);
}

#[tokio::test]
async fn methods_of_other_processes_are_unimplemented_here() {
    let served = Served::new(Sandbox::new()).await;
    let channel = served.workload().policies;
    let question = mesh_federation::WatchTrustBundleRequest {};
    let asked = mesh_federation::watch::<mesh_federation::WatchTrustBundle>(channel, question);
    assert_eq!(code(asked.await.map(drop)), Code::Unimplemented);
}
