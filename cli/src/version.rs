//! `mesh version`: the version of this command, and of the control plane it talks to.

use crate::{
    cluster::ClusterArgs,
    installation,
    output::{self, DataFormat},
};
use serde_json::json;

/// Flags of `mesh version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the version of this command only
    #[arg(long)]
    client: bool,

    /// Print the version number only
    #[arg(long)]
    short: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    if args.short && args.client {
        return output::text(&format!("{client}\n"));
    }
    let mut rows = vec![vec!["Client version".to_owned(), client.to_owned()]];
    let mut value = json!({ "client": client });
    if !args.client {
        let server = server(cluster).await.unwrap_or_else(|error| {
            eprintln!("the control plane's version is not known: {error:#}");
            "unavailable".to_owned()
        });
        value["server"] = json!(server);
        rows.push(vec!["Server version".to_owned(), server]);
    }
    output::data(args.output, &value, &["COMPONENT", "VERSION"], &rows)
}

async fn server(cluster: &ClusterArgs) -> anyhow::Result<String> {
    let client = cluster.client().await?;
    Ok(installation::values(&client, &cluster.control_plane_ns)
        .await?
        .linkerd_version)
}
