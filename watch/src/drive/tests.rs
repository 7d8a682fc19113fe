//! The driver against an API server of a few lines that plays one kind and lets it fail.

use super::*;
use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body};
use mesh_daemon::readiness::Readiness;
use serde_json::{Value, json};
use std::{convert::Infallible, future::Future};

/// What the server says, and what it was asked.
struct Script {
    /// What a list has.
    items: Vec<Value>,
    /// What answers to a list and to a watch; a watch that is OK lasts and is silent.
    list: StatusCode,
    watch: StatusCode,
    /// What a watch says before it ends, where it does not last.
    said: Option<Value>,
    lists: u32,
}

#[derive(Clone)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn new(items: Vec<Value>) -> Self {
        Self(Arc::new(Mutex::new(Script {
            items,
            list: StatusCode::OK,
            watch: StatusCode::OK,
            said: None,
            lists: 0,
        })))
    }

    fn api(&self) -> Api<DeserializeGuard<ConfigMap>> {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(request.uri().query().unwrap_or_default());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        Api::all(Client::new(service, "default"))
    }

    fn answer(&self, query: &str) -> impl Future<Output = Response<Body>> + Send + use<> {
        let watch = query.contains("watch=true");
        let mut script = self.0.lock();
        script.lists += u32::from(!watch);
        let status = if watch { script.watch } else { script.list };
        let said = script.said.take_if(|_| watch);
        let lasts = watch && status == StatusCode::OK && said.is_none();
        let code = status.as_u16();
        let body = match said {
            Some(said) => said,
            None if status == StatusCode::OK => {
                json!({"metadata": {"resourceVersion": "7"}, "items": script.items})
            }
            None => json!({"kind": "Status", "status": "Failure", "code": code,
                           "reason": "Said", "message": "so"}),
        };
        async move {
            if lasts {
                std::future::pending::<()>().await;
            }
            Response::builder()
                .status(status)
                .body(Body::from(body.to_string().into_bytes()))
                .unwrap()
        }
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock());
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
            config: watcher::Config::default(),
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
async fn ready_once_listed_and_the_newest_revision_is_known() {
    let server = Server::new(vec![
        object("a", "10", json!({})),
        object("b", "9", json!({})),
    ]);
    server.set(|script| script.list = StatusCode::NOT_FOUND);
    let driven = Driven::start(&server);
    until("the failure is known", || driven.state.error().is_some()).await;
    assert_eq!(driven.state.error().unwrap().code, Some(404));
    assert!(!driven.readiness.is_ready() && !driven.state.is_synced());
    server.set(|script| script.list = StatusCode::OK);
    driven.readiness.ready().await;
    let state = driven.state.to_json();
    assert_eq!(state["count"], 2, "{state}");
    assert_eq!(state["revision"], "10", "{state}");
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
        script.list = StatusCode::SERVICE_UNAVAILABLE;
        script.watch = StatusCode::SERVICE_UNAVAILABLE;
    });
    let driven = Driven::start(&server);
    server.set(|script| script.list = StatusCode::OK);
    until("it is listed", || driven.state.is_synced()).await;
    server.set(|script| script.list = StatusCode::SERVICE_UNAVAILABLE);
    until("it fails", || driven.state.error().is_some()).await;
    assert_eq!(driven.names(), ["a"]);
    assert!(driven.readiness.is_ready());
    server.set(|script| {
        script.items = vec![object("b", "8", json!({}))];
        script.list = StatusCode::OK;
        script.watch = StatusCode::OK;
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
            script.watch = status;
            script.said = said;
        });
        let driven = Driven::start(&server);
        until("it was refused", || driven.state.error().is_some()).await;
        assert_eq!(driven.state.error().unwrap().code, Some(410));
        server.set(|script| {
            script.items = vec![object("new", "3", json!({}))];
            script.watch = StatusCode::OK;
        });
        until("it was listed anew", || driven.names() == ["new"]).await;
        assert_eq!(driven.state.error(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lists_but_never_watches_is_asked_ever_more_rarely() {
    let server = Server::new(vec![]);
    server.set(|script| script.watch = StatusCode::FORBIDDEN);
    let driven = Driven::start(&server);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lists = server.0.lock().lists;
    assert!((10..=20).contains(&lists), "{lists} lists in a minute");
    assert_eq!(driven.state.error().unwrap().code, Some(403));
}
