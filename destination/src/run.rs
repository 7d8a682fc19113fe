//! The process: watches into the index, the index to proxies.
//!
//! Everything is bound first. Nothing is served before the cluster is known and a certificate is
//! there: half an answer would be a wrong one.

use crate::{Args, config::Config, grpc, index::Index, watches::Watches};
use anyhow::Context as _;
use futures::FutureExt as _;
use mesh_contract::names;
use mesh_daemon::{
    Shutdown,
    admin::{self, Admin},
    net::{self, Resolver},
    readiness::Readiness,
};
use mesh_tls::{
    Certifier, GrpcCertifier, Id, Store, TrustAnchors, certify_loop,
    control::{self, ControlAddr, Dial},
    follow_anchors, read_anchors,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// For one address of a name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves discovery and policy until asked to stop.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let config = Arc::new(Config::new(&args)?);
    let store = store(&args, &config).await?;
    let certifier = certifier(&args, &config, &store)?;
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
    let _anchors = args.trust_anchors_file.map(|file| {
        let follow = follow_anchors(store.clone(), file);
        Task(tokio::spawn(follow))
    });
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

async fn store(args: &Args, config: &Config) -> anyhow::Result<Store> {
    let anchors = match (&args.trust_anchors_file, &args.trust_anchors) {
        (Some(file), _) => read_anchors(file).await.context("--trust-anchors-file")?,
        (None, Some(pem)) => {
            TrustAnchors::from_pem(pem).context("the trust anchors cannot be used")?
        }
        (None, None) => anyhow::bail!(
            "no trust anchors: set --trust-anchors-file, or \
             LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS (PEM)"
        ),
    };
    let own = config.identity(&args.service_account, &args.pod_namespace);
    let id: Id = own
        .parse()
        .context("--service-account, --pod-namespace, --controller-namespace and --trust-domain do not make an identity")?;
    Ok(Store::new(id, anchors))
}

fn certifier(args: &Args, config: &Config, store: &Store) -> anyhow::Result<GrpcCertifier> {
    let issuer = config.identity(names::IDENTITY, &config.controller_ns);
    let issuer: Id = issuer.parse().context("the issuer has no identity")?;
    let address = ControlAddr::new(&args.identity_addr, issuer).context("--identity-addr")?;
    let token_file = args.identity_token_file.clone();
    Ok(GrpcCertifier::new(
        address,
        store.clone(),
        token_file,
        dial(),
    ))
}

fn dial() -> Dial {
    let resolver = Resolver::from_env();
    Arc::new(move |host, port| {
        let resolver = resolver.clone();
        async move { net::dial(&resolver, &host, port, CONNECT_TIMEOUT).await }.boxed()
    })
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
