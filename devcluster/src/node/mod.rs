//! The node agent: takes the Pods of one cluster and runs known images as local processes.
//!
//! `mesh node-agent` calls [`run`]; everything it knows it learns from an API server (ours or a
//! real one) through an ordinary client. It never sees the store.
//!
//! ```text
//! manager ── one worker per pod ── decide (pure) ── start / stop / probe ── status (pure) ── publisher
//!    │                                                    │
//!    └ binds pods, hands out addresses, adopts            └ images, environment, volumes, process, logs
//! network ── names, cluster IPs, load balancers     register ── Node, Lease
//! balancers ── addresses of LoadBalancer Services
//! serve ── HTTPS for the API server: logs, and connect ── exec, port-forward
//!    └ serving (certificates), callers (who may ask)
//! ```
//!
//! Where processes run (`room.rs`) depends on the network: on the machine as it is, or each in a
//! container with a file system of its own.
//!
//! Processes are not tied to the agent's life. What it must know about them is in
//! `<state dir>/pods/<uid>/pod.json`; the next start finds them there and carries on.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use mesh_daemon::Shutdown;
use mesh_daemon::admin::Admin;
use mesh_daemon::readiness::Readiness;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use self::agent::{Agent, Board};
use self::balancers::Balancers;
use self::events::Events;
use self::images::Images;
use self::ipam::Ipam;
use self::manager::Manager;
use self::model::PodRecord;
use self::network::netns::{self, Netns};
use self::network::{Follower, Loopback, Network};
use self::serving::Serving;

mod access;
mod agent;
mod balancers;
mod bind;
mod callers;
mod connect;
mod container;
mod decide;
mod disk;
mod downward;
mod environment;
mod events;
mod follow;
mod hooks;
mod images;
mod ipam;
mod launch;
mod logs;
mod manager;
mod model;
mod network;
mod plan;
mod privileges;
mod probe;
mod process;
mod publisher;
mod quantity;
mod register;
mod room;
mod serve;
mod serving;
mod sources;
mod status;
mod volumes;
mod worker;

pub use self::network::netns::{end_run, sweep as sweep_networks};

const ADMIN_PORT: u16 = 10255;

/// Flags of `mesh node-agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The cluster this node belongs to; processes find it as `CLUSTER_NAME`.
    #[arg(long, env = "MESH_NODE_CLUSTER_NAME", default_value = "local")]
    pub cluster_name: String,
    /// Name of the Node object [default: <cluster name>-node].
    #[arg(long, env = "MESH_NODE_NAME")]
    pub node_name: Option<String>,
    /// How to reach the API server.
    #[arg(long, env = "MESH_NODE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// The kubeconfig's context [default: its current one].
    #[arg(long, env = "MESH_NODE_CONTEXT")]
    pub context: Option<String>,
    /// Where pods live on disk; the same folder at the next start adopts what still runs.
    #[arg(long, env = "MESH_NODE_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Addresses for pods [default: 127.244.0.0/16, in the netns network 10.244.0.0/16].
    #[arg(long, env = "MESH_NODE_POD_CIDR")]
    pub pod_cidr: Option<ipnet::Ipv4Net>,
    /// Addresses of LoadBalancer Services [default: 127.65.0.0/24, in the netns network
    /// 10.245.0.0/24].
    #[arg(long, env = "MESH_NODE_LB_CIDR")]
    pub lb_cidr: Option<ipnet::Ipv4Net>,
    /// Let pods of all flat clusters of this machine reach each other, in the netns network.
    #[arg(long, env = "MESH_NODE_FLAT")]
    pub flat: bool,
    /// The node's own address [default: the first of the pod addresses].
    #[arg(long, env = "MESH_NODE_IP")]
    pub node_ip: Option<Ipv4Addr>,
    /// Domain of Service names in the hosts file.
    #[arg(
        long,
        env = "MESH_NODE_CLUSTER_DOMAIN",
        default_value = mesh_contract::names::DEFAULT_CLUSTER_DOMAIN
    )]
    pub cluster_domain: String,
    /// The `mesh` binary pods run [default: this one].
    #[arg(long, env = "MESH_NODE_EXEC", value_name = "PATH")]
    pub exec: Option<PathBuf>,
    /// A further image and the program it stands for; may be repeated.
    #[arg(
        long = "image",
        env = "MESH_NODE_IMAGES",
        value_name = "NAME=PATH",
        value_delimiter = ','
    )]
    pub images: Vec<String>,
    /// An image of a sidecar other than ours and the program it stands for, which is run by `mesh
    /// proxy-identity`; may be repeated.
    #[arg(
        long = "proxy-image",
        env = "MESH_NODE_PROXY_IMAGES",
        value_name = "NAME=PATH",
        value_delimiter = ','
    )]
    pub proxy_images: Vec<String>,
    /// How pods are connected.
    #[arg(long, env = "MESH_NODE_NETWORK", value_enum, default_value_t)]
    pub network: NetworkMode,
    /// Marks every process of this run (`MESH_DEVCLUSTER_RUN`), so that left-overs can be found.
    #[arg(long, env = mesh_contract::env::DEVCLUSTER_RUN)]
    pub run_id: Option<String>,
    /// Port of the HTTPS server for logs, at the node's address.
    #[arg(long, env = "MESH_NODE_KUBELET_PORT", default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Where /live, /ready, /metrics and /state are served [default: port 10255 of the node].
    #[arg(long, env = "MESH_NODE_ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,
}

/// How pods are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkMode {
    /// A pod has a 127.x address of its own; needs no privileges.
    #[default]
    Loopback,
    /// A pod is a network namespace with a cable to this machine; needs root.
    Netns,
}

/// Runs the node agent until the shutdown. Pods keep running after it.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    disk::create_dir(&args.state_dir)
        .with_context(|| format!("cannot create --state-dir {}", args.state_dir.display()))?;
    let state_dir = args.state_dir.canonicalize()?;
    let _lock = lock(&state_dir)?;
    let node_ip = node_ip(&args)?;
    let node_name = args
        .node_name
        .clone()
        .unwrap_or_else(|| format!("{}-node", args.cluster_name));
    let exec = match &args.exec {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("--exec {}", path.display()))?,
        None => std::env::current_exe().context("cannot tell which binary this is; use --exec")?,
    };
    let (client, access) = access::open(&args.kubeconfig, args.context.clone()).await?;
    let left = disk::load(&state_dir).context("cannot read what an earlier start left")?;
    let network = connect(&args, &state_dir, node_ip, access.endpoint()?, &left)?;
    let access = match &network {
        Network::Loopback(_) => access,
        Network::Netns(_) => access.by(&format!("{}:{}", netns::API_NAME, netns::API_PORT)),
    };
    let mut ipam = Ipam::new(pod_cidr(&args), node_ip);
    for record in &left {
        let ip = record.ip.filter(|ip| *ip != node_ip);
        if let Some(ip) = ip.filter(|ip| !ipam.restore(*ip, &record.uid)) {
            tracing::warn!(pod = record.name, %ip, "a pod's address is not in --pod-cidr any more");
        }
    }
    let (events, write_events) = Events::new(client.clone(), node_name.clone());
    let agent = Arc::new(Agent {
        client: client.clone(),
        access,
        cluster_name: args.cluster_name.clone(),
        node_name: node_name.clone(),
        node_ip,
        network: network.clone(),
        state_dir,
        run_id: args
            .run_id
            .clone()
            .unwrap_or_else(|| format!("pid-{}", std::process::id())),
        images: Images::new(&exec, &args.images, &args.proxy_images)?,
        events,
        ipam: Mutex::new(ipam),
        board: Board::default(),
    });

    let kubelet = SocketAddr::new(node_ip.into(), args.kubelet_port);
    let kubelet = mesh_daemon::net::bind(kubelet)
        .await
        .context("cannot serve the kubelet's port; is another node agent running?")?;
    let serving = Arc::new(Serving::new(&node_name, node_ip)?);
    let readiness = Readiness::new();
    let admin = args
        .admin_addr
        .unwrap_or_else(|| SocketAddr::new(node_ip.into(), ADMIN_PORT));
    let state = agent.clone();
    let admin = Admin::new(
        readiness.clone(),
        prometheus_client::registry::Registry::default(),
    )
    .state("pods", Arc::new(move || state.board.to_json()))
    .bind(admin)
    .await
    .with_context(|| format!("cannot serve /ready on {admin}"))?;
    let registration = register::Registration {
        client: client.clone(),
        node: node_name.clone(),
        address: node_ip,
        kubelet_port: kubelet.local_addr()?.port(),
        pod_cidr: pod_cidr(&args).to_string(),
        serving_cert: serving.pem.clone(),
        since: model::now(),
    };
    tracing::info!(
        node = node_name, ip = %node_ip, kubelet = %kubelet.local_addr()?, admin = %admin.addr(),
        adopted = left.len(), "node agent started"
    );

    let mut tasks = JoinSet::new();
    let endless = |task: BoxFuture<'static, ()>| async move {
        task.await;
        Ok(())
    };
    let server = serve::Server::new(agent.clone());
    let trusting = serving.clone();
    let trust = trusting.follow(client.clone(), readiness.guard("client CA read"));
    tasks.spawn(endless(Box::pin(trust)));
    tasks.spawn(async move { server.run(kubelet, serving).await });
    let stop = shutdown.clone();
    tasks.spawn(async move {
        admin.serve(stop).await;
        Ok(())
    });
    tasks.spawn(endless(Box::pin(write_events)));
    tasks.spawn(endless(Box::pin(
        registration.run(readiness.guard("node registered")),
    )));
    if let Network::Netns(netns) = network.clone() {
        tasks.spawn(async move { Ok(netns.serve().await?) });
    }
    let balancers = Balancers {
        client: client.clone(),
        range: lb_cidr(&args),
    };
    tasks.spawn(endless(Box::pin(balancers.run())));
    let follower = Follower { client, network };
    tasks.spawn(endless(Box::pin(
        follower.run(readiness.guard("services listed")),
    )));
    let manager = Manager::new(agent, left);
    tasks.spawn(endless(Box::pin(
        manager.run(readiness.guard("pods listed")),
    )));
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            _ if shutdown.is_requested() => Ok(()),
            Ok(Ok(())) => anyhow::bail!("a part of the node agent ended by itself"),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(anyhow::Error::new(error).context("a part of the node agent failed")),
        },
    }
}

/// Two agents on one folder would fight over the same processes.
fn lock(state_dir: &Path) -> anyhow::Result<File> {
    let path = state_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another node agent uses {}", state_dir.display()))?;
    Ok(file)
}

/// Sets the network of the flags up.
fn connect(
    args: &Args,
    state_dir: &Path,
    node: Ipv4Addr,
    api: (String, u16),
    left: &[PodRecord],
) -> anyhow::Result<Network> {
    let domain = args.cluster_domain.trim_end_matches('.').to_owned();
    if args.network == NetworkMode::Loopback {
        return Ok(Network::Loopback(Arc::new(Loopback {
            hosts_file: state_dir.join("hosts"),
            cluster_domain: domain,
        })));
    }
    let settings = netns::Settings {
        state_dir: state_dir.to_owned(),
        pods: pod_cidr(args),
        balancers: lb_cidr(args),
        node,
        flat: args.flat,
        domain,
        api,
    };
    let netns = Netns::set_up(settings, left).context("cannot set the netns network up")?;
    Ok(Network::Netns(Arc::new(netns)))
}

fn pod_cidr(args: &Args) -> ipnet::Ipv4Net {
    let first = match args.network {
        NetworkMode::Loopback => Ipv4Addr::new(127, 244, 0, 0),
        NetworkMode::Netns => Ipv4Addr::new(10, 244, 0, 0),
    };
    args.pod_cidr
        .unwrap_or_else(|| ipnet::Ipv4Net::new_assert(first, 16))
}

fn lb_cidr(args: &Args) -> ipnet::Ipv4Net {
    let first = match args.network {
        NetworkMode::Loopback => Ipv4Addr::new(127, 65, 0, 0),
        NetworkMode::Netns => Ipv4Addr::new(10, 245, 0, 0),
    };
    args.lb_cidr
        .unwrap_or_else(|| ipnet::Ipv4Net::new_assert(first, 24))
}

/// The node's own address. In the `loopback` network it is a loopback address like the pods'; in
/// the `netns` network it is the bridge's, one of the pods' network.
fn node_ip(args: &Args) -> anyhow::Result<Ipv4Addr> {
    let range = pod_cidr(args);
    let first = Ipv4Addr::from(u32::from(range.network()).saturating_add(1));
    let ip = args.node_ip.unwrap_or(first);
    match args.network {
        NetworkMode::Loopback => {
            anyhow::ensure!(
                range.network().is_loopback() && range.broadcast().is_loopback(),
                "--pod-cidr {range} is not inside 127.0.0.0/8, as the loopback network needs it"
            );
            anyhow::ensure!(ip.is_loopback(), "--node-ip {ip} is not inside 127.0.0.0/8");
        }
        NetworkMode::Netns => {
            anyhow::ensure!(
                !range.contains(&Ipv4Addr::LOCALHOST) && !range.network().is_loopback(),
                "--pod-cidr {range} is inside 127.0.0.0/8, which cannot leave a network namespace"
            );
            anyhow::ensure!(
                (12..=29).contains(&range.prefix_len()),
                "--pod-cidr {range}: the netns network takes prefixes from /12 to /29"
            );
            anyhow::ensure!(
                range.contains(&ip),
                "--node-ip {ip} is not in --pod-cidr {range}"
            );
        }
    }
    Ok(ip)
}
