//! The process: watches into the index, the index to proxies.
//!
//! Everything is bound first. Nothing is served before the cluster is known and a certificate is
//! there: half an answer would be a wrong one.

use crate::{Args, config::Config, grpc, index::Index, watches::Watches};
use anyhow::Context as _;
use mesh_contract::names;
use mesh_daemon::{
    Shutdown,
    admin::{self, Admin},
    net::{self, Resolver},
    readiness::Readiness,
};
use mesh_tls::{Certifier, Store, certify_loop, control};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves discovery and policy until asked to stop.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let config = Arc::new(Config::new(&args)?);
    let member = &args.member;
    let store = member
        .store(names::DESTINATION, &args.pod_namespace)
        .await?;
    let certifier = member.certifier(&store, Resolver::from_env())?;
    let client = kube::Client::try_default()
        .await
        .context("cannot reach Kubernetes: no usable KUBECONFIG or in-cluster ServiceAccount")?;
    let bound = Bound::bind(&args, config, client, shutdown).await?;
    tracing::info!(
        discovery = %bound.discovery.local_addr()?,
        policy = %bound.policies.local_addr()?,
        admin = %bound.admin.addr(),
        id = %store.id(),
        "bound"
    );
    let (member, follower, issuer) = (args.member.clone(), store.clone(), certifier.clone());
    let _anchors = Task(tokio::spawn(async move {
        member.follow_anchors(follower, issuer).await;
    }));
    bound.serve(store, certifier).await
}

/// Everything is listened on and watched; nothing is served.
struct Bound {
    discovery: TcpListener,
    policies: TcpListener,
    admin: admin::Bound,
    api: grpc::Api,
    readiness: Readiness,
    watches: Watches,
    shutdown: Shutdown,
}

impl Bound {
    async fn bind(
        args: &Args,
        config: Arc<Config>,
        client: kube::Client,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let discovery = bind(args.destination_addr, "--destination-addr").await?;
        let policies = bind(args.policy_addr, "--policy-addr").await?;
        let readiness = Readiness::new();
        let index = Arc::new(Mutex::new(Index::new(config.clone())));
        let watches = Watches::start(client, index.clone(), readiness.clone());
        let mut registry = Registry::default();
        let metrics = grpc::Metrics::register(&mut registry);
        let admin = admin(args, &readiness, registry, &watches, index.clone()).await?;
        Ok(Self {
            discovery,
            policies,
            admin,
            api: grpc::Api {
                index,
                config,
                shutdown: shutdown.clone(),
                metrics,
            },
            readiness,
            watches,
            shutdown,
        })
    }

    async fn serve(self, store: Store, certifier: impl Certifier + 'static) -> anyhow::Result<()> {
        let Self {
            discovery,
            policies,
            admin,
            api,
            readiness,
            watches,
            shutdown,
        } = self;
        let certified = readiness.guard("certificate");
        let stop = || requested(shutdown.clone());
        let _admin = Task(tokio::spawn(admin.serve(shutdown.clone())));
        let _certify = Task(tokio::spawn(certify_loop(store.clone(), certifier, stop())));
        let ready = async {
            store.ready().await;
            drop(certified);
            readiness.ready().await;
        };
        tokio::select! {
            () = ready => {}
            () = shutdown.requested() => return Ok(()),
        }
        tokio::try_join!(
            control::serve(discovery, store.clone(), api.clone().discovery(), stop()),
            control::serve(policies, store.clone(), api.policies(), stop()),
        )
        .context("cannot serve")?;
        drop(watches);
        Ok(())
    }
}

/// A task that ends with its owner.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn requested(shutdown: Shutdown) {
    shutdown.requested().await;
}

async fn bind(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    net::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({flag}); is the port taken?"))
}

async fn admin(
    args: &Args,
    readiness: &Readiness,
    registry: Registry,
    watches: &Watches,
    index: Arc<Mutex<Index>>,
) -> anyhow::Result<admin::Bound> {
    let states = watches.states();
    Admin::new(readiness.clone(), registry)
        .state(
            "watches",
            Arc::new(move || states.iter().map(|state| state.to_json()).collect()),
        )
        .state("index", Arc::new(move || json!(index.lock().counts())))
        .bind(args.admin_addr)
        .await
        .with_context(|| format!("cannot listen on {} (--admin-addr)", args.admin_addr))
}

#[cfg(test)]
mod tests;
