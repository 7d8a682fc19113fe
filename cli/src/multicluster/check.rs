//! `mesh multicluster check`: the extension and every link, each claim with cause and remedy.

use super::gateways;
use crate::{
    checks::{CheckFormat, Outcome, Report},
    cluster::{ClusterArgs, explain},
    installation,
};
use anyhow::{Context as _, bail};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use mesh_api::link::Link;
use mesh_contract::{labels, names};
use mesh_tls::TrustAnchors;
use std::{collections::BTreeSet, time::Duration};

/// Flags of `mesh multicluster check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS)]
    namespace: String,

    /// Seconds to wait for the API server of a linked cluster
    #[arg(long, default_value = "10", value_name = "SECONDS")]
    timeout: u64,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: CheckFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let mut report = Report::default();
    let namespace = &args.namespace;
    let links: Api<Link> = Api::namespaced(client.clone(), namespace);
    let links = report.require(
        "Link CRD exists and Links can be read",
        links
            .list(&ListParams::default())
            .await
            .map_err(|e| explain(e, &format!("cannot list Links in {namespace}"))),
        "install the extension: mesh multicluster install | kubectl apply -f -",
    );
    report.require(
        "the service mirror is running",
        mirror_runs(&client, namespace).await,
        format!(
            "look at its pod: kubectl -n {namespace} describe pod -l {}={}",
            labels::COMPONENT,
            names::SERVICE_MIRROR
        ),
    );
    if let Some(links) = links {
        let timeout = Duration::from_secs(args.timeout);
        for link in &links {
            check_link(&mut report, &client, cluster, link, timeout).await;
        }
        check_gateways(&mut report, &client, namespace).await;
        let clusters: BTreeSet<_> = links.iter().map(|link| link.name_any()).collect();
        check_mirrors(&mut report, &client, &clusters).await;
    }
    report.finish("linkerd-multicluster", args.output)
}

async fn mirror_runs(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = api.get(names::SERVICE_MIRROR).await.map_err(|e| {
        explain(
            e,
            &format!("cannot read {namespace}/{}", names::SERVICE_MIRROR),
        )
    })?;
    match deployment.status.and_then(|s| s.available_replicas) {
        Some(available) if available > 0 => Ok(()),
        _ => bail!(
            "the Deployment {namespace}/{} has no available pod",
            names::SERVICE_MIRROR
        ),
    }
}

async fn check_link(
    report: &mut Report,
    client: &Client,
    cluster: &ClusterArgs,
    link: &Link,
    timeout: Duration,
) {
    let name = link.name_any();
    let relink = format!(
        "link it again: mesh multicluster link --context {name} --cluster-name {name} | kubectl \
         apply -f -"
    );
    let remote = tokio::time::timeout(timeout, remote_client(client, link)).await;
    let remote = remote.unwrap_or_else(|_| Err(anyhow::anyhow!("timed out after {timeout:?}")));
    let Some(remote) = report.require(
        format!("{name}: the cluster is reachable and its credentials are accepted"),
        remote,
        relink,
    ) else {
        return;
    };
    let shared = tokio::time::timeout(timeout, share_anchors(client, &remote, cluster, link)).await;
    report.require(
        format!("{name}: the clusters share a trust anchor"),
        shared.unwrap_or_else(|_| Err(anyhow::anyhow!("timed out after {timeout:?}"))),
        "install both clusters with the same --identity-trust-anchors-file",
    );
}

/// A client made from the Link's Secret that has listed a Service.
async fn remote_client(client: &Client, link: &Link) -> anyhow::Result<Client> {
    let namespace = link.namespace().unwrap_or_default();
    let secret = link
        .spec
        .cluster_credentials_secret
        .as_deref()
        .context("the Link names no clusterCredentialsSecret")?;
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let data = api
        .get(secret)
        .await
        .map_err(|e| explain(e, &format!("cannot read the Secret {namespace}/{secret}")))?
        .data
        .and_then(|mut data| data.remove(names::CREDENTIALS_SECRET_KEY))
        .with_context(|| {
            format!(
                "the Secret {namespace}/{secret} has no key {}",
                names::CREDENTIALS_SECRET_KEY
            )
        })?;
    let text = String::from_utf8(data.0).context("the kubeconfig in the Secret is not text")?;
    let kubeconfig =
        Kubeconfig::from_yaml(&text).context("the Secret's kubeconfig is malformed")?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let remote = Client::try_from(config)?;
    Api::<Service>::all(remote.clone())
        .list(&ListParams::default().limit(1))
        .await
        .map_err(|e| explain(e, "cannot list Services there"))?;
    Ok(remote)
}

/// Bundles may differ during a rotation: one anchor in common is what traffic needs.
async fn share_anchors(
    local: &Client,
    remote: &Client,
    cluster: &ClusterArgs,
    link: &Link,
) -> anyhow::Result<()> {
    let remote_ns = link.spec.target_cluster_linkerd_namespace.clone();
    let remote_ns = remote_ns.as_deref().unwrap_or(names::CONTROL_PLANE_NS);
    let ours = installation::values(local, &cluster.control_plane_ns).await?;
    let theirs = installation::values(remote, remote_ns).await?;
    let ours = TrustAnchors::from_pem(&ours.identity_trust_anchors_pem)?;
    let theirs = TrustAnchors::from_pem(&theirs.identity_trust_anchors_pem)?;
    if !ours.overlaps(&theirs) {
        bail!("no certificate is in both trust bundles, so mTLS between the clusters must fail");
    }
    Ok(())
}

async fn check_gateways(report: &mut Report, client: &Client, namespace: &str) {
    let rows = match gateways::rows(client, namespace).await {
        Ok(rows) => rows,
        Err(error) => {
            report.require("gateways are known", Err::<(), _>(error), "see above");
            return;
        }
    };
    for row in rows {
        let name = &row.cluster_name;
        let result = match (row.unknown, row.alive) {
            (true, _) => Err(anyhow::anyhow!("it has not been probed yet")),
            (false, false) => Err(anyhow::anyhow!("its probes through mTLS fail")),
            (false, true) => Ok(()),
        };
        report.require(
            format!("{name}: the gateway answers on the data path"),
            result,
            format!("kubectl -n {namespace} get link {name} -o yaml shows the last probe's error"),
        );
    }
}

async fn check_mirrors(report: &mut Report, client: &Client, clusters: &BTreeSet<String>) {
    let selector = ListParams::default().labels(&format!("{}=true", labels::MIRRORED_SERVICE));
    let services = Api::<Service>::all(client.clone()).list(&selector).await;
    let slices = Api::<EndpointSlice>::all(client.clone())
        .list(&selector)
        .await;
    let (services, slices) = match (services, slices) {
        (Ok(services), Ok(slices)) => (services, slices),
        (Err(error), _) | (_, Err(error)) => {
            let error = explain(error, "cannot list mirrored Services");
            report.require(
                "mirrored Services can be read",
                Err::<(), _>(error),
                "check your role",
            );
            return;
        }
    };
    let ready: BTreeSet<_> = slices
        .iter()
        .filter(|slice| {
            slice.endpoints.iter().any(|endpoint| {
                endpoint
                    .conditions
                    .as_ref()
                    .and_then(|c| c.ready)
                    .unwrap_or(true)
            })
        })
        .filter_map(|slice| {
            Some((
                slice.namespace()?,
                slice.labels().get(labels::SERVICE_NAME)?.clone(),
            ))
        })
        .collect();
    for service in &services {
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let Some(cluster) = service.labels().get(labels::MIRROR_CLUSTER_NAME) else {
            continue; // a federated service: its local member may be all it has
        };
        if !clusters.contains(cluster) {
            report.add(
                format!("{namespace}/{name} is part of a Link"),
                Outcome::Warning {
                    cause: format!("it mirrors the cluster {cluster:?}, which is not linked"),
                    remedy: "the service mirror removes it once it runs; else delete it".into(),
                },
            );
        } else if !ready.contains(&(namespace.clone(), name.clone())) {
            report.add(
                format!("{namespace}/{name} has endpoints that are ready"),
                Outcome::Error {
                    cause: "no endpoint is ready: the service or its gateway is down there".into(),
                    remedy: format!("look at the service in the cluster {cluster:?}"),
                },
            );
        }
    }
    report.add(
        format!("{} mirrored Services were looked at", services.items.len()),
        Outcome::Success,
    );
}
