//! The shared-trust issuer: token to CSR to certificate.
//!
//! A workload sends a ServiceAccount token, the name it wants to bear and a signing request; it
//! gets a short-lived certificate for exactly the name its token proves, signed by an issuer that
//! chains to the trust anchors all linked clusters share. The walk of a request:
//! `service` (gRPC) → `decision::read` and `csr` (is it well-formed, is the key theirs) →
//! `token` (who does the API server say this is) → `decision::grant` (is it the same) →
//! `mesh_tls::ca::Issuer::sign`. The issuer itself comes from `issuer`, which watches its Secret.
//!
//! `cli` mounts this as `mesh identity`. It keeps nothing: every answer follows from the Secret,
//! the bundle and the API server, so replicas need not know of each other.

mod csr;
mod decision;
mod issuer;
mod metrics;
mod own;
mod service;
mod token;

use anyhow::Context;
use linkerd2_proxy_api::identity::identity_server::IdentityServer;
use mesh_contract::{identity::WorkloadIdentity, names, ports};
use mesh_daemon::{Shutdown, admin::Admin, readiness::Readiness};
use mesh_tls::{Id, Store, control};
use prometheus_client::registry::Registry;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::JoinSet;

/// Flags of `mesh identity`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where Certify is served, over mesh TLS.
    #[arg(long, env = "MESH_IDENTITY_ADDR", default_value_t = any(ports::IDENTITY))]
    pub addr: SocketAddr,

    /// Where /live, /ready, /metrics and /state are served.
    #[arg(long, env = "MESH_IDENTITY_ADMIN_ADDR", default_value_t = any(ports::IDENTITY_ADMIN))]
    pub admin_addr: SocketAddr,

    /// Namespace of the control plane: where the issuer lives, and a part of every identity.
    #[arg(long, env = "MESH_CONTROLLER_NAMESPACE", default_value = names::CONTROL_PLANE_NS)]
    pub controller_namespace: String,

    /// Trust domain: the end of every identity.
    #[arg(long, env = "MESH_TRUST_DOMAIN", default_value = names::DEFAULT_CLUSTER_DOMAIN)]
    pub trust_domain: String,

    /// ServiceAccount this process runs as, which names its own certificate.
    #[arg(long, env = "POD_SERVICE_ACCOUNT", default_value = names::IDENTITY)]
    pub service_account: String,

    /// Secret with the issuer: crt.pem and key.pem, or tls.crt and tls.key.
    #[arg(long, env = "MESH_IDENTITY_ISSUER_SECRET", default_value = names::ISSUER)]
    pub issuer_secret: String,

    /// ConfigMap with the trust anchors, in the key ca-bundle.crt.
    #[arg(long, env = "MESH_IDENTITY_TRUST_ROOTS", default_value = names::TRUST_ROOTS)]
    pub trust_roots: String,

    /// How long certificates are valid, unless the issuer expires before.
    #[arg(long, env = "MESH_IDENTITY_ISSUANCE_LIFETIME", default_value = "24h", value_parser = mesh_daemon::args::duration)]
    pub issuance_lifetime: Duration,

    /// By how much the clocks of machines may differ: certificates are valid that much earlier
    /// and longer.
    #[arg(long, env = "MESH_IDENTITY_CLOCK_SKEW_ALLOWANCE", default_value = "10s", value_parser = mesh_daemon::args::duration)]
    pub clock_skew_allowance: Duration,
}

/// How certificates are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) lifetime: Duration,
    pub(crate) skew: Duration,
}

/// Below this, sidecars would renew faster than their 10 s floor allows.
const MIN_LIFETIME: Duration = Duration::from_secs(20);

/// Serves until the shutdown. A missing or bad issuer is not an error here: it is reported and
/// awaited, as an installation in progress has none yet.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let (own_id, validity) = check(&args)?;
    tracing::info!(?args, id = %own_id, "starting identity");

    let readiness = Readiness::new();
    let issuer_guard = readiness.guard("issuer");
    let certificate_guard = readiness.guard("certificate");
    let mut registry = Registry::default();
    mesh_daemon::process::register(&mut registry);
    let metrics = metrics::Metrics::register(&mut registry);

    let client = kube::Client::try_default().await;
    let client = client.context("no Kubernetes API server is configured for this process")?;
    let (issuers, watching) = issuer::watch(client.clone(), (&args).into(), metrics.clone());

    let listener = mesh_daemon::net::bind(args.addr).await?;
    let state = {
        let issuers = issuers.clone();
        Arc::new(move || issuers.describe())
    };
    let admin = Admin::new(readiness, registry).state("issuer", state);
    let admin = admin.bind(args.admin_addr).await?;
    tracing::info!(addr = %listener.local_addr()?, admin = %admin.addr(), "listening");

    // Ends with this function, whichever way it ends.
    let mut background = JoinSet::new();
    background.spawn(admin.serve(shutdown.clone()));
    background.spawn(watching);

    let loaded = tokio::select! {
        () = shutdown.requested() => return Ok(()),
        loaded = issuers.ready() => loaded,
    };
    drop(issuer_guard);
    let store = Store::new(own_id.clone(), loaded.anchors.clone());
    let certifier = own::Certifier::new(issuers.clone(), own_id, validity);
    background.spawn(mesh_tls::certify_loop(
        store.clone(),
        certifier,
        std::future::pending(),
    ));
    background.spawn(own::follow_anchors(issuers.clone(), store.clone()));
    let certified = store.clone();
    background.spawn(async move {
        certified.ready().await;
        drop(certificate_guard);
    });

    let reviewer = token::ApiReviewer::new(client);
    let service = service::Service::new((&args).into(), issuers, reviewer, validity, metrics);
    let service = IdentityServer::new(service).max_decoding_message_size(service::MAX_MESSAGE);
    let services = control::Services::new().streams(service::MAX_STREAMS);
    let services = services.add(service);
    let services = services.add(mesh_tls::federation(store.clone()));
    control::serve(listener, store, services, shutdown.requested())
        .await
        .context("the gRPC server failed")
}

/// Every mistake at once.
fn check(args: &Args) -> anyhow::Result<(Id, Validity)> {
    let mut mistakes = Vec::new();
    if args.issuance_lifetime < MIN_LIFETIME {
        mistakes.push(format!(
            "--issuance-lifetime must be at least {MIN_LIFETIME:?}"
        ));
    }
    if args.clock_skew_allowance >= args.issuance_lifetime {
        mistakes.push("--clock-skew-allowance must be less than --issuance-lifetime".to_owned());
    }
    let bounded = SystemTime::now()
        .checked_add(args.issuance_lifetime)
        .and_then(|end| end.checked_add(args.clock_skew_allowance))
        .is_some_and(|_| args.issuance_lifetime < Duration::from_secs(100 * 365 * 86_400));
    if !bounded {
        mistakes.push("--issuance-lifetime is longer than a century".to_owned());
    }
    let own = WorkloadIdentity {
        service_account: &args.service_account,
        namespace: &args.controller_namespace,
        control_plane_ns: &args.controller_namespace,
        trust_domain: &args.trust_domain,
    };
    let own_id = own.to_string().parse::<Id>();
    match own_id {
        Ok(id @ Id::Dns(_)) if mistakes.is_empty() => {
            let validity = Validity {
                lifetime: args.issuance_lifetime,
                skew: args.clock_skew_allowance,
            };
            return Ok((id, validity));
        }
        Ok(Id::Dns(_)) => {}
        _ => mistakes.push(format!(
            "--service-account, --controller-namespace and --trust-domain make {own}, which is no DNS name"
        )),
    }
    anyhow::bail!("{}", mistakes.join("; "))
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

#[cfg(test)]
mod tests;
