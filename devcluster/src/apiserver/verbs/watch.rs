//! `watch`: a list that goes on. Filters are applied to both sides of a change, so that an
//! object leaving the selection is a deletion to this watcher.

use super::super::convert;
use super::super::reply::{Form, Reply};
use super::super::request::ListParams;
use super::super::tables::{self, IncludeObject};
use super::Call;
use super::read::named;
use crate::status::ApiError;
use crate::store::{Event, EventKind, WatchStream};
use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// How often a quiet watch says how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How long a watch lasts unless the client says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

struct Watch {
    call: Call,
    params: ListParams,
    include: IncludeObject,
    events: WatchStream,
    registered: tokio::sync::watch::Receiver<u64>,
    /// The end of what existed at the start is yet to be announced at this revision.
    initial_until: Option<u64>,
    bookmarks: Interval,
    ends: Instant,
    headings_sent: bool,
    over: bool,
}

pub(super) fn watch(call: Call) -> Result<Reply, ApiError> {
    let params = ListParams::read(&call.query)?;
    params.fields.check(&call.def)?;
    let include = IncludeObject::read(call.query.text("includeObject"))?;
    let store = &call.api.store;
    let from_start = params.send_initial_events || params.resource_version.unwrap_or(0) == 0;
    let from = params.resource_version.filter(|_| !from_start);
    let initial_until = (params.send_initial_events && params.bookmarks).then_some(0);
    let events = match store.watch(&call.key(), from) {
        Ok(events) => events,
        // Said in the stream, as kube-apiserver does: clients look for it there.
        Err(error) => {
            let only = Full::new(line("ERROR", &error.to_value()));
            return Ok(Reply::stream(only.boxed_unsync(), "application/json"));
        }
    };
    let mut bookmarks = interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = Instant::now()
        + params
            .timeout
            .unwrap_or(DEFAULT_TIMEOUT)
            .min(DEFAULT_TIMEOUT);
    let registered = call.api.registry.changed();
    let watch = Watch {
        call,
        params,
        include,
        events,
        registered,
        initial_until,
        bookmarks,
        ends,
        headings_sent: false,
        over: false,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), watch))
    });
    Ok(Reply::stream(
        StreamBody::new(lines).boxed_unsync(),
        "application/json",
    ))
}

impl Watch {
    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            match self.events.try_next() {
                Ok(Some(event)) => {
                    if let Some(line) = self.event(&event) {
                        return Some(line);
                    }
                    continue;
                }
                Ok(None) if self.initial_until.take().is_some() => {
                    return Some(self.bookmark(true));
                }
                Ok(None) => {}
                Err(error) => return Some(self.failed(&error)),
            }
            if let Some(line) = self.wait().await {
                return Some(line);
            }
        }
        None
    }

    /// Waits until something happens; returns a line if that is already one.
    async fn wait(&mut self) -> Option<Bytes> {
        tokio::select! {
            event = self.events.next() => match event {
                Ok(event) => self.event(&event),
                Err(error) => Some(self.failed(&error)),
            },
            _ = self.bookmarks.tick(), if self.params.bookmarks => Some(self.bookmark(false)),
            () = sleep_until(self.ends) => {
                self.over = true;
                self.params.bookmarks.then(|| self.bookmark(false))
            }
            () = self.call.api.shutdown.requested() => {
                self.over = true;
                None
            }
            changed = self.registered.changed() => {
                let def = &self.call.def;
                let gone = self.call.api.registry.get(&def.group, &def.plural).is_none();
                self.over = changed.is_err() || gone;
                None
            }
        }
    }

    fn failed(&mut self, error: &ApiError) -> Bytes {
        self.over = true;
        line("ERROR", &error.to_value())
    }

    fn wanted(&self, obj: &Value) -> bool {
        self.call
            .namespace()
            .is_none_or(|ns| obj["metadata"]["namespace"] == *ns)
            && named(&self.call, obj)
            && self.params.labels.matches(obj)
            && self.params.fields.matches(obj)
    }

    fn event(&mut self, event: &Event) -> Option<Bytes> {
        let was = event.previous.as_ref().is_some_and(|obj| self.wanted(obj));
        let is = self.wanted(&event.object);
        let kind = match (event.kind, was, is) {
            (EventKind::Added, _, true) => "ADDED",
            (EventKind::Modified, true, true) => "MODIFIED",
            (EventKind::Modified, false, true) => "ADDED",
            (EventKind::Modified, true, false) => "DELETED",
            (EventKind::Deleted, was, is) if was || is => "DELETED",
            _ => return None,
        };
        let mut obj = event.object.clone();
        if kind == "DELETED" && event.kind == EventKind::Modified {
            // What left the selection is shown as it was in it, at the revision it left.
            if let Some(previous) = &event.previous {
                let mut last = (**previous).clone();
                last["metadata"]["resourceVersion"] = json!(event.revision.to_string());
                obj = Arc::new(last);
            }
        }
        let obj = convert::shown(&self.call.def, self.call.version(), &obj);
        let shown = self.show(&obj);
        Some(line(kind, &shown))
    }

    fn show(&mut self, obj: &Arc<Value>) -> Value {
        match self.call.form {
            Form::Object => (**obj).clone(),
            Form::Metadata => tables::metadata_only(obj),
            Form::Table => {
                let headings = !std::mem::replace(&mut self.headings_sent, true);
                let metadata = json!({"resourceVersion": obj["metadata"]["resourceVersion"]});
                let (def, version) = (&self.call.def, self.call.version());
                let one = std::slice::from_ref(obj);
                tables::table(def, version, one, &metadata, self.include, headings)
            }
        }
    }

    fn bookmark(&mut self, initial_end: bool) -> Bytes {
        let revision = self.events.revision().to_string();
        let mut metadata = json!({"resourceVersion": revision, "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.call.form {
            Form::Object => (self.call.def.kind.as_str(), self.call.api_version()),
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Form::Table => ("Table", "meta.k8s.io/v1".to_owned()),
        };
        let mut obj = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if self.call.form == Form::Table {
            obj["rows"] = json!([]);
        }
        line("BOOKMARK", &obj)
    }
}

fn line(kind: &str, obj: &Value) -> Bytes {
    let mut text = json!({"type": kind, "object": obj}).to_string();
    text.push('\n');
    text.into()
}
