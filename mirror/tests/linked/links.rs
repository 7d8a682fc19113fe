//! Links that do not work say why and what to do; the others go on; and what is repaired works
//! without a restart.

use crate::sandbox::{Cluster, Mirror, Setup};
use mesh_tls::testing::Ca;
use serde_json::json;

/// Proof that the mirror works on: something new of north appears.
async fn others_go_on(west: &Cluster, north: &Cluster, name: &str) {
    north.export(name).await;
    west.sees_slice(&format!("{name}-north"), |_| true).await;
}

async fn three() -> (Cluster, Cluster, Cluster) {
    let clusters = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
        Cluster::start("north").await,
    );
    clusters.0.link(&clusters.2).await;
    clusters.1.export("web").await;
    clusters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_and_its_arrival_is_enough() {
    let (west, east, north) = three().await;
    let _mirror = Mirror::start(&west).await;
    west.create_link("east", json!({})).await;
    let condition = west
        .condition("east", "Connected", "False", "InvalidCredentials")
        .await;
    let named = "linkerd-multicluster/cluster-credentials-east";
    assert!(condition.message.contains(named), "{}", condition.message);
    assert!(
        condition.message.contains("mesh multicluster link"),
        "{}",
        condition.message
    );
    others_go_on(&west, &north, "one").await;

    west.secret("east", &east.kubeconfig(None)).await;
    west.condition("east", "Connected", "True", "Watching")
        .await;
    west.sees_slice("web-east", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_kubeconfig_is_named_and_its_repair_is_enough() {
    let (west, east, north) = three().await;
    let _mirror = Mirror::start(&west).await;
    west.secret("east", "clusters: [").await;
    west.create_link("east", json!({})).await;
    let condition = west
        .condition("east", "Connected", "False", "InvalidCredentials")
        .await;
    assert!(
        condition.message.contains("cluster-credentials-east")
            && condition.message.contains("malformed"),
        "{}",
        condition.message
    );
    others_go_on(&west, &north, "one").await;

    west.secret("east", &east.kubeconfig(None)).await;
    west.sees_slice("web-east", |_| true).await;
    west.condition("east", "Connected", "True", "Watching")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_and_new_credentials_need_no_restart() {
    let (west, east, north) = three().await;
    let _mirror = Mirror::start(&west).await;
    let good = east.kubeconfig(None);
    let bad: Vec<_> = good
        .lines()
        .map(|line| match line.split_once("token:") {
            Some((indent, _)) => format!("{indent}token: refused"),
            None => line.to_owned(),
        })
        .collect();
    assert_ne!(bad.join("\n"), good.trim_end());
    west.secret("east", &bad.join("\n")).await;
    west.create_link("east", json!({})).await;
    let condition = west
        .condition("east", "Connected", "False", "Unauthorized")
        .await;
    assert!(
        condition.message.contains("link the cluster again"),
        "{}",
        condition.message
    );
    others_go_on(&west, &north, "one").await;

    west.secret("east", &good).await;
    west.sees_slice("web-east", |_| true).await;
    west.condition("east", "Connected", "True", "Watching")
        .await;

    // Credentials that go bad later take nothing away.
    west.secret("east", &bad.join("\n")).await;
    west.condition("east", "Connected", "False", "Unauthorized")
        .await;
    others_go_on(&west, &north, "two").await;
    west.services().get("web-east").await.unwrap();
    west.slices().get("web-east").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_cannot_be_reached_is_told_until_it_can() {
    let (west, east, north) = three().await;
    let wire = east.wire().await;
    wire.cut();
    let _mirror = Mirror::start(&west).await;
    west.secret("east", &east.kubeconfig(Some(&wire))).await;
    west.create_link("east", json!({})).await;
    let condition = west
        .condition("east", "Connected", "False", "Unreachable")
        .await;
    assert!(
        condition.message.contains("credentials Secret"),
        "{}",
        condition.message
    );
    others_go_on(&west, &north, "one").await;

    wire.mend();
    west.condition("east", "Connected", "True", "Watching")
        .await;
    west.sees_slice("web-east", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_name_that_does_not_resolve_is_told_until_it_does() {
    let (west, east, north) = three().await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let path = hosts.path().to_path_buf();
    let hosts_of = |setup: &mut Setup| setup.hosts = Some(path);
    let _mirror = Mirror::with(&west, west.client.clone(), hosts_of).await;
    west.secret("east", &east.kubeconfig(None)).await;
    west.create_link("east", json!({"gatewayAddress": "gateway.east.invalid"}))
        .await;
    let condition = west
        .condition("east", "GatewayResolved", "False", "NotResolved")
        .await;
    assert!(
        condition.message.contains("gateway.east.invalid")
            && condition.message.contains("gatewayAddress"),
        "{}",
        condition.message
    );
    others_go_on(&west, &north, "one").await;

    std::fs::write(hosts.path(), "192.0.2.7 gateway.east.invalid\n").unwrap();
    west.condition("east", "GatewayResolved", "True", "Resolved")
        .await;
    let slice = west.sees_slice("web-east", |_| true).await;
    assert_eq!(slice.endpoints[0].addresses, ["192.0.2.7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_trusted_is_told() {
    let (west, east, _north) = three().await;
    let _mirror = Mirror::start(&west).await;
    west.secret("east", &east.kubeconfig(None)).await;
    west.create_link("east", json!({"gatewayPort": "gateway"}))
        .await;
    let condition = west
        .condition("east", "GatewayAlive", "False", "InvalidGateway")
        .await;
    assert!(
        condition.message.contains("gatewayPort"),
        "{}",
        condition.message
    );
    west.told("east", "web", "InvalidService").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_trust_is_shared_is_told() {
    let (west, east) = (
        Cluster::importing("west").await,
        Cluster::start("east").await,
    );
    let (ours, theirs) = (Ca::new("ours").0.cert_pem(), Ca::new("theirs").0.cert_pem());
    let anchors = ours.clone();
    let _mirror = Mirror::with(&west, west.client.clone(), |setup| setup.anchors = anchors).await;
    for (namespace, bundle) in [
        ("same", ours.clone()),
        ("overlapping", format!("{theirs}{ours}")),
        ("foreign", theirs),
        ("garbage", "not PEM".to_owned()),
    ] {
        east.trust_roots(namespace, &bundle).await;
    }
    west.secret("east", &east.kubeconfig(None)).await;
    for namespace in ["same", "overlapping", "foreign", "garbage", "absent"] {
        let spec = json!({
            "targetClusterLinkerdNamespace": namespace,
            "clusterCredentialsSecret": "cluster-credentials-east",
        });
        west.create_link(namespace, spec).await;
    }
    west.condition("same", "TrustShared", "True", "SharedAnchor")
        .await;
    west.condition("overlapping", "TrustShared", "True", "SharedAnchor")
        .await;
    let condition = west
        .condition("foreign", "TrustShared", "False", "ForeignAnchors")
        .await;
    let remedy = "--identity-trust-anchors-file";
    assert!(condition.message.contains(remedy), "{}", condition.message);
    for unreadable in ["garbage", "absent"] {
        let condition = west
            .condition(unreadable, "TrustShared", "Unknown", "Unreadable")
            .await;
        let named = format!("{unreadable}/linkerd-identity-trust-roots");
        assert!(condition.message.contains(&named), "{}", condition.message);
    }

    // What was not there is looked for again.
    let bundle = east
        .api::<k8s_openapi::api::core::v1::ConfigMap>("same")
        .get("linkerd-identity-trust-roots")
        .await
        .unwrap();
    east.trust_roots("absent", &bundle.data.unwrap()["ca-bundle.crt"])
        .await;
    west.condition("absent", "TrustShared", "True", "SharedAnchor")
        .await;
}
