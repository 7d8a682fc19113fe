//! One sidecar in the `loopback` network, in this process or, with [`vars`], in one of its own.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use mesh_contract::env::PREFIX;
use mesh_daemon::Trigger;
use mesh_proxy::{Config, Proxy};
use mesh_tls::Store;
use tokio::task::JoinHandle;

use crate::ControlPlane;

/// The variables of a sidecar at `ip` called `id`, which asks `control` for everything. Its ports
/// are free ones; set others by adding the variables again. `token` is any file that is not empty.
///
/// A process of its own also needs `MESH_LOOPBACK_POD_IP`, which is among them.
pub fn vars(control: &ControlPlane, ip: IpAddr, id: &str, token: &Path) -> Vec<(String, String)> {
    let own = SocketAddr::new(ip, 0).to_string();
    let control_addr = control.addr.to_string();
    let proxy = [
        ("IDENTITY_TRUST_ANCHORS", control.anchors.clone()),
        ("IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("IDENTITY_LOCAL_NAME", id.to_owned()),
        ("IDENTITY_SVC_ADDR", control_addr.clone()),
        ("DESTINATION_SVC_ADDR", control_addr.clone()),
        ("POLICY_SVC_ADDR", control_addr),
        ("POLICY_WORKLOAD", "default:stage".to_owned()),
        ("INBOUND_LISTEN_ADDR", own.clone()),
        ("OUTBOUND_LISTEN_ADDR", own.clone()),
        ("ADMIN_LISTEN_ADDR", own),
        ("SHUTDOWN_GRACE_PERIOD", "2s".to_owned()),
    ];
    let proxy = proxy.map(|(key, value)| (format!("{PREFIX}{key}"), value));
    let ip = (
        mesh_contract::env::LOOPBACK_POD_IP.to_owned(),
        ip.to_string(),
    );
    proxy.into_iter().chain([ip]).collect()
}

/// A sidecar in this process. Ends when dropped.
pub struct Sidecar {
    /// Where its application's connections go: an explicit HTTP proxy, CONNECT included.
    pub outbound: SocketAddr,
    /// Where peers connect.
    pub inbound: SocketAddr,
    /// Its admin server.
    pub admin: SocketAddr,
    /// Who it is.
    pub store: Store,
    stop: Trigger,
    task: JoinHandle<()>,
    _token: tempfile::NamedTempFile,
}

/// Certificates are at hand; whoever waits longer waits for a bug.
const READY: Duration = Duration::from_secs(20);

impl Sidecar {
    /// Starts one with `more` variables (without their prefix) and waits until it is certified.
    pub async fn start(
        control: &ControlPlane,
        ip: IpAddr,
        id: &str,
        more: &[(&str, &str)],
    ) -> io::Result<Self> {
        let token = tempfile::NamedTempFile::new()?;
        std::fs::write(token.path(), "token")?;
        let mut all: HashMap<_, _> = vars(control, ip, id, token.path()).into_iter().collect();
        for (key, value) in more {
            all.insert(format!("{PREFIX}{key}"), (*value).to_owned());
        }
        let config = Config::parse(&|key| all.get(key).cloned(), Some(ip));
        let proxy = Proxy::new(config.map_err(io::Error::other)?).map_err(io::Error::other)?;
        let store = proxy.runtime().store.clone();
        let bound = proxy.bind().await?;
        let (outbound, inbound, admin) = (bound.outbound[0], bound.inbound, bound.admin);
        let (stop, shutdown) = mesh_daemon::shutdown();
        let task = tokio::spawn(async move {
            if let Err(error) = bound.serve(shutdown).await {
                tracing::error!(%error, "the sidecar ended");
            }
        });
        let ready = tokio::time::timeout(READY, store.ready()).await;
        ready.map_err(|_| io::Error::other("the sidecar was not certified in time"))?;
        Ok(Self {
            outbound,
            inbound,
            admin,
            store,
            stop,
            task,
            _token: token,
        })
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop.shutdown();
        self.task.abort();
    }
}
