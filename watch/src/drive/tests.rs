//! The driver against an API server of a few lines that plays one kind and lets it fail.

use super::*;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body};
use mesh_daemon::readiness::Readiness;
use serde_json::{Value, json};
use std::convert::Infallible;

type Said = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Infallible>;

/// What the server says, and what it was asked.
struct Script {
    /// What a list has.
    items: Vec<Value>,
    /// The revision it says the list has.
    revision: &'static str,
    /// What answers to a list and to a watch; nothing does where there is none.
    list: Option<StatusCode>,
    watch: Option<StatusCode>,
    /// What the next watch says before it ends.
    said: Option<Value>,
    /// Watches with nothing to say end at once; else they last and are silent.
    ends: bool,
    lists: u32,
    /// Where watches began.
    watches: Vec<String>,
}

#[derive(Clone)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn new(items: Vec<Value>) -> Self {
        Self(Arc::new(Mutex::new(Script {
            items,
            revision: "7",
            list: Some(StatusCode::OK),
            watch: Some(StatusCode::OK),
            said: None,
            ends: false,
            lists: 0,
            watches: Vec::new(),
        })))
    }

    fn api(&self) -> Api<DeserializeGuard<ConfigMap>> {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(request.uri().query().unwrap_or_default());
            async move {
                match answer {
                    Some(answer) => Ok::<_, Infallible>(answer),
                    None => std::future::pending().await,
                }
            }
        });
        Api::all(Client::new(service, "default"))
    }

    fn answer(&self, query: &str) -> Option<Response<Said>> {
        let mut script = self.0.lock();
        let answer = |status: StatusCode, body: Said| {
            Some(Response::builder().status(status).body(body).unwrap())
        };
        let text = |body: Value| Full::from(body.to_string()).boxed_unsync();
        let refused = |status: StatusCode| {
            text(
                json!({"kind": "Status", "status": "Failure", "code": status.as_u16(),
                        "reason": "Said", "message": "so"}),
            )
        };
        if !query.contains("watch=true") {
            script.lists += 1;
            return match script.list? {
                StatusCode::OK => answer(
                    StatusCode::OK,
                    text(json!({"metadata": {"resourceVersion": script.revision},
                        "items": script.items})),
                ),
                status => answer(status, refused(status)),
            };
        }
        let from = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="));
        script.watches.push(from.unwrap_or_default().to_owned());
        match (script.watch?, script.said.take()) {
            (StatusCode::OK, Some(said)) => answer(StatusCode::OK, text(said)),
            (StatusCode::OK, None) if script.ends => {
                answer(StatusCode::OK, Full::default().boxed_unsync())
            }
            (StatusCode::OK, None) => answer(StatusCode::OK, Silent.boxed_unsync()),
            (status, _) => answer(status, refused(status)),
        }
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock());
    }
}

/// A body that never has anything to say.
struct Silent;

impl http_body::Body for Silent {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl Index<ConfigMap> for Names {
    fn apply(&mut self, object: ConfigMap) {
        self.0.insert(object.name_any());
    }

    fn delete(&mut self, _: Option<&str>, name: &str) {
        self.0.remove(name);
    }

    fn reset(&mut self, objects: Vec<ConfigMap>) {
        self.0 = objects.iter().map(|object| object.name_any()).collect();
    }
}

fn object(name: &str, revision: &str, data: Value) -> Value {
    json!({"metadata": {"namespace": "default", "name": name, "resourceVersion": revision},
           "data": data})
}

struct Driven {
    state: WatchState,
    readiness: Readiness,
    names: Arc<Mutex<Names>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driven {
    fn start(server: &Server) -> Self {
        let (state, readiness) = (WatchState::new("configmaps"), Readiness::new());
        let source = Source {
            api: server.api(),
            select: ListParams::default(),
            state: state.clone(),
            guard: Some(readiness.guard("configmaps")),
        };
        let names: Arc<Mutex<Names>> = Arc::default();
        let task = tokio::spawn(drive(source, names.clone(), || {}));
        Self {
            state,
            readiness,
            names,
            task,
        }
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().0.iter().cloned().collect()
    }
}

/// Time is paused in these tests: it passes as soon as everything waits.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "never: {what}");
}

#[tokio::test(start_paused = true)]
async fn ready_once_listed_and_the_revision_of_the_list_is_known() {
    let server = Server::new(vec![
        object("a", "10", json!({})),
        object("b", "9", json!({})),
    ]);
    server.set(|script| script.list = Some(StatusCode::NOT_FOUND));
    let driven = Driven::start(&server);
    until("the failure is known", || driven.state.error().is_some()).await;
    assert_eq!(driven.state.error().unwrap().code, Some(404));
    assert!(!driven.readiness.is_ready() && !driven.state.is_synced());
    server.set(|script| script.list = Some(StatusCode::OK));
    driven.readiness.ready().await;
    let state = driven.state.to_json();
    assert_eq!(state["count"], 2, "{state}");
    assert_eq!(state["revision"], "7", "{state}");
    assert_eq!(state["error"], Value::Null, "{state}");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_object_costs_only_itself() {
    let items = vec![
        object("broken", "8", json!([])),
        object("fine", "9", json!({})),
    ];
    let driven = Driven::start(&Server::new(items));
    driven.readiness.ready().await;
    assert_eq!(driven.names(), ["fine"]);
    assert_eq!(driven.state.to_json()["skipped"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_the_index_and_ends_by_itself() {
    let server = Server::new(vec![object("a", "7", json!({}))]);
    server.set(|script| {
        script.list = Some(StatusCode::SERVICE_UNAVAILABLE);
        script.watch = Some(StatusCode::SERVICE_UNAVAILABLE);
    });
    let driven = Driven::start(&server);
    server.set(|script| script.list = Some(StatusCode::OK));
    until("it is listed", || driven.state.is_synced()).await;
    server.set(|script| script.list = Some(StatusCode::SERVICE_UNAVAILABLE));
    until("it fails", || driven.state.error().is_some()).await;
    assert_eq!(driven.names(), ["a"]);
    assert!(driven.readiness.is_ready());
    server.set(|script| {
        script.items = vec![object("b", "8", json!({}))];
        script.list = Some(StatusCode::OK);
        script.watch = Some(StatusCode::OK);
    });
    until("what changed meanwhile is known", || {
        driven.names() == ["b"] && driven.state.error().is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_revision_is_listed_anew_however_the_server_says_so() {
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410,
                      "reason": "Expired", "message": "too old"});
    // In place of the stream, and on it.
    for (status, said) in [
        (StatusCode::GONE, None),
        (
            StatusCode::OK,
            Some(json!({"type": "ERROR", "object": gone})),
        ),
    ] {
        let server = Server::new(vec![]);
        server.set(|script| {
            script.watch = Some(status);
            script.said = said;
        });
        let driven = Driven::start(&server);
        until("it was refused", || driven.state.error().is_some()).await;
        assert_eq!(driven.state.error().unwrap().code, Some(410));
        server.set(|script| {
            script.items = vec![object("new", "3", json!({}))];
            script.watch = Some(StatusCode::OK);
        });
        until("it was listed anew", || driven.names() == ["new"]).await;
        assert_eq!(driven.state.error(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_overloaded_or_broken_is_heard_again_once_it_is_not() {
    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::GATEWAY_TIMEOUT,
        StatusCode::GONE,
    ] {
        let server = Server::new(vec![object("a", "7", json!({}))]);
        let driven = Driven::start(&server);
        driven.readiness.ready().await;
        server.set(|script| {
            script.list = Some(status);
            script.watch = Some(status);
            script.ends = true;
        });
        until("it is refused", || {
            driven
                .state
                .error()
                .is_some_and(|e| e.code == Some(status.as_u16()))
        })
        .await;
        assert_eq!(driven.names(), ["a"], "{status}");
        server.set(|script| {
            script.items = vec![object("b", "8", json!({}))];
            script.list = Some(StatusCode::OK);
            script.watch = Some(StatusCode::OK);
            script.ends = false;
        });
        until("what changed meanwhile is known", || {
            driven.names() == ["b"]
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_came_back_with_an_older_state_is_believed() {
    let server = Server::new(vec![object("young", "7", json!({}))]);
    let driven = Driven::start(&server);
    driven.readiness.ready().await;
    assert_eq!(driven.names(), ["young"]);
    // A backup was restored: it is asked for revisions it has not come to, and refuses.
    server.set(|script| {
        script.items = vec![object("old", "2", json!({}))];
        script.revision = "3";
        script.said = Some(
            json!({"type": "ERROR", "object": {"kind": "Status", "code": 504,
            "status": "Failure", "reason": "Timeout",
            "message": "Too large resource version: 7, current: 3"}}),
        );
    });
    until("the older state is known", || driven.names() == ["old"]).await;
    server.set(|script| script.said = None);
    until("it is watched from there", || {
        server.0.lock().watches.last().is_some_and(|at| at == "3")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_went_back_between_two_watches_is_believed() {
    let server = Server::new(vec![object("young", "7", json!({}))]);
    server.set(|script| script.ends = true);
    let driven = Driven::start(&server);
    driven.readiness.ready().await;
    assert_eq!(driven.names(), ["young"]);
    // It ended the watch in an orderly way, and its successor takes revisions it has not come to for
    // those of the future: it says nothing but how far it is.
    server.set(|script| {
        script.items = vec![object("old", "2", json!({}))];
        script.revision = "3";
        script.said = Some(json!({"type": "BOOKMARK", "object": {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "3"}}}));
    });
    until("the older state is known", || driven.names() == ["old"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lists_but_never_watches_is_asked_ever_more_rarely() {
    let server = Server::new(vec![]);
    server.set(|script| script.watch = Some(StatusCode::FORBIDDEN));
    let driven = Driven::start(&server);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lists = server.0.lock().lists;
    assert!((10..=20).contains(&lists), "{lists} lists in a minute");
    assert_eq!(driven.state.error().unwrap().code, Some(403));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_each_watch_at_once_is_asked_ever_more_rarely() {
    let server = Server::new(vec![]);
    server.set(|script| script.ends = true);
    let driven = Driven::start(&server);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (lists, watches) = {
        let script = server.0.lock();
        (script.lists, script.watches.len())
    };
    assert_eq!(lists, 1, "the end of a watch is no failure");
    assert!(
        (10..=20).contains(&watches),
        "{watches} watches in a minute"
    );
    assert_eq!(driven.state.error(), None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ended_goes_on_from_what_was_heard_last() {
    let server = Server::new(vec![]);
    let added = json!({"type": "ADDED", "object": object("new", "12", json!({}))});
    server.set(|script| script.said = Some(added));
    let driven = Driven::start(&server);
    until("it is heard", || driven.names() == ["new"]).await;
    until("it is watched again", || server.0.lock().watches.len() > 1).await;
    let bookmark = json!({"type": "BOOKMARK", "object": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "31"}}});
    server.set(|script| {
        script.said = Some(bookmark);
        script.ends = true;
    });
    until("it is watched from the bookmark", || {
        server.0.lock().watches.last().is_some_and(|at| at == "31")
    })
    .await;
    let script = server.0.lock();
    assert_eq!(script.watches[..2], ["7", "12"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_has_failed_within_half_a_minute() {
    // It never lists; lists, but never begins a watch; begins one, and says nothing.
    let ok = Some(StatusCode::OK);
    for (list, watch) in [(None, None), (ok, None), (ok, ok)] {
        let server = Server::new(vec![object("a", "7", json!({}))]);
        server.set(|script| (script.list, script.watch) = (list, watch));
        let driven = Driven::start(&server);
        tokio::time::sleep(Duration::from_secs(29)).await;
        let lists = server.0.lock().lists;
        let failed = driven.state.error();
        let said = failed.is_some_and(|f| f.code.is_none() && f.message.contains("not answer"));
        assert!(said || lists > 1, "{list:?} {watch:?}");
        server.set(|script| script.list = ok);
        until("what is known stays", || driven.names() == ["a"]).await;
    }
}
