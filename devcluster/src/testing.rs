//! A cluster in the test's own process, for the tests of other rooms. It panics where a test cannot
//! go on; no daemon uses it.

use crate::apiserver::{self, Running};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use mesh_daemon::Trigger;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Nothing in such a cluster takes so long unless it never happens.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// An API server with its controllers, and an administrator's client of it. Gone when dropped.
pub struct Cluster {
    /// What it was started as.
    pub name: String,
    /// The administrator's client.
    pub client: Client,
    server: Running,
    stop: Trigger,
}

impl Cluster {
    /// Starts the cluster `name`.
    pub async fn start(name: &str) -> Self {
        let (stop, shutdown) = mesh_daemon::shutdown();
        let config = apiserver::Config {
            cluster_name: name.to_owned(),
            ..apiserver::Config::default()
        };
        let server = apiserver::start(config, shutdown)
            .await
            .expect("an API server can be started");
        Self {
            name: name.to_owned(),
            client: client(&server.admin_kubeconfig).await,
            server,
            stop,
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &str {
        &self.server.admin_kubeconfig
    }

    /// Where the API server listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// A client that is the account of `token`.
    pub async fn account(&self, token: &str) -> Client {
        let mut config = config(self.kubeconfig()).await;
        config.auth_info = AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        };
        Client::try_from(config).expect("the configuration makes a client")
    }

    /// Stops the API server; its address answers no more.
    pub async fn kill(self) {
        self.stop.shutdown();
        self.server.stopped().await;
    }
}

/// A client of the cluster in `kubeconfig`.
pub async fn client(kubeconfig: &str) -> Client {
    Client::try_from(config(kubeconfig).await).expect("the configuration makes a client")
}

/// The configuration in `kubeconfig`.
pub async fn config(kubeconfig: &str) -> Config {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("it is a kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the kubeconfig is complete")
}

/// Waits until `probe` gives an answer; its errors say what is still missing.
pub async fn eventually<T>(mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(missing) => assert!(
                started.elapsed() < DEADLINE,
                "not within {DEADLINE:?}: {missing}"
            ),
        }
        tokio::time::sleep(POLL).await;
    }
}
