//! One linked cluster, followed by a task of its own.

use crate::{
    credentials,
    gateway::{self, Gateway, GatewaySpec},
    observed::{Observed, View},
    snapshot::Snapshot,
    trust,
};
use futures::future::{join, join3};
use k8s_openapi::api::{
    core::v1::{Pod, Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use mesh_api::link::Link;
use mesh_contract::{annotations, labels, names};
use mesh_daemon::{backoff::Backoff, net::Resolver};
use mesh_tls::Store;
use mesh_watch::{Failure, Source, WatchState, drive};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Time between comparisons; a foreign anchor breaks traffic, so it should be told soon.
const TRUST_PERIOD: Duration = Duration::from_secs(10);
const TRUST_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the other cluster's API server is being followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Nothing was heard yet.
    #[default]
    Connecting,
    /// Everything was listed, and changes are followed.
    Connected,
    /// It failed; what was known before stays.
    Failed {
        /// One word in CamelCase.
        reason: &'static str,
        /// Cause and remedy.
        message: String,
    },
}

/// Whether both clusters trust one anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Not compared yet, or not comparable: why.
    #[default]
    Unknown,
    /// It could not be found out.
    Unreadable(String),
    /// At least one anchor is in both bundles.
    Shared,
    /// None is, so mTLS between the clusters must fail.
    Foreign,
}

/// Everything known of a linked cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteState {
    /// The Link as it is followed.
    pub link: Arc<Link>,
    /// Whether it can be heard.
    pub connection: Connection,
    /// Whether it can be trusted.
    pub trust: Trust,
    /// Its gateway; none where the Link has none, or an unusable one.
    pub gateway: Option<Gateway>,
    /// Why the Link's gateway cannot be used.
    pub gateway_error: Option<String>,
    /// What it exports.
    pub snapshot: Arc<Snapshot>,
}

/// What every remote needs of this cluster.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) store: Store,
    pub(crate) resolver: Resolver,
}

/// Follows the Link of `initial` until dropped, calling `publish` on every change.
pub(crate) async fn follow(
    initial: RemoteState,
    secret: Option<Secret>,
    local: Local,
    publish: impl Fn(RemoteState) + Send + Sync,
) {
    let link = initial.link.clone();
    let trust_domain = trust_domain(secret.as_ref());
    let spec = GatewaySpec::of(&link.spec);
    let state = Mutex::new(initial);
    let update = |change: &dyn Fn(&mut RemoteState)| {
        let mut state = state.lock();
        let old = state.clone();
        change(&mut state);
        if *state != old {
            publish(state.clone());
        }
    };
    let known = state.lock().gateway.clone().unwrap_or_default();
    let (sender, receiver) = watch::channel(known);
    let gateway = async {
        if let Ok(Some(spec)) = spec {
            gateway::follow(spec, local.store.clone(), local.resolver.clone(), sender).await;
        }
        std::future::pending::<()>().await;
    };
    let gateway_changes = async {
        let mut receiver = receiver;
        while receiver.changed().await.is_ok() {
            let gateway = receiver.borrow_and_update().clone();
            update(&|state| state.gateway = Some(gateway.clone()));
        }
    };
    let services = async {
        match connect(&link, secret.as_ref()).await {
            Ok(client) => {
                let watching = watch_services(&link, &trust_domain, client.clone(), &update);
                join(
                    watching,
                    compare_trust(&link, client, &local.store, &update),
                )
                .await;
            }
            Err(error) => update(&|state| {
                state.connection = Connection::Failed {
                    reason: "InvalidCredentials",
                    message: error.to_string(),
                };
            }),
        }
    };
    // The gateway's part never ends, so that the others may.
    join3(gateway, gateway_changes, services).await;
}

/// What is known of `link` before anything was heard: one that is followed anew keeps what was
/// known of its cluster.
pub(crate) fn start(link: Arc<Link>, before: Option<RemoteState>) -> RemoteState {
    let gateway = GatewaySpec::of(&link.spec);
    let known = before.as_ref().and_then(|state| state.gateway.clone());
    let snapshot = before.map(|state| state.snapshot).unwrap_or_default();
    RemoteState {
        connection: Connection::Connecting,
        trust: Trust::Unknown,
        gateway: match gateway {
            Ok(Some(_)) => Some(known.unwrap_or_default()),
            _ => None,
        },
        gateway_error: gateway.err().map(|error| error.to_string()),
        snapshot,
        link,
    }
}

async fn connect(
    link: &Link,
    secret: Option<&Secret>,
) -> Result<Client, credentials::CredentialsError> {
    use credentials::CredentialsError;
    let name = link
        .spec
        .cluster_credentials_secret
        .as_deref()
        .filter(|name| !name.is_empty());
    let name = name.ok_or(CredentialsError::NotNamed)?;
    let namespace = link.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{namespace}/{name}");
    let secret = secret.ok_or_else(|| CredentialsError::Missing(name.clone()))?;
    credentials::client(&name, &credentials::kubeconfig(&name, secret)?).await
}

/// The trust domain of the other cluster, as its credentials say.
fn trust_domain(secret: Option<&Secret>) -> String {
    let annotation = secret.and_then(|secret| secret.annotations().get(annotations::TRUST_DOMAIN));
    let named = annotation.filter(|domain| !domain.is_empty()).cloned();
    named.unwrap_or_else(|| names::DEFAULT_CLUSTER_DOMAIN.to_owned())
}

type Update<'a> = &'a (dyn Fn(&dyn Fn(&mut RemoteState)) + Sync);

async fn watch_services(link: &Link, trust_domain: &str, client: Client, update: Update<'_>) {
    let observed = Arc::new(Mutex::new(Observed::default()));
    let [services, slices, pods] = ["services", "endpointslices", "pods"].map(WatchState::new);
    let wants_pods = watch::Sender::new(false);
    let publish = || {
        let error = services.error().or_else(|| slices.error());
        let pods_error = pods.error().map(|failure| failure.message);
        let (snapshot, wanted) = {
            let observed = observed.lock();
            let view = View {
                spec: &link.spec,
                trust_domain,
                pods_error: pods_error.as_deref(),
            };
            (observed.snapshot(view), observed.wants_pods(&link.spec))
        };
        wants_pods.send_if_modified(|wants| wanted && !std::mem::replace(wants, true));
        update(&|state| {
            state.connection = match &error {
                Some(error) => failed(error),
                None if snapshot.synced => Connection::Connected,
                None => Connection::Connecting,
            };
            // Before everything was listed once, absence says nothing: keep what was known.
            if snapshot.synced && *state.snapshot != snapshot {
                state.snapshot = Arc::new(snapshot.clone());
            }
        });
    };
    let injected = ListParams::default().labels(labels::CONTROL_PLANE_NS);
    let mut wanted = wants_pods.subscribe();
    // Pods tell much, and change often: they are read only where something is exported pod to pod.
    let pods_too = async {
        if wanted.wait_for(|wanted| *wanted).await.is_ok() {
            let source = source(&client, injected, &pods);
            drive::<Pod, _>(source, observed.clone(), &publish).await;
        }
    };
    let all = ListParams::default();
    join3(
        drive::<Service, _>(
            source(&client, all.clone(), &services),
            observed.clone(),
            &publish,
        ),
        drive::<EndpointSlice, _>(source(&client, all, &slices), observed.clone(), &publish),
        pods_too,
    )
    .await;
}

/// All objects of a kind that `select` selects.
fn source<K>(client: &Client, select: ListParams, state: &WatchState) -> Source<K>
where
    K: Resource<DynamicType = ()>,
{
    Source {
        api: Api::all(client.clone()),
        select,
        state: state.clone(),
        guard: None,
    }
}

/// Sorts a watch's error by what an operator would do about it.
fn failed(failure: &Failure) -> Connection {
    let (reason, remedy) = match failure.code {
        Some(401) => (
            "Unauthorized",
            "its token was refused: link the cluster again to renew it",
        ),
        Some(403) => (
            "Forbidden",
            "its account may not read Services and EndpointSlices there: apply the output of \
             'mesh multicluster install' there again",
        ),
        Some(_) => (
            "Refused",
            "its API server refused to be watched; what was imported stays as it was",
        ),
        None => (
            "Unreachable",
            "its API server cannot be reached: check the address in the credentials Secret, and \
             the network; what was imported stays as it was",
        ),
    };
    Connection::Failed {
        reason,
        message: format!("{remedy} ({})", failure.message),
    }
}

async fn compare_trust(link: &Link, client: Client, store: &Store, update: Update<'_>) {
    let namespace = link.spec.target_cluster_linkerd_namespace.as_deref();
    let namespace = namespace
        .filter(|ns| !ns.is_empty())
        .unwrap_or(names::CONTROL_PLANE_NS);
    let mut backoff = Backoff::new(Duration::from_secs(1), TRUST_PERIOD, 0.1);
    loop {
        let shared = trust::shared(&client, namespace, store.anchors());
        let result = match tokio::time::timeout(TRUST_TIMEOUT, shared).await {
            Ok(result) => result,
            Err(_) => Err("no answer".to_owned()),
        };
        let pause = match &result {
            Ok(_) => {
                backoff.reset();
                TRUST_PERIOD
            }
            Err(_) => backoff.next_delay(),
        };
        update(&|state| {
            state.trust = match &result {
                Ok(true) => Trust::Shared,
                Ok(false) => Trust::Foreign,
                Err(error) => match &state.trust {
                    // A peer that does not answer has not changed its mind.
                    known @ (Trust::Shared | Trust::Foreign) => known.clone(),
                    _ => Trust::Unreadable(error.clone()),
                },
            };
        });
        tokio::time::sleep(pause).await;
    }
}
