//! `mesh multicluster install`: prints the gateway, the service mirror, and the access of peers.

use super::logs::MirrorLogs;
use crate::{
    check::control_plane::{components, running},
    cluster::ClusterArgs,
    install::survey,
    installation,
    output::{self, ManifestFormat},
};
use anyhow::{Context as _, bail};
use kube::Client;
use mesh_contract::names;
use mesh_daemon::telemetry::LogFormat;
use mesh_install::{
    multicluster,
    values::{Loaded, Values, ValuesArgs, load, put},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the control plane may take to run.
const WAIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);
const NEEDS: &str = "mesh multicluster install adds to a control plane that runs; to print the \
    manifests without asking for one, add --ignore-cluster";

/// Flags of `mesh multicluster install`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    shorthands: ShorthandArgs,

    #[command(flatten)]
    values: ValuesArgs,

    /// Do not look at the cluster, neither for another mesh nor for what the control plane was
    /// installed with; then give the trust anchors yourself: --set-file identityTrustAnchorsPEM=FILE
    #[arg(long)]
    ignore_cluster: bool,

    /// How long to wait for the control plane to run, and, where a time is given, to be installed at
    /// all [default: 300s]
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    wait: Option<Duration>,

    /// Namespace of the extension
    #[arg(long, default_value = names::MULTICLUSTER_NS, value_parser = super::name)]
    namespace: String,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ManifestFormat,
}

/// Flags of their own for the values that are set most; they win over `--set`.
#[derive(Clone, Debug, Default, clap::Args)]
struct ShorthandArgs {
    /// Install the gateway, so that other clusters can reach services of this one [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    gateway: Option<bool>,

    /// Port of the gateway Service for traffic [default: 4143]
    #[arg(long, value_name = "PORT")]
    gateway_port: Option<u16>,

    /// Port of the gateway Service for probes [default: 4191]
    #[arg(long, value_name = "PORT")]
    gateway_probe_port: Option<u16>,

    /// Seconds between probes that importing clusters are asked to keep [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    gateway_probe_seconds: Option<u32>,

    /// Type of the gateway Service: LoadBalancer, NodePort or ClusterIP [default: LoadBalancer]
    #[arg(long, value_name = "TYPE", value_parser = ["LoadBalancer", "NodePort", "ClusterIP"],
          hide_possible_values = true)]
    gateway_service_type: Option<String>,

    /// Node port at which a load balancer asks whether a node has a gateway; 0 is none [default: 0]
    #[arg(long, value_name = "PORT")]
    gateway_healthcheck_nodeport: Option<u16>,

    /// Mirror headless Services of linked clusters as such, with a Service for each endpoint that has
    /// a name
    #[arg(long)]
    enable_headless_services: bool,

    /// Let other clusters' mirrors read Pods here, which they need for Services that are exported pod
    /// to pod
    #[arg(long)]
    remote_discovery: bool,

    /// Create the account and token another cluster's mirror reads this cluster with [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    service_mirror_credentials: Option<bool>,

    #[command(flatten)]
    mirror_logs: MirrorLogs,
}

impl Args {
    /// How the service mirror is to log.
    pub(super) fn mirror_logs(&self) -> &MirrorLogs {
        &self.shorthands.mirror_logs
    }
}

impl ShorthandArgs {
    /// What the flags set, as values.
    fn values(&self) -> Value {
        let mut values = json!({});
        let mut set = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                put(&mut values, path, value);
            }
        };
        set("gateway.enabled", self.gateway.map(Value::from));
        set("gateway.port", self.gateway_port.map(Value::from));
        set(
            "gateway.probe.port",
            self.gateway_probe_port.map(Value::from),
        );
        set(
            "gateway.probe.seconds",
            self.gateway_probe_seconds.map(Value::from),
        );
        set(
            "gateway.serviceType",
            self.gateway_service_type.as_deref().map(Value::from),
        );
        set(
            "gateway.healthcheckNodePort",
            self.gateway_healthcheck_nodeport.map(Value::from),
        );
        set(
            "enableHeadlessServices",
            self.enable_headless_services.then(|| true.into()),
        );
        set(
            "remoteDiscovery",
            self.remote_discovery.then(|| true.into()),
        );
        set(
            "remoteMirrorServiceAccount",
            self.service_mirror_credentials.map(Value::from),
        );
        let logs = &self.mirror_logs;
        set("controllerLogLevel", logs.level.as_deref().map(Value::from));
        let format = logs.format.map(|format| match format {
            LogFormat::Plain => "plain".into(),
            LogFormat::Json => "json".into(),
        });
        set("controllerLogFormat", format);
        values
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let control_plane = if args.ignore_cluster {
        Values::default()
    } else {
        control_plane(&args, cluster).await?
    };
    let documents = manifests(&args, &control_plane, &cluster.control_plane_ns)?;
    output::manifests(&documents, args.output)
}

/// What the control plane was installed with, once it runs.
async fn control_plane(args: &Args, cluster: &ClusterArgs) -> anyhow::Result<Values> {
    let client = cluster.client().await?;
    let namespace = &cluster.control_plane_ns;
    survey::refuse_foreign(&client, namespace).await?;
    // What is not there at all is hardly on its way: it is the wrong cluster, unless said otherwise.
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    let values = loop {
        match installation::values(&client, namespace).await {
            Ok(values) => break values,
            Err(error) if Instant::now() >= deadline => return Err(error).context(NEEDS),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    };
    let deadline = Instant::now() + args.wait.unwrap_or(WAIT);
    for name in components(&values) {
        runs(&client, namespace, name, deadline).await?;
    }
    Ok(values)
}

/// Waits for a component of the control plane, and says so.
async fn runs(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Instant,
) -> anyhow::Result<()> {
    let Err(missing) = running(client, namespace, name, Duration::ZERO).await else {
        return Ok(());
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        let seconds = left.as_secs();
        output::note(&format!(
            "mesh: waiting up to {seconds}s for {name} to run (--wait): {missing:#}"
        ));
    }
    let what = format!(
        "{name} does not run: see mesh check, and kubectl -n {namespace} describe deploy/{name}"
    );
    running(client, namespace, name, left)
        .await
        .context(what)
        .context(NEEDS)
}

/// Everything of the extension, in the order it must be applied.
fn manifests(
    args: &Args,
    control_plane: &Values,
    control_plane_ns: &str,
) -> anyhow::Result<Vec<Value>> {
    let shared = multicluster::from_control_plane(control_plane, control_plane_ns);
    let loaded: Loaded<multicluster::Values> =
        load(&args.values, shared, args.shorthands.values())?;
    for key in &loaded.unknown {
        eprintln!("mesh: warning: the value {key} is not known here and is ignored");
    }
    if loaded.values.identity_trust_anchors_pem.trim().is_empty() {
        bail!(
            "there are no trust anchors, without which nobody can be linked: add --set-file \
             identityTrustAnchorsPEM=FILE with those of the control plane"
        );
    }
    multicluster::manifests(&loaded.values, control_plane, &args.namespace)
}
