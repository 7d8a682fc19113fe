//! The API server: HTTPS, verbs, watches, patches, discovery, tables.
//!
//! `cli` runs it as a process ([`run`]); tests of other rooms run many in one process
//! ([`start`], port 0). It reads and writes the store and asks `auth` and `schema`; what objects
//! bring about is `controllers`' and the node agent's business.

mod admission;
mod app;
mod builtin;
mod convert;
mod discovery;
mod fields;
mod openapi;
mod own_service;
mod patch;
mod pki;
pub mod protobuf;
mod reply;
mod request;
pub mod resources;
mod select;
mod server;
mod tables;
mod verbs;

use crate::auth::{self, Auth, AuthConfig, User};
use crate::controllers::{self, ControllersConfig};
use crate::schema::Schema;
use crate::store::{self, DeleteOptions, Store};
use anyhow::Context as _;
use app::App;
use ipnet::Ipv4Net;
use mesh_daemon::Shutdown;
use pki::Pki;
use resources::Registry;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use verbs::{Api, Maker, Nodes};

/// Flags of `mesh apiserver`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster; also the name of the kubeconfig's context.
    #[arg(long, env = "MESH_CLUSTER_NAME", default_value = "dev")]
    pub cluster_name: String,
    /// Address to serve HTTPS on.
    #[arg(long, env = "MESH_APISERVER_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// A name or address clients reach it by, for its certificate; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub extra_san: Vec<String>,
    /// Folder for the CA, keys, objects and `admin.kubeconfig`; made if it is missing.
    #[arg(long, env = "MESH_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Addresses of pods.
    #[arg(long, env = "MESH_POD_CIDR", default_value = "127.64.0.0/16")]
    pub pod_cidr: Ipv4Net,
    /// Virtual addresses of Services.
    #[arg(long, env = "MESH_SERVICE_CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: Ipv4Net,
    /// DNS domain of the cluster.
    #[arg(long, env = "MESH_CLUSTER_DOMAIN", default_value = mesh_contract::names::DEFAULT_CLUSTER_DOMAIN)]
    pub cluster_domain: String,
}

/// How to serve a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster; also the name of the kubeconfig's context.
    pub cluster_name: String,
    /// Where to serve HTTPS; port 0 takes a free one.
    pub listen: SocketAddr,
    /// More names and addresses clients reach it by.
    pub extra_sans: Vec<String>,
    /// Where the CA, keys, objects and kubeconfig are kept; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Addresses of pods.
    pub pod_cidr: Ipv4Net,
    /// Virtual addresses of Services.
    pub service_cidr: Ipv4Net,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// How many events of each resource watches can resume from.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        let net = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix);
        Self {
            cluster_name: "dev".into(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            extra_sans: Vec::new(),
            state_dir: None,
            pod_cidr: net(127, 64, 16),
            service_cidr: net(10, 96, 16),
            cluster_domain: mesh_contract::names::DEFAULT_CLUSTER_DOMAIN.into(),
            history: 4096,
        }
    }
}

/// The user name under which the server itself asks nodes for logs. It may do nothing else.
pub const NODE_CLIENT: &str = "system:kube-apiserver";

/// How long an event is kept, as in kube-apiserver.
const EVENT_TTL: chrono::Duration = chrono::Duration::hours(1);
/// How often old events are looked for.
const EVENT_SWEEP: Duration = Duration::from_secs(60);

/// A server that listens. It stops when its `Shutdown` is requested.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// A kubeconfig (YAML, everything embedded) that may do everything.
    pub admin_kubeconfig: String,
    /// The certificate clients must trust.
    pub ca_pem: String,
    /// Its objects.
    pub store: Store,
    /// What it serves.
    pub registry: Registry,
    server: JoinHandle<()>,
}

impl Running {
    /// Returns when the server has stopped.
    pub async fn stopped(self) {
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the API server's accept loop failed");
        }
    }
}

/// Starts a server in this process; returns once it listens.
pub async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let pki = Pki::load(config.state_dir.as_deref(), &config.cluster_name)?;
    let listener = mesh_daemon::net::bind(config.listen)
        .await
        .context("cannot serve the API; is another API server running?")?;
    let addr = listener.local_addr()?;
    let tls = pki.server(addr.ip(), &config.cluster_domain, &config.extra_sans)?;

    let store = match &config.state_dir {
        Some(dir) => Store::open(dir, config.history).context("opening the store")?,
        None => Store::new(config.history),
    };
    let registry = Registry::builtin();
    verbs::serve_stored(&store, &registry);
    auth::bootstrap(&store)?;
    let auth = Auth::new(store.clone(), auth_config(&pki))?;
    let api = Arc::new(Api {
        store: store.clone(),
        registry: registry.clone(),
        auth: auth.clone(),
        schema: Schema::new(store.clone(), config.service_cidr),
        nodes: Nodes::new(&pki.node_token),
        shutdown: shutdown.clone(),
    });

    // 0.0.0.0 is where it listens, not where it is.
    let mut reached_at = addr;
    if reached_at.ip().is_unspecified() {
        reached_at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let admin_kubeconfig = pki.kubeconfig(&config.cluster_name, reached_at);
    if let Some(dir) = &config.state_dir {
        pki::write_private(&dir.join("admin.kubeconfig"), &admin_kubeconfig)?;
    }
    let settings = ControllersConfig {
        ca_pem: pki.ca_pem.clone(),
        service_cidr: config.service_cidr,
        cluster_domain: config.cluster_domain.clone(),
    };
    controllers::spawn(
        store.clone(),
        registry.clone(),
        auth,
        Arc::new(Maker { api: api.clone() }),
        settings,
        shutdown.clone(),
    );
    if let Err(fault) = own_service::ensure(&store, config.service_cidr, addr.port()) {
        tracing::warn!(%fault, "cannot make Service kubernetes");
    }
    tokio::spawn(verbs::follow_deletions(api.clone()));
    tokio::spawn(expire_events(store.clone(), shutdown.clone()));
    let app = Arc::new(App {
        api,
        addr: reached_at,
    });
    let server = tokio::spawn(server::serve(listener, tls, app, shutdown));
    Ok(Running {
        addr,
        admin_kubeconfig,
        ca_pem: pki.ca_pem,
        store,
        registry,
        server,
    })
}

fn auth_config(pki: &Pki) -> AuthConfig {
    let node_client = User {
        name: NODE_CLIENT.to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        ..User::default()
    };
    AuthConfig {
        admin_token: pki.admin_token.clone(),
        signing_key_pem: Some(pki.signing_key_pem.clone()),
        extra_tokens: vec![(pki.node_token.clone(), node_client)],
        ..AuthConfig::default()
    }
}

/// Events are news, not records: old ones go.
async fn expire_events(store: Store, shutdown: Shutdown) {
    let key = store::ResourceKey::core("events");
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVENT_SWEEP) => {}
            () = shutdown.requested() => return,
        }
        let limit = chrono::Utc::now() - EVENT_TTL;
        for event in store.list(&key, None).0 {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let time = [
                &event["series"]["lastObservedTime"],
                &event["lastTimestamp"],
                &event["metadata"]["creationTimestamp"],
            ]
            .into_iter()
            .find_map(|t| chrono::DateTime::parse_from_rfc3339(t.as_str()?).ok());
            if time.is_some_and(|time| time < limit) {
                let metadata = &event["metadata"];
                let (ns, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
                // Gone in between is as good.
                let _ = store.delete(&key, Some(&ns), &name, &DeleteOptions::default());
            }
        }
    }
}

/// Serves until `shutdown`.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let config = Config {
        cluster_name: args.cluster_name,
        listen: args.listen,
        extra_sans: args.extra_san,
        state_dir: Some(args.state_dir.clone()),
        pod_cidr: args.pod_cidr,
        service_cidr: args.service_cidr,
        cluster_domain: args.cluster_domain,
        ..Config::default()
    };
    let cluster = config.cluster_name.clone();
    let running = start(config, shutdown.clone()).await?;
    tracing::info!(
        addr = %running.addr, %cluster,
        kubeconfig = %args.state_dir.join("admin.kubeconfig").display(),
        "API server listening"
    );
    println!("listening on https://{}", running.addr);
    shutdown.requested().await;
    running.stopped().await;
    Ok(())
}
