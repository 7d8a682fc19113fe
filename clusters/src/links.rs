//! From Links and their Secrets to running remotes: one task a Link, started anew when the Link
//! or its credentials change, stopped when the Link is gone.

use crate::remote::{self, Local, RemoteState};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use mesh_api::link::{Link, LinkSpec};
use mesh_contract::annotations::TRUST_DOMAIN;
use mesh_daemon::{Shutdown, net::Resolver, readiness::Guard};
use mesh_tls::Store;
use mesh_watch::{Index, Source, WatchState, drive};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{sync::watch, task::AbortHandle};

/// What following Links needs.
pub struct LinksConfig {
    /// A client of this cluster.
    pub client: Client,
    /// Namespace of the Links and their Secrets.
    pub namespace: String,
    /// Certificate to probe gateways with, and what this cluster trusts.
    pub store: Store,
    /// Resolves gateways' names.
    pub resolver: Resolver,
    /// Dropped once Links and Secrets were listed.
    pub guard: Option<Guard>,
}

/// The linked clusters. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Links {
    states: Arc<Mutex<BTreeMap<String, RemoteState>>>,
    observed: Arc<Mutex<Observed>>,
    watches: [WatchState; 2],
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Observed {
    links: BTreeMap<String, Link>,
    links_synced: bool,
    secrets: BTreeMap<String, Secret>,
    secrets_synced: bool,
    /// Every Link that was listed is in the states.
    reconciled: bool,
}

/// A running remote, and what it was started with.
struct Running {
    spec: LinkSpec,
    kubeconfig: Option<Secret>,
    task: AbortHandle,
    /// Tasks end a moment after they are told to; what they say then no longer counts.
    current: Arc<AtomicBool>,
}

impl Running {
    fn stop(&self) {
        self.current.store(false, Ordering::Release);
        self.task.abort();
    }
}

impl Links {
    /// Starts following Links until shutdown.
    pub fn spawn(config: LinksConfig, shutdown: Shutdown) -> Self {
        let links = Self {
            states: Arc::default(),
            observed: Arc::default(),
            watches: [WatchState::new("links"), WatchState::new("secrets")],
            changed: Arc::new(watch::Sender::new(())),
        };
        let follow = links.clone().follow(config);
        tokio::spawn(async move {
            tokio::select! {
                () = follow => {}
                () = shutdown.requested() => {}
            }
        });
        links
    }

    /// Whether the Links were listed once and all are in [`Self::states`]. Before that, no Link
    /// does not mean none.
    pub fn is_synced(&self) -> bool {
        self.observed.lock().reconciled
    }

    /// What is known of every linked cluster, by the name of its Link.
    pub fn states(&self) -> BTreeMap<String, RemoteState> {
        self.states.lock().clone()
    }

    /// Links that are being deleted: nothing of them is followed, and what was made for them goes.
    pub fn leaving(&self) -> Vec<Link> {
        let observed = self.observed.lock();
        let links = observed.links.values();
        links.filter(|link| is_leaving(link)).cloned().collect()
    }

    /// Notified on every change of [`Self::states`] and [`Self::leaving`].
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// For `/state`.
    pub fn to_json(&self) -> serde_json::Value {
        let remotes: BTreeMap<_, _> = self
            .states()
            .into_iter()
            .map(|(name, state)| {
                let gateway = state.gateway.map(|gateway| {
                    serde_json::json!({
                        "addresses": gateway.addresses,
                        "alive": gateway.liveness.as_str(),
                        "latencyMs": gateway.latency.map(|l| l.as_millis()),
                        "probeError": gateway.probe_error,
                        "resolveError": gateway.resolve_error,
                        "probes": { "answered": gateway.probes.0, "failed": gateway.probes.1 },
                    })
                });
                let remote = serde_json::json!({
                    "connection": format!("{:?}", state.connection),
                    "trust": format!("{:?}", state.trust),
                    "services": state.snapshot.services.len(),
                    "synced": state.snapshot.synced,
                    "gateway": gateway,
                });
                (name, remote)
            })
            .collect();
        let watches: Vec<_> = self.watches.iter().map(WatchState::to_json).collect();
        serde_json::json!({ "watches": watches, "remotes": remotes })
    }

    async fn follow(self, config: LinksConfig) {
        let notify = watch::Sender::new(());
        let mut changes = notify.subscribe();
        let local = Local {
            store: config.store,
            resolver: config.resolver,
        };
        let source_of_links = Source {
            api: Api::namespaced(config.client.clone(), &config.namespace),
            select: ListParams::default(),
            state: self.watches[0].clone(),
            guard: config.guard,
        };
        let source_of_secrets = Source {
            api: Api::namespaced(config.client, &config.namespace),
            select: ListParams::default().fields(&format!(
                "type={}",
                mesh_contract::names::CREDENTIALS_SECRET_TYPE
            )),
            state: self.watches[1].clone(),
            guard: None,
        };
        let changed = || {
            notify.send_replace(());
        };
        let reconcile = async {
            let mut running = BTreeMap::new();
            while changes.changed().await.is_ok() {
                self.reconcile(&mut running, &local);
            }
        };
        futures::future::join3(
            drive::<Link, _>(source_of_links, self.observed.clone(), changed),
            drive::<Secret, _>(source_of_secrets, self.observed.clone(), changed),
            reconcile,
        )
        .await;
    }

    fn reconcile(&self, running: &mut BTreeMap<String, Running>, local: &Local) {
        let wanted: Vec<_> = {
            let observed = self.observed.lock();
            if !(observed.links_synced && observed.secrets_synced) {
                return;
            }
            let links = observed.links.values();
            links
                .filter(|link| !is_leaving(link))
                .map(|link| (Arc::new(link.clone()), observed.secret_of(link)))
                .collect()
        };
        running.retain(|name, remote| {
            let keep = wanted.iter().any(|(link, _)| &link.name_any() == name);
            if !keep {
                tracing::info!(link = name, "no longer linked");
                let mut states = self.states.lock();
                remote.stop();
                states.remove(name);
            }
            keep
        });
        for (link, secret) in wanted {
            let name = link.name_any();
            match running.get(&name) {
                Some(remote) if remote.spec == link.spec && remote.kubeconfig == secret => {
                    self.refresh(&name, link);
                }
                before => {
                    tracing::info!(link = name, "following the linked cluster");
                    let started = self.start(link, secret, local.clone(), before);
                    running.insert(name, started);
                }
            }
        }
        self.observed.lock().reconciled = true;
        self.changed.send_replace(());
    }

    /// The metadata or status of a Link changed: nothing has to start anew.
    fn refresh(&self, name: &str, link: Arc<Link>) {
        if let Some(state) = self.states.lock().get_mut(name) {
            state.link = link;
        }
    }

    /// Starts following `link` in place of `before`.
    fn start(
        &self,
        link: Arc<Link>,
        secret: Option<Secret>,
        local: Local,
        before: Option<&Running>,
    ) -> Running {
        let name = link.name_any();
        let current = Arc::new(AtomicBool::new(true));
        let initial = {
            let mut states = self.states.lock();
            if let Some(before) = before {
                before.stop();
            }
            let initial = remote::start(link.clone(), states.get(&name).cloned());
            states.insert(name.clone(), initial.clone());
            initial
        };
        let publish = {
            let (states, changed, current) =
                (self.states.clone(), self.changed.clone(), current.clone());
            move |mut state: RemoteState| {
                let mut states = states.lock();
                if !current.load(Ordering::Acquire) {
                    return;
                }
                if let Some(known) = states.get(&name) {
                    state.link = known.link.clone(); // the newest metadata, see `refresh`
                }
                states.insert(name.clone(), state);
                drop(states);
                changed.send_replace(());
            }
        };
        let remote = remote::follow(initial, secret.clone(), local, publish);
        Running {
            spec: link.spec.clone(),
            kubeconfig: secret,
            task: tokio::spawn(remote).abort_handle(),
            current,
        }
    }
}

fn is_leaving(link: &Link) -> bool {
    link.metadata.deletion_timestamp.is_some()
}

impl Observed {
    /// The Secret a Link names, reduced to what matters: what else is touched restarts nothing.
    fn secret_of(&self, link: &Link) -> Option<Secret> {
        let name = link.spec.cluster_credentials_secret.as_deref()?;
        let secret = self.secrets.get(name)?;
        let domain = secret.annotations().get_key_value(TRUST_DOMAIN);
        let mut kept = Secret {
            data: secret.data.clone(),
            ..Secret::default()
        };
        kept.metadata.annotations =
            domain.map(|(key, value)| BTreeMap::from([(key.clone(), value.clone())]));
        Some(kept)
    }
}

impl Index<Link> for Observed {
    fn apply(&mut self, link: Link) {
        self.links.insert(link.name_any(), link);
    }

    fn delete(&mut self, _: Option<&str>, name: &str) {
        self.links.remove(name);
    }

    fn reset(&mut self, links: Vec<Link>) {
        self.links = links
            .into_iter()
            .map(|link| (link.name_any(), link))
            .collect();
        self.links_synced = true;
    }
}

impl Index<Secret> for Observed {
    fn apply(&mut self, secret: Secret) {
        self.secrets.insert(secret.name_any(), secret);
    }

    fn delete(&mut self, _: Option<&str>, name: &str) {
        self.secrets.remove(name);
    }

    fn reset(&mut self, secrets: Vec<Secret>) {
        self.secrets = secrets.into_iter().map(|s| (s.name_any(), s)).collect();
        self.secrets_synced = true;
    }
}
