//! `mesh multicluster gateways`: the gateways of linked clusters, as the mirror probes them.

use super::{duration, name};
use crate::{
    cluster::{ClusterArgs, explain},
    output::{self, DataFormat},
};
use anyhow::bail;
use kube::{Api, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_contract::names;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Flags of `mesh multicluster gateways`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only this cluster's gateway
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,

    /// Namespace of the multicluster extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = name)]
    namespace: String,

    /// How long to wait for the first probe of every gateway
    #[arg(short, long, default_value = "30s", value_name = "TIME", value_parser = duration)]
    wait: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

/// One gateway.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) cluster_name: String,
    pub(crate) alive: bool,
    pub(crate) number_of_services: u64,
    /// Milliseconds of the last successful probe.
    pub(crate) latency: Option<u64>,
    /// No probe has finished yet.
    #[serde(skip)]
    pub(crate) unknown: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let deadline = Instant::now() + args.wait;
    let rows = loop {
        let mut rows = rows(&client, &args.namespace).await?;
        if let Some(name) = &args.cluster_name {
            let known: Vec<_> = rows.iter().map(|row| row.cluster_name.clone()).collect();
            rows.retain(|row| &row.cluster_name == name);
            if rows.is_empty() {
                bail!(
                    "no cluster {name:?} is linked through a gateway; those that are: {}",
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                );
            }
        }
        if rows.iter().all(|row| !row.unknown) || Instant::now() >= deadline {
            break rows;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    if rows.is_empty() {
        eprintln!(
            "mesh: no cluster is linked through a gateway in the namespace {}",
            args.namespace
        );
    }
    print(&rows, args.output)
}

/// The gateways of every Link, read from the Links' status.
pub(crate) async fn rows(client: &kube::Client, namespace: &str) -> anyhow::Result<Vec<Row>> {
    let api: Api<Link> = Api::namespaced(client.clone(), namespace);
    let links = api
        .list(&ListParams::default())
        .await
        .map_err(|error| explain(error, &format!("cannot read the Links of {namespace}")))?;
    let mut rows: Vec<_> = links
        .iter()
        .filter(|link| {
            !link
                .spec
                .gateway_address
                .as_deref()
                .unwrap_or_default()
                .is_empty()
        })
        .map(row)
        .collect();
    rows.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    Ok(rows)
}

fn row(link: &Link) -> Row {
    let gateway = link
        .status
        .as_ref()
        .and_then(|status| status.gateway.as_ref());
    let alive = gateway.map(|g| g.alive.as_str());
    Row {
        cluster_name: link.name_any(),
        alive: alive == Some("True"),
        number_of_services: gateway
            .and_then(|g| u64::try_from(g.services).ok())
            .unwrap_or(0),
        latency: gateway
            .and_then(|g| g.latency_ms)
            .and_then(|ms| u64::try_from(ms).ok()),
        unknown: !matches!(alive, Some("True" | "False")),
    }
}

/// Prints the rows.
pub(crate) fn print(rows: &[Row], format: DataFormat) -> anyhow::Result<()> {
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let alive = match (row.unknown, row.alive) {
                (true, _) => "Unknown",
                (false, true) => "True",
                (false, false) => "False",
            };
            let latency = match (row.alive, row.latency) {
                (true, Some(ms)) => format!("{ms}ms"),
                _ => "-".to_owned(),
            };
            vec![
                row.cluster_name.clone(),
                alive.to_owned(),
                row.number_of_services.to_string(),
                latency,
            ]
        })
        .collect();
    output::data(
        format,
        &rows,
        &["CLUSTER", "ALIVE", "NUM_SVC", "LATENCY"],
        &cells,
    )
}
