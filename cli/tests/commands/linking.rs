//! Clusters linked by what the commands print, and nothing else: also what the printed roles allow.

use crate::sandbox::{Cluster, Files, eventually};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Secret, Service, ServiceAccount},
    events::v1::Event,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use mesh_api::link::Link;
use mesh_daemon::{Trigger, net::Resolver};
use mesh_tls::ca::Anchor;
use mesh_watch::MemberArgs;
use serde_json::json;
use std::time::Duration;

const NS: &str = "linkerd-multicluster";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A cluster with control plane and extension, as printed, under `anchor`.
pub(crate) async fn installed(name: &str, anchor: &Anchor) -> Cluster {
    let (cluster, files) = (Cluster::start(name).await, Files::new());
    let issuer = anchor.issuer("issuer", YEAR).unwrap();
    let install = [
        "install",
        "--identity-trust-anchors-file",
        &files.file("anchor", &anchor.cert_pem()),
        "--identity-issuer-certificate-file",
        &files.file("crt", &issuer.cert_pem()),
        "--identity-issuer-key-file",
        &files.file("key", &issuer.key_pem()),
    ];
    cluster.apply(&cluster.mesh(&install).await.out()).await;
    cluster.run_pods("linkerd").await;
    cluster
        .apply(&cluster.mesh(&["multicluster", "install"]).await.out())
        .await;
    // There is no node here, which would give the gateway its address.
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), NS);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "127.65.0.1"}]}}});
    let (params, status) = (PatchParams::default(), Patch::Merge(status));
    let patched = services.patch_status("linkerd-gateway", &params, &status);
    patched.await.unwrap();
    cluster
}

pub(crate) fn anchor() -> Anchor {
    Anchor::generate("root", YEAR).unwrap()
}

/// What links to `cluster` as `name`; waits for what a cluster does a moment after an install.
pub(crate) async fn link_to(cluster: &Cluster, name: &str) -> String {
    eventually(async || {
        let said = cluster
            .mesh(&["multicluster", "link", "--cluster-name", name])
            .await;
        let code = said.code;
        if code == Some(0) {
            Ok(said.out)
        } else {
            Err(said.err)
        }
    })
    .await
}

/// The mirror of `cluster`, as the account that the extension gives it.
async fn mirror(cluster: &Cluster, anchor: &Anchor) -> Trigger {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), NS);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request("linkerd-service-mirror", &PostParams::default(), &request)
        .await
        .unwrap();
    let client = cluster.account(&token.status.unwrap().token).await;
    let elsewhere: Api<Secret> = Api::namespaced(client.clone(), "linkerd");
    let refused = elsewhere.list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("forbidden"), "{refused}");
    let args = mesh_mirror::Args {
        namespace: NS.to_owned(),
        member: MemberArgs {
            controller_namespace: "linkerd".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            identity_addr: "127.0.0.1:1".to_owned(),
            identity_token_file: "/nonexistent".into(),
            trust_anchors: Some(anchor.cert_pem()),
            trust_anchors_file: None,
            service_account: None,
        },
        pod_name: "mirror".to_owned(),
        enable_headless_services: false,
        admin_addr: ([127, 0, 0, 1], 0).into(),
    };
    let (stop, shutdown) = mesh_daemon::shutdown();
    tokio::spawn(mesh_mirror::serve(
        client,
        Resolver::new(None),
        args,
        shutdown,
    ));
    stop
}

pub(crate) async fn export(cluster: &Cluster, name: &str) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {"mirror.linkerd.io/exported": "true"},
        },
        "spec": {"ports": [{"port": 80}]},
    });
    cluster.apply(&service.to_string()).await;
}

async fn appears(cluster: &Cluster, name: &str) {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    eventually(async || match services.get_opt(name).await {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("the Service {name}, but {other:?}")),
    })
    .await;
}

async fn condition(cluster: &Cluster, link: &str, type_: &str, status: &str) {
    let links: Api<Link> = Api::namespaced(cluster.client.clone(), NS);
    eventually(async || {
        let link = links.get(link).await.map_err(|e| e.to_string())?;
        let conditions = link.status.unwrap_or_default().conditions;
        let found = conditions
            .iter()
            .any(|c| c.type_ == type_ && c.status == status);
        found
            .then_some(())
            .ok_or_else(|| format!("{type_}={status}, but {conditions:#?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_linked_as_printed_mirror_with_no_more_rights_than_printed() {
    let anchor = anchor();
    let (west, east) = (
        installed("west", &anchor).await,
        installed("east", &anchor).await,
    );
    let text = link_to(&east, "east").await;
    assert!(!text.contains(&std::fs::read_to_string(&east.kubeconfig).unwrap()));
    west.apply(&text).await;
    let _mirror = mirror(&west, &anchor).await;
    export(&east, "web").await;
    appears(&west, "web-east").await;
    for type_ in ["Connected", "TrustShared", "GatewayResolved"] {
        condition(&west, "east", type_, "True").await;
    }
    // Also what goes wrong can be told.
    export(&east, &"w".repeat(60)).await;
    let events: Api<Event> = Api::namespaced(west.client.clone(), NS);
    eventually(async || {
        let list = events
            .list(&Default::default())
            .await
            .map_err(|e| e.to_string())?;
        let told = list
            .iter()
            .any(|e| e.reason.as_deref() == Some("InvalidService"));
        told.then_some(())
            .ok_or_else(|| "an Event InvalidService".to_owned())
    })
    .await;

    let table = west
        .mesh(&["multicluster", "gateways", "--wait", "0"])
        .await
        .out();
    assert!(table.contains("east"), "{table}");
    let unlink = ["multicluster", "unlink", "--cluster-name", "east"];
    let text = west.mesh(&unlink).await.out();
    let kinds: Vec<_> = crate::sandbox::documents(&text)
        .iter()
        .map(|d| format!("{} {}", d["kind"], d["metadata"]["name"]).replace('"', ""))
        .collect();
    assert_eq!(kinds, ["Link east", "Secret cluster-credentials-east"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_written_for_an_older_release_is_taken_as_it_is() {
    let anchor = anchor();
    let (west, east) = (
        installed("west", &anchor).await,
        installed("east", &anchor).await,
    );
    let printed = link_to(&east, "east").await;
    let secret = crate::sandbox::documents(&printed)
        .into_iter()
        .find(|d| d["kind"] == "Secret")
        .unwrap();
    west.apply(&secret.to_string()).await;
    west.apply(
        r#"
apiVersion: multicluster.linkerd.io/v1alpha1
kind: Link
metadata:
  name: east
  namespace: linkerd-multicluster
spec:
  targetClusterName: east
  targetClusterDomain: cluster.local
  targetClusterLinkerdNamespace: linkerd
  clusterCredentialsSecret: cluster-credentials-east
  gatewayAddress: gateway-east.example.com
  gatewayPort: 4143
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  probeSpec:
    path: /ready
    port: 4191
    period: 3s
  selector:
    matchLabels:
      mirror.linkerd.io/exported: "true"
"#,
    )
    .await;
    let _mirror = mirror(&west, &anchor).await;
    export(&east, "payment-service").await;
    appears(&west, "payment-service-east").await;
    condition(&west, "east", "Connected", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_cannot_be_made_says_what_is_missing() {
    let cluster = Cluster::start("east").await;
    cluster.apply(&cluster.mesh(&["install"]).await.out()).await;
    cluster.run_pods("linkerd").await;
    let link = ["multicluster", "link", "--cluster-name", "east"];
    let said = cluster.mesh(&link).await;
    said.fails_with(&["has no token Secret", "mesh multicluster install"]);

    let plain = ["multicluster", "install", "--gateway=false"];
    cluster.apply(&cluster.mesh(&plain).await.out()).await;
    let without = [&link[..], &["--gateway=false"]].concat();
    eventually(async || {
        let said = cluster.mesh(&without).await;
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(said.err)
        }
    })
    .await;
    let said = cluster.mesh(&link).await;
    said.fails_with(&["linkerd-multicluster/linkerd-gateway"]);

    // A gateway that nothing gives an address.
    let internal = [
        "multicluster",
        "install",
        "--gateway-service-type",
        "ClusterIP",
    ];
    cluster.apply(&cluster.mesh(&internal).await.out()).await;
    let said = cluster.mesh(&link).await;
    said.fails_with(&["no load balancer address", "--gateway-addresses"]);
    let given = [
        &link[..],
        &["--gateway-addresses", "192.0.2.7,gw.example.com"],
    ]
    .concat();
    let text = cluster.mesh(&given).await.out();
    assert!(text.contains("192.0.2.7,gw.example.com"), "{text}");

    let unknown = [&link[..], &["--service-account-name", "nobody"]].concat();
    let said = cluster.mesh(&unknown).await;
    said.fails_with(&["linkerd-multicluster/nobody", "--service-account-name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_what_is_not_linked_names_what_is() {
    let cluster = installed("west", &anchor()).await;
    let unlink = ["multicluster", "unlink", "--cluster-name", "east"];
    cluster
        .mesh(&unlink)
        .await
        .fails_with(&["no Link", "east", "none"]);
    cluster.apply(&link_to(&cluster, "north").await).await;
    cluster
        .mesh(&unlink)
        .await
        .fails_with(&["no Link", "east", "linked clusters: north"]);
}
