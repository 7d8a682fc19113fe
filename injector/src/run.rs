//! The process: bound first, then watched, then served; ready once the API server can call it.

use crate::{
    args::Args,
    metrics::Metrics,
    serving::Keeper,
    webhook::{self, CertificateSlot, Service},
    world::{ConfigIndex, World},
};
use anyhow::Context as _;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{ConfigMap, Namespace, Secret},
    },
    serde::de::DeserializeOwned,
};
use kube::{Api, Client, Resource, api::ListParams, core::DeserializeGuard};
use mesh_contract::names;
use mesh_daemon::{
    Shutdown,
    admin::Admin,
    readiness::{Guard, Readiness},
};
use mesh_watch::{Index, Source, WatchState, drive};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{fmt::Debug, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};

/// Serves the admission webhooks until the shutdown.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("no credentials for this cluster's API server: run in a pod, or set KUBECONFIG")?;
    let listener = mesh_daemon::net::bind(args.addr)
        .await
        .with_context(|| format!("cannot listen on {} (--addr)", args.addr))?;
    serve(client, listener, args, shutdown).await
}

/// The same, at a port that is bound.
pub(crate) async fn serve(
    client: Client,
    listener: TcpListener,
    args: Args,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let configured = readiness.guard("configuration");
    let certified = readiness.guard("certificate");
    let mut registry = Registry::default();
    mesh_daemon::process::register(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let world = World::new(&args.controller_namespace);
    let certificate = CertificateSlot::default();
    let keeper = Keeper::new(client.clone(), &args, certificate.clone(), metrics.clone());

    let mut watches = Watches::new(client.clone(), readiness.clone());
    watches.start(&args, &world, &keeper);
    let states = watches.states.clone();
    let seen = world.clone();
    let admin = Admin::new(readiness, registry)
        .state("world", Arc::new(move || seen.to_json()))
        .state("certificate", keeper.state())
        .state(
            "watches",
            Arc::new(move || states.iter().map(WatchState::to_json).collect()),
        )
        .bind(args.admin_addr)
        .await
        .with_context(|| format!("cannot listen on {} (--admin-addr)", args.admin_addr))?;
    tracing::info!(addr = %listener.local_addr()?, admin = %admin.addr(), name = args.server_name(), "listening");

    let mut background = JoinSet::new();
    background.spawn(admin.serve(shutdown.clone()));
    let mut ready = keeper.ready();
    background.spawn(keeper.run());
    background.spawn(async move {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            drop(certified);
        }
        std::future::pending().await
    });
    let world_configured = world.clone();
    background.spawn(async move {
        // Watches wake nobody here: a look now and then is enough for a start.
        while world_configured.settings().is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        drop(configured);
        std::future::pending().await
    });
    let service = Service::new(client, world, metrics, &args.pod_name);
    webhook::serve(listener, certificate, service, shutdown).await
}

/// The running watches; dropping them ends them.
struct Watches {
    client: Client,
    readiness: Readiness,
    tasks: JoinSet<()>,
    states: Vec<WatchState>,
}

impl Watches {
    fn new(client: Client, readiness: Readiness) -> Self {
        Self {
            client,
            readiness,
            tasks: JoinSet::new(),
            states: Vec::new(),
        }
    }

    fn start(&mut self, args: &Args, world: &World, keeper: &Keeper) {
        let namespace = &args.controller_namespace;
        let guard = self.readiness.guard("namespaces");
        let all: Api<_> = Api::all(self.client.clone());
        let index = world.namespaces.clone();
        self.add::<Namespace, _>("namespaces", all, None, Some(guard), index, || {});
        for (name, key) in [
            (names::CONFIG, "values"),
            (names::TRUST_ROOTS, names::TRUST_ROOTS_KEY),
        ] {
            let index = ConfigIndex {
                config: world.config.clone(),
                key,
            };
            let api = Api::namespaced(self.client.clone(), namespace);
            let index = Arc::new(Mutex::new(index));
            self.add::<ConfigMap, _>(name, api, Some(name), None, index, || {});
        }
        // These three wake the keeper, which reads what it needs itself.
        let secrets = Api::namespaced(self.client.clone(), namespace);
        self.wake::<Secret>("serving certificate", secrets, &args.tls_secret, keeper);
        let api = Api::all(self.client.clone());
        let name = names::INJECTOR_WEBHOOK_CONFIG;
        self.wake::<MutatingWebhookConfiguration>("mutating webhook", api, name, keeper);
        let api = Api::all(self.client.clone());
        let name = names::VALIDATOR_WEBHOOK_CONFIG;
        self.wake::<ValidatingWebhookConfiguration>("validating webhook", api, name, keeper);
    }

    fn wake<K>(
        &mut self,
        what: &'static str,
        api: Api<DeserializeGuard<K>>,
        name: &str,
        keeper: &Keeper,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let changed = keeper.changed.clone();
        let nothing = Arc::new(Mutex::new(Nothing));
        let wake = move || changed.notify_one();
        self.add::<K, _>(what, api, Some(name), None, nothing, wake);
    }

    fn add<K, I>(
        &mut self,
        what: &'static str,
        api: Api<DeserializeGuard<K>>,
        name: Option<&str>,
        guard: Option<Guard>,
        index: Arc<Mutex<I>>,
        changed: impl Fn() + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        I: Index<K>,
    {
        let state = WatchState::new(what);
        self.states.push(state.clone());
        let mut select = ListParams::default();
        if let Some(name) = name {
            // The role names the object, so only a list of that one is allowed.
            select = select.fields(&format!("metadata.name={name}"));
        }
        let source = Source {
            api,
            select,
            state,
            guard,
        };
        self.tasks.spawn(drive(source, index, changed));
    }
}

/// Keeps nothing.
struct Nothing;

impl<K> Index<K> for Nothing {
    fn apply(&mut self, _: K) {}
    fn delete(&mut self, _: Option<&str>, _: &str) {}
    fn reset(&mut self, _: Vec<K>) {}
}
