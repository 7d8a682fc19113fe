//! A watch that never gives up: after every failure it lists anew, and waits longer each time. Nothing
//! heard is never taken for nothing there.
//!
//! Going on from the last revision instead would be for ever silent where the server is back with an
//! older state: to it, that revision is still to come.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt as _, unfold};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Everything that happens to the objects of `api`, each new list announced by `Init`.
pub(super) fn follow<K>(api: Api<K>, what: &'static str) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    follow_some(api, watcher::Config::default(), what)
}

/// The same for the objects `which` selects.
pub(super) fn follow_some<K>(
    api: Api<K>,
    which: watcher::Config,
    what: &'static str,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let state: (Option<BoxStream<'static, watcher::Result<Event<K>>>>, u32) = (None, 0);
    unfold(state, move |(mut stream, mut failures)| {
        let (api, which) = (api.clone(), which.clone());
        async move {
            loop {
                let open =
                    stream.get_or_insert_with(|| watcher(api.clone(), which.clone()).boxed());
                let error = match open.next().await {
                    // A list may begin without one ever succeeding.
                    Some(Ok(Event::Init)) => return Some((Event::Init, (stream, failures))),
                    Some(Ok(event)) => return Some((event, (stream, 0))),
                    Some(Err(error)) => Some(error),
                    None => None,
                };
                failures = failures.saturating_add(1);
                stream = None;
                if let Some(error) = error {
                    tracing::warn!(%error, failures, "cannot follow {what}, will retry");
                }
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8) - 1);
                tokio::time::sleep(pause.min(MAX_PAUSE)).await;
            }
        }
    })
}
