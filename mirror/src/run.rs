//! The process: what it follows, what it serves, and the lease it contends for.

use crate::{
    Args,
    local::Follower,
    metrics::Metrics,
    reconcile::{Mirror, Parts},
};
use anyhow::Context as _;
use kube::Client;
use mesh_clusters::{Links, LinksConfig};
use mesh_contract::names;
use mesh_daemon::{Shutdown, admin::Admin, net::Resolver, readiness::Readiness};
use mesh_tls::certify_loop;
use mesh_watch::lease;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::watch;

const LEASE: &str = "service-mirror-write";

/// Runs the service mirror until shutdown.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("no credentials for this cluster's API server: run in a pod, or set KUBECONFIG")?;
    Box::pin(serve(client, Resolver::from_env(), args, shutdown)).await
}

/// Runs the service mirror of the cluster that `client` talks to, until shutdown.
pub async fn serve(
    client: Client,
    resolver: Resolver,
    args: Args,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let member = &args.member;
    let store = member.store(names::SERVICE_MIRROR, &args.namespace).await?;
    let certifier = member.certifier(&store, resolver.clone())?;
    let follow_anchors = member.follow_anchors(store.clone(), certifier.clone());
    let certify = certify_loop(store.clone(), certifier, std::future::pending());
    let readiness = Readiness::default();
    let follower = Follower::new();
    let links = Links::spawn(
        LinksConfig {
            client: client.clone(),
            namespace: args.namespace.clone(),
            store,
            resolver,
            guard: Some(readiness.guard("links")),
        },
        shutdown.clone(),
    );
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (remote_state, local_state) = (links.clone(), follower.clone());
    let admin = Admin::new(readiness.clone(), registry)
        .state("remotes", Arc::new(move || remote_state.to_json()))
        .state("local", Arc::new(move || local_state.to_json()))
        .bind(args.admin_addr)
        .await
        .with_context(|| format!("cannot listen on {} (--admin-addr)", args.admin_addr))?;
    let claim = lease::Claim {
        namespace: args.namespace.clone(),
        name: LEASE.to_owned(),
        holder: args.pod_name.clone(),
    };
    let held = lease::contend(client.clone(), claim, shutdown.clone());
    let (notify, changed) = watch::channel(());
    let changed_locally = || {
        notify.send_replace(());
    };
    let mirror = Mirror::new(Parts {
        client: client.clone(),
        namespace: args.namespace.clone(),
        pod: args.pod_name.clone(),
        follower: follower.clone(),
        links,
        metrics,
        headless: args.enable_headless_services,
        held,
    });
    tokio::select! {
        () = certify => {}
        () = follow_anchors => {}
        () = follower.follow(client, &readiness, &changed_locally) => {}
        () = mirror.run(changed) => {}
        () = admin.serve(shutdown.clone()) => {}
        () = shutdown.requested() => {}
    }
    tracing::info!("stopped");
    Ok(())
}
