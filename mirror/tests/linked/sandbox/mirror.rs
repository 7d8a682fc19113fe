//! A mirror, run as its process would run it.

use super::{Cluster, NS};
use kube::Client;
use mesh_daemon::{Shutdown, Trigger, net::Resolver};
use mesh_mirror::Args;
use mesh_watch::MemberArgs;
use std::path::PathBuf;
use tokio::task::JoinHandle;

/// A running mirror.
pub(crate) struct Mirror {
    stop: Trigger,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Mirror {
    /// The only mirror of `cluster`.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::with(cluster, cluster.client.clone(), |_| {}).await
    }

    pub(crate) async fn with(
        cluster: &Cluster,
        client: Client,
        edit: impl FnOnce(&mut Setup),
    ) -> Self {
        let mut setup = Setup {
            hosts: None,
            pod_name: format!("mirror-of-{}", cluster.name),
            anchors: mesh_tls::testing::Ca::new("root").0.cert_pem(),
            headless: false,
        };
        edit(&mut setup);
        // Of use when a test fails: RUST_LOG=info.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
        let (stop, shutdown) = mesh_daemon::shutdown();
        let task = tokio::spawn(async {
            let ended = serve(client, setup, shutdown).await;
            if let Err(error) = &ended {
                eprintln!("the mirror ended: {error:#}");
            }
            ended
        });
        Self { stop, task }
    }

    /// Stops it as its pod would be; returns when it has stopped.
    pub(crate) async fn stop(self) {
        self.stop.shutdown();
        self.task.await.unwrap().unwrap();
    }
}

/// What tests vary of a mirror.
pub(crate) struct Setup {
    pub(crate) hosts: Option<PathBuf>,
    pub(crate) pod_name: String,
    pub(crate) anchors: String,
    pub(crate) headless: bool,
}

async fn serve(client: Client, setup: Setup, shutdown: Shutdown) -> anyhow::Result<()> {
    let args = Args {
        namespace: NS.to_owned(),
        // Nobody certifies it: what it mirrors must not depend on that.
        member: MemberArgs {
            controller_namespace: "linkerd".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            identity_addr: "127.0.0.1:1".to_owned(),
            identity_token_file: "/nonexistent".into(),
            trust_anchors: Some(setup.anchors),
            trust_anchors_file: None,
            service_account: None,
        },
        pod_name: setup.pod_name,
        enable_headless_services: setup.headless,
        admin_addr: ([127, 0, 0, 1], 0).into(),
    };
    Box::pin(mesh_mirror::serve(
        client,
        Resolver::new(setup.hosts),
        args,
        shutdown,
    ))
    .await
}
