//! Following the issuer's Secret and the trust anchors' ConfigMap.

use super::{Issuers, Loaded, Names, Problem, State, expires_within, load};
use crate::metrics::Metrics;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        events::{Event, EventType, Recorder, Reporter},
        watcher,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

/// What one of the watches saw; `None` when the object does not exist.
#[derive(Debug)]
pub(super) enum Seen {
    Secret(Option<Box<Secret>>),
    Roots(Option<Box<ConfigMap>>),
}

/// Both objects as last seen; the outer `None` before they were looked for.
#[derive(Debug, Default)]
pub(super) struct Follower {
    secret: Option<Option<Box<Secret>>>,
    roots: Option<Option<Box<ConfigMap>>>,
}

/// What is wrong may pass without anybody's doing: an issuer made on a machine whose clock is ahead
/// becomes valid. And one that was good comes closer to its end.
const AGAIN: Duration = Duration::from_secs(60);
/// Issuers are replaced by people or by cert-manager; both want more notice than this.
const SOON: Duration = Duration::from_secs(48 * 60 * 60);

/// After so many failures in a row a watch starts anew.
const PATIENCE: u32 = 3;
/// Before it does.
const PAUSE: Duration = Duration::from_secs(1);

/// The issuer, and the work that keeps it current, which never ends.
pub(crate) fn watch(
    client: Client,
    names: Names,
    metrics: Metrics,
) -> (Issuers, impl Future<Output = ()> + Send) {
    let (states, issuers) = watch::channel(State {
        current: None,
        problem: Some(Problem::Starting),
    });
    let mut reports = Reports::new(client.clone(), &names);
    let work = async move {
        let mut seen = Box::pin(stream(client, &names));
        let mut follower = Follower::default();
        let mut again = tokio::time::interval(AGAIN);
        loop {
            let outcome = tokio::select! {
                seen = seen.next() => match seen {
                    Some(seen) => follower.follow(&names, seen),
                    None => return,
                },
                _ = again.tick() => {
                    let state = states.borrow().clone();
                    reports.remind(&state).await;
                    follower.again(&names, &state)
                }
            };
            let Some(outcome) = outcome else {
                continue;
            };
            metrics.loaded(outcome.as_ref().ok().map(|loaded| loaded.issuer.expiry()));
            let before = states.borrow().clone();
            reports.report(&outcome, &before).await;
            states.send_modify(|state| state.update(outcome));
        }
    };
    (Issuers(issuers), work)
}

impl State {
    /// A good issuer replaces; a problem leaves the one that works.
    pub(super) fn update(&mut self, outcome: Result<Loaded, Problem>) {
        match outcome {
            Ok(loaded) => {
                self.current = Some(Arc::new(loaded));
                self.problem = None;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

impl Follower {
    /// Takes in what was seen. Answers nothing while one object was not looked for yet, and where
    /// nothing that matters has changed (watches repeat themselves).
    pub(super) fn follow(&mut self, names: &Names, seen: Seen) -> Option<Result<Loaded, Problem>> {
        let changed = match seen {
            Seen::Secret(secret) => {
                let old = self.secret.replace(secret);
                let data = |secret: &Option<Box<Secret>>| secret.as_ref().map(|it| it.data.clone());
                old.as_ref().map(data) != self.secret.as_ref().map(data)
            }
            Seen::Roots(roots) => {
                let old = self.roots.replace(roots);
                let data =
                    |roots: &Option<Box<ConfigMap>>| roots.as_ref().map(|it| it.data.clone());
                old.as_ref().map(data) != self.roots.as_ref().map(data)
            }
        };
        let (secret, roots) = (self.secret.as_ref()?, self.roots.as_ref()?);
        changed.then(|| load(names, secret.as_deref(), roots.as_deref()))
    }

    /// Tries again what could not be used, and answers only if it can be now.
    pub(super) fn again(&self, names: &Names, state: &State) -> Option<Result<Loaded, Problem>> {
        state.problem.as_ref()?;
        let (secret, roots) = (self.secret.as_ref()?, self.roots.as_ref()?);
        Some(load(names, secret.as_deref(), roots.as_deref())).filter(Result::is_ok)
    }
}

fn stream(client: Client, names: &Names) -> impl Stream<Item = Seen> + Send + use<> {
    let secrets = Api::<Secret>::namespaced(client.clone(), &names.namespace);
    let roots = Api::<ConfigMap>::namespaced(client, &names.namespace);
    let secret_name = format!("Secret {}/{}", names.namespace, names.secret);
    let roots_name = format!("ConfigMap {}/{}", names.namespace, names.roots);
    let secrets = one(secrets, &names.secret, secret_name).map(|it| Seen::Secret(it.map(Box::new)));
    let roots = one(roots, &names.roots, roots_name).map(|it| Seen::Roots(it.map(Box::new)));
    stream::select(secrets, roots)
}

/// One object, for ever; failures to watch are logged and retried with backoff. The watch starts
/// anew where the server says that it knows nothing of where it stands, and when it keeps failing:
/// a server that was restored from a backup may never come to where it stands.
fn one<K>(api: Api<K>, name: &str, what: String) -> impl Stream<Item = Option<K>> + Send + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let name = name.to_owned();
    let start = move || watcher::watch_object(api.clone(), &name).default_backoff();
    let begun = (start().boxed(), 0_u32);
    stream::unfold(begun, move |(mut open, mut failures)| {
        let (start, what) = (start.clone(), what.clone());
        async move {
            loop {
                match open.next().await {
                    Some(Ok(seen)) => return Some((seen, (open, 0))),
                    Some(Err(error)) => {
                        failures += 1;
                        let anew = forgotten(&error) || failures.is_multiple_of(PATIENCE);
                        // With the causes: the outermost says only that it failed.
                        let error = format!("{:#}", anyhow::Error::new(error));
                        tracing::warn!(
                            error,
                            "cannot watch {what}, trying again; is the API server up, and may identity read it?"
                        );
                        if !anew {
                            continue;
                        }
                    }
                    None => {}
                }
                tokio::time::sleep(PAUSE).await;
                open = start().boxed();
            }
        }
    })
}

/// Whether the server knows nothing of where a watch stands.
fn forgotten(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    };
    status.is_some_and(|status| status.code == 410)
}

/// Tells people: in the log, and as Events of the Secret where they look for it.
struct Reports {
    recorder: Recorder,
    secret: ObjectReference,
    /// Of which issuer's end was told, by its expiry, and when.
    reminded: Option<(SystemTime, Instant)>,
}

impl Reports {
    fn new(client: Client, names: &Names) -> Self {
        let reporter = Reporter {
            controller: mesh_contract::names::IDENTITY.to_owned(),
            instance: std::env::var("POD_NAME").ok(),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            reminded: None,
            secret: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                namespace: Some(names.namespace.clone()),
                name: Some(names.secret.clone()),
                ..ObjectReference::default()
            },
        }
    }

    async fn report(&self, outcome: &Result<Loaded, Problem>, before: &State) {
        match outcome {
            Ok(_) => {
                tracing::info!(replaced = before.current.is_some(), "issuer loaded");
                let note = "the issuer is in use".to_owned();
                self.publish(EventType::Normal, "IssuerUpdated", note).await;
            }
            Err(problem) => {
                let kept = before.current.is_some();
                tracing::error!(%problem, kept_old = kept, "the issuer cannot be used");
                let note = problem.to_string();
                self.publish(EventType::Warning, "IssuerValidationFailed", note)
                    .await;
            }
        }
    }

    /// Says, once a day and again after each replacement, that the issuer ends soon.
    async fn remind(&mut self, state: &State) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let Some(loaded) = &state.current else {
            return;
        };
        let expiry = loaded.issuer.expiry();
        let told = self
            .reminded
            .is_some_and(|(of, at)| of == expiry && at.elapsed() < DAY);
        if told || !expires_within(loaded, SOON) {
            return;
        }
        self.reminded = Some((expiry, Instant::now()));
        let note = format!(
            "the issuer expires at {}, and no certificate outlives it; replace it in its Secret",
            time(expiry)
        );
        tracing::warn!("{note}");
        self.publish(EventType::Warning, "IssuerExpiresSoon", note)
            .await;
    }

    async fn publish(&self, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: "Load".to_owned(),
            secondary: None,
        };
        let publishing = self.recorder.publish(&event, &self.secret);
        // An Event is a courtesy: what happened is in the log.
        match tokio::time::timeout(Duration::from_secs(2), publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot write an Event"),
            Err(_) => tracing::debug!("writing an Event took too long"),
        }
    }
}

/// As people write it.
fn time(time: SystemTime) -> String {
    k8s_openapi::jiff::Timestamp::try_from(time)
        .map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
