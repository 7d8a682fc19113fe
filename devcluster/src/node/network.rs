//! The `loopback` network: names and load balancers, kept as the cluster's Services and
//! EndpointSlices say. Cluster IPs stay virtual, only sidecars interpret them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt as _};
use mesh_contract::labels::SERVICE_NAME;
use mesh_daemon::readiness::Guard;
use tokio::time::Instant;

use super::follow::follow;

mod forward;
mod hosts;

/// Changes arrive in bursts; this much later one answer is made of them all.
const SETTLE: Duration = Duration::from_millis(10);

/// (namespace, name).
type Key = (String, String);

/// What is known of the cluster's Services.
#[derive(Debug, Default)]
struct View {
    services: HashMap<Key, Service>,
    slices: HashMap<Key, EndpointSlice>,
}

impl View {
    /// The slices of a Service.
    fn slices_of<'a>(&'a self, service: &'a Key) -> impl Iterator<Item = &'a EndpointSlice> {
        let of = |s: &EndpointSlice| {
            s.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)) == Some(&service.1)
        };
        self.slices
            .iter()
            .filter(move |((ns, _), s)| ns == &service.0 && of(s))
            .map(|(_, s)| s)
    }
}

/// Keeps the hosts file and the load balancers up to date for ever.
pub(super) struct Network {
    pub(super) client: Client,
    pub(super) hosts_file: PathBuf,
    pub(super) cluster_domain: String,
}

impl Network {
    /// `guard` is dropped when both kinds were listed and written down.
    pub(super) async fn run(self, guard: Guard) {
        let services = follow(Api::<Service>::all(self.client.clone()), "services");
        let slices = follow(
            Api::<EndpointSlice>::all(self.client.clone()),
            "endpoint slices",
        );
        let (mut services, mut slices) = (std::pin::pin!(services), std::pin::pin!(slices));
        let mut view = View::default();
        let (mut services_listed, mut slices_listed) = (Listing::default(), Listing::default());
        let mut guard = Some(guard);
        let mut forwarders = forward::Forwarders::default();
        let mut due: Option<Instant> = None;
        loop {
            let settled = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next(&mut services, &mut view.services, &mut services_listed) => {}
                () = next(&mut slices, &mut view.slices, &mut slices_listed) => {}
                () = settled => {
                    due = None;
                    self.write(&view);
                    forwarders.follow(forward::desired(&view));
                    guard.take();
                    continue;
                }
            }
            // Half a view would empty names and load balancers that are fine.
            if services_listed.complete && slices_listed.complete {
                due = due.or_else(|| Some(Instant::now() + SETTLE));
            }
        }
    }

    fn write(&self, view: &View) {
        let text = hosts::render(view, &self.cluster_domain);
        if std::fs::read_to_string(&self.hosts_file).is_ok_and(|held| held == text) {
            return;
        }
        if let Err(error) = super::disk::write_atomic(&self.hosts_file, text.as_bytes(), 0o600) {
            tracing::error!(file = %self.hosts_file.display(), %error, "cannot write the hosts file; names in pods are out of date");
        }
    }
}

/// A list in progress, so that a new one replaces the old view at once and not piece by piece.
#[derive(Debug, Default)]
struct Listing {
    seen: Vec<Key>,
    complete: bool,
}

/// Takes the next change into `known`.
async fn next<K>(
    stream: &mut (impl Stream<Item = Event<K>> + Unpin),
    known: &mut HashMap<Key, K>,
    listing: &mut Listing,
) where
    K: Resource,
{
    let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    match stream.next().await {
        Some(Event::Init) => listing.seen.clear(),
        Some(Event::InitApply(object)) => {
            listing.seen.push(key(&object));
            known.insert(key(&object), object);
        }
        Some(Event::InitDone) => {
            known.retain(|k, _| listing.seen.contains(k));
            listing.complete = true;
        }
        Some(Event::Apply(object)) => {
            known.insert(key(&object), object);
        }
        Some(Event::Delete(object)) => {
            known.remove(&key(&object));
        }
        None => std::future::pending().await,
    }
}
