//! The process: follows everything, plans on every change, and writes while it holds the lease.

use crate::{
    Args,
    apply::apply,
    local::Follower,
    metrics::Metrics,
    plan::{Action, Input, ObjectKey, Plan, Problem, Report, diff},
    status::{differs, status},
};
use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mesh_api::link::{Link, LinkStatus};
use mesh_clusters::{Links, LinksConfig, RemoteState};
use mesh_contract::{identity::WorkloadIdentity, names};
use mesh_daemon::{Shutdown, admin::Admin, net::Resolver, readiness::Readiness};
use mesh_tls::{GrpcCertifier, Store, TrustAnchors, certify_loop, control};
use mesh_watch::{Writer, lease};
use prometheus_client::registry::Registry;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

const LEASE: &str = "service-mirror-write";
/// Changes that come together are planned for together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Even if no watch says so, everything is planned for again.
const RESYNC: Duration = Duration::from_secs(60);
/// A status that differs only in a latency is written no more often than this.
const LATENCY_PERIOD: Duration = Duration::from_secs(10);
/// Time until a status that was written is heard again with the Link.
const ECHO: Duration = Duration::from_secs(5);
/// Time until a status or an Event that could not be written is tried again.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Services, then their slices, then a look at what the first two brought about.
const STEPS: usize = 3;
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
    let store = certify(&args, anchors.clone(), resolver.clone(), &shutdown)?;
    let readiness = Readiness::default();
    let follower = Follower::new();
    let links = Links::spawn(
        LinksConfig {
            client: client.clone(),
            namespace: args.namespace.clone(),
            store,
            anchors,
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
    let mirror = Mirror {
        writer: Writer::default(),
        recorder: recorder(&client, &args.pod_name),
        client: client.clone(),
        namespace: args.namespace.clone(),
        follower: follower.clone(),
        links,
        metrics,
        held,
        reported: BTreeSet::new(),
        written: BTreeMap::new(),
    };
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

fn recorder(client: &Client, pod: &str) -> Recorder {
    let reporter = Reporter {
        controller: names::MIRROR_CONTROLLER.to_owned(),
        instance: Some(pod.to_owned()),
    };
    Recorder::new(client.clone(), reporter)
}

struct Mirror {
    client: Client,
    namespace: String,
    follower: Follower,
    links: Links,
    metrics: Metrics,
    held: watch::Receiver<bool>,
    writer: Writer<ObjectKey>,
    recorder: Recorder,
    /// Problems an Event was written about.
    reported: BTreeSet<(String, String, String, String)>,
    /// The status last written of each Link, and when.
    written: BTreeMap<String, (LinkStatus, Instant)>,
}

impl Mirror {
    async fn run(mut self, mut local_changes: watch::Receiver<()>) {
        let mut remote_changes = self.links.changes();
        let mut held = self.held.clone();
        loop {
            let retry_at = self.pass().await;
            let pause = retry_at.map_or(RESYNC, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                _ = local_changes.changed() => {}
                _ = remote_changes.changed() => {}
                _ = held.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep(DEBOUNCE).await;
            local_changes.borrow_and_update();
            remote_changes.borrow_and_update();
            held.borrow_and_update();
        }
    }

    /// Plans and writes until nothing is left to do; when to come back for the sake of what failed.
    async fn pass(&mut self) -> Option<Instant> {
        let remotes = self.links.states();
        self.metrics.record(&remotes, self.writer.counters());
        if !*self.held.borrow() {
            // Somebody else may write meanwhile.
            self.written.clear();
            return None;
        }
        if !self.links.is_synced() {
            return None;
        }
        let (mut plan, mut retry_at) = (Plan::default(), None);
        for _ in 0..STEPS {
            let local = self.follower.local()?;
            plan = crate::plan::plan(Input {
                remotes: &remotes,
                local: &local,
            });
            let wrote;
            (wrote, retry_at) = self.write(diff(&plan, &local)).await;
            if !wrote {
                break;
            }
        }
        plan.note_failures(self.writer.failures());
        let told = self.write_statuses(&remotes, &plan).await;
        let told = self.report(&remotes, &plan).await && told;
        let again = (!told).then(|| Instant::now() + TELL_AGAIN);
        retry_at.into_iter().chain(again).min()
    }

    /// Whether anything was written, and when to come back for what was not.
    async fn write(&mut self, actions: Vec<(ObjectKey, Action)>) -> (bool, Option<Instant>) {
        let (client, follower) = (self.client.clone(), self.follower.clone());
        let outcome = self
            .writer
            .run(actions, |action| {
                let (client, follower) = (client.clone(), follower.clone());
                async move { apply(&client, &follower, action).await }
            })
            .await;
        for (key, ()) in &outcome.done {
            tracing::info!(?key, "written");
        }
        for (key, error) in &outcome.failed {
            tracing::warn!(?key, error, "not written; trying again");
        }
        (!outcome.done.is_empty(), outcome.retry_at)
    }

    /// Writes what changed of the Links' status; whether that worked.
    async fn write_statuses(
        &mut self,
        remotes: &BTreeMap<String, RemoteState>,
        plan: &Plan,
    ) -> bool {
        let mut told = true;
        self.written.retain(|link, _| remotes.contains_key(link));
        let api: Api<Link> = Api::namespaced(self.client.clone(), &self.namespace);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for (link, remote) in remotes {
            let mut wanted = status(link, remote, plan, &now);
            if let Some((written, at)) = self.written.get(link) {
                // Times that were written a moment ago are not in the Link as it is followed yet.
                keep_times(&mut wanted, written);
                let slow_only = !differs(&wanted, written);
                // Once the Link has been heard again, what it says counts.
                let there = remote.link.status.as_ref() == Some(written);
                let settled = there || at.elapsed() < ECHO;
                if (settled && wanted == *written) || (slow_only && at.elapsed() < LATENCY_PERIOD) {
                    continue;
                }
            }
            let patch = Patch::Merge(json!({ "status": wanted }));
            match api
                .patch_status(link, &PatchParams::default(), &patch)
                .await
            {
                Ok(_) => {
                    self.written.insert(link.clone(), (wanted, Instant::now()));
                }
                // It was deleted a moment ago.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(link, %error, "cannot write the Link's status");
                    told = false;
                }
            }
        }
        told
    }

    /// Writes one Event for each new problem; whether that worked.
    async fn report(&mut self, remotes: &BTreeMap<String, RemoteState>, plan: &Plan) -> bool {
        let mut told = true;
        let mut current = BTreeSet::new();
        for report in &plan.reports {
            let Err(problem) = &report.result else {
                continue;
            };
            let key = (
                report.link.clone(),
                report.remote.0.clone(),
                report.remote.1.clone(),
                problem.reason.to_owned(),
            );
            if !self.reported.contains(&key)
                && let Some(remote) = remotes.get(&report.link)
                && !self.event(remote, report, problem).await
            {
                told = false;
                continue;
            }
            current.insert(key);
        }
        self.reported = current;
        told
    }

    async fn event(&self, remote: &RemoteState, report: &Report, problem: &Problem) -> bool {
        let (namespace, name) = &report.remote;
        let note = format!(
            "{namespace}/{name} of {} is not mirrored: {}",
            report.link, problem.message
        );
        tracing::warn!("{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: problem.reason.to_owned(),
            note: Some(note),
            action: "Mirror".to_owned(),
            secondary: None,
        };
        let about = remote.link.object_ref(&());
        let published = self.recorder.publish(&event, &about).await;
        if let Err(error) = &published {
            tracing::warn!(%error, "cannot write an Event");
        }
        published.is_ok()
    }
}

/// Takes over the times of conditions that have the same status in `written`.
fn keep_times(wanted: &mut LinkStatus, written: &LinkStatus) {
    let keep = |wanted: &mut [mesh_api::link::Condition], written: &[mesh_api::link::Condition]| {
        for condition in wanted {
            let same = written
                .iter()
                .find(|w| w.type_ == condition.type_ && w.status == condition.status);
            if let Some(same) = same {
                condition
                    .last_transition_time
                    .clone_from(&same.last_transition_time);
            }
        }
    };
    keep(&mut wanted.conditions, &written.conditions);
    for (wanted, written) in [
        (&mut wanted.mirror_services, &written.mirror_services),
        (&mut wanted.federated_services, &written.federated_services),
    ] {
        for service in wanted {
            if let Some(known) = written.iter().find(|w| w.remote_ref == service.remote_ref) {
                keep(&mut service.conditions, &known.conditions);
            }
        }
    }
}
