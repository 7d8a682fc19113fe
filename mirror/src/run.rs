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
use mesh_contract::{identity::WorkloadIdentity, names};
use mesh_daemon::{Shutdown, admin::Admin, net::Resolver, readiness::Readiness};
use mesh_tls::{GrpcCertifier, Store, TrustAnchors, certify_loop, control};
use mesh_watch::lease;
use prometheus_client::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const LEASE: &str = "service-mirror-write";
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

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
    let anchors = TrustAnchors::from_pem(&args.identity_trust_anchors)
        .context("the trust anchors are not usable PEM certificates")?;
    let store = certify(&args, anchors, resolver.clone(), &shutdown)?;
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
        () = follower.follow(client, &readiness, &changed_locally) => {}
        () = mirror.run(changed) => {}
        () = admin.serve(shutdown.clone()) => {}
        () = shutdown.requested() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

fn certify(
    args: &Args,
    anchors: TrustAnchors,
    resolver: Resolver,
    shutdown: &Shutdown,
) -> anyhow::Result<Store> {
    let identity = |service_account: &str, namespace: &str| {
        let name = WorkloadIdentity {
            service_account,
            namespace,
            control_plane_ns: &args.controller_namespace,
            trust_domain: &args.trust_domain,
        };
        name.to_string()
            .parse::<mesh_tls::Id>()
            .context("the flags make no identity")
    };
    let store = Store::new(identity(&args.service_account, &args.namespace)?, anchors);
    let issuer = identity(names::IDENTITY, &args.controller_namespace)?;
    let addr = control::ControlAddr::new(&args.identity_addr, issuer)
        .context("--identity-addr is no HOST:PORT")?;
    let dial: control::Dial = Arc::new(move |host, port| {
        let resolver = resolver.clone();
        Box::pin(async move { mesh_daemon::net::dial(&resolver, &host, port, DIAL_TIMEOUT).await })
    });
    let certifier = GrpcCertifier::new(addr, store.clone(), args.identity_token_file.clone(), dial);
    let stop = shutdown.clone();
    let (loop_store, stopped) = (store.clone(), async move { stop.requested().await });
    tokio::spawn(async move { certify_loop(loop_store, certifier, stopped).await });
    Ok(store)
}
