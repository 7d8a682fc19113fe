//! `mesh diagnostics endpoints`: asks `Destination.Get`.

use super::AsWorkload;
use crate::{
    cluster::ClusterArgs,
    output::{self, DataFormat},
};
use anyhow::{Context as _, bail};
use linkerd2_proxy_api::destination::{
    GetDestination, Update, destination_client::DestinationClient, tls_identity, update,
};
use mesh_contract::{names, ports};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// How long to wait for the first answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `mesh diagnostics endpoints`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names with ports, such as web.default.svc.cluster.local:80
    #[arg(required = true, value_name = "NAME:PORT")]
    authorities: Vec<String>,

    #[command(flatten)]
    workload: AsWorkload,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

/// One endpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    authority: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority_override: Option<String>,
    weight: u32,
    labels: BTreeMap<String, String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let workload = args.workload.certify(cluster).await?;
    let channel = workload.destination(names::DST_HEADLESS, ports::DESTINATION)?;
    let mut client = DestinationClient::new(channel);
    let mut endpoints = Vec::new();
    for authority in &args.authorities {
        let request = GetDestination {
            path: authority.clone(),
            ..GetDestination::default()
        };
        let update = tokio::time::timeout(TIMEOUT, async {
            let mut stream = client.get(request).await?.into_inner();
            stream.message().await
        })
        .await
        .with_context(|| format!("{authority}: no answer within {TIMEOUT:?}"))?;
        match update {
            Ok(Some(Update {
                update: Some(update::Update::NoEndpoints(none)),
            })) => {
                if !none.exists {
                    bail!("{authority}: there is no Service of that name");
                }
                eprintln!(
                    "{authority}: no endpoint: is the port one of the Service's, and a pod ready?"
                );
            }
            Ok(Some(update)) => endpoints.extend(of_update(authority, update)),
            Ok(None) => bail!("{authority}: the control plane ended the stream without an answer"),
            Err(status) => bail!(
                "{authority}: {} ({:?}). Is the Service there, and the port one of its ports?",
                status.message(),
                status.code()
            ),
        }
    }
    let rows: Vec<_> = endpoints.iter().map(row).collect();
    let header = ["AUTHORITY", "ADDRESS", "TARGET", "IDENTITY"];
    output::data(args.output, &endpoints, &header, &rows)
}

fn row(endpoint: &Endpoint) -> Vec<String> {
    let target = endpoint
        .authority_override
        .clone()
        .map(|name| format!("{name} (gateway)"))
        .or_else(|| endpoint.labels.get("pod").cloned())
        .unwrap_or_else(|| "-".to_owned());
    vec![
        endpoint.authority.clone(),
        endpoint.address.clone(),
        target,
        endpoint.identity.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn of_update(authority: &str, update: Update) -> Vec<Endpoint> {
    let Some(update::Update::Add(set)) = update.update else {
        return Vec::new();
    };
    set.addrs
        .into_iter()
        .map(|endpoint| {
            let mut labels: BTreeMap<_, _> = set.metric_labels.clone().into_iter().collect();
            labels.extend(endpoint.metric_labels);
            let address = endpoint
                .addr
                .and_then(|addr| std::net::SocketAddr::try_from(addr).ok())
                .map_or_else(|| "?".to_owned(), |addr| addr.to_string());
            let identity = endpoint
                .tls_identity
                .and_then(|id| id.strategy)
                .map(|s| match s {
                    tls_identity::Strategy::DnsLikeIdentity(id) => id.name,
                    tls_identity::Strategy::UriLikeIdentity(id) => id.uri,
                });
            Endpoint {
                authority: authority.to_owned(),
                address,
                identity,
                authority_override: endpoint.authority_override.map(|a| a.authority_override),
                weight: endpoint.weight,
                labels,
            }
        })
        .collect()
}
