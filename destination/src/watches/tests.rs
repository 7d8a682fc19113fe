//! Watches against the sandbox's API server.

use super::*;
use crate::{
    config::Config,
    sandbox::{
        self,
        api_server::{CORE, POLICY, Server},
    },
};
use serde_json::{Value, json};
use std::{sync::atomic::Ordering, time::Duration};

fn start(server: &Server) -> (Watches, Arc<Mutex<Index>>, Readiness) {
    let index = Arc::new(Mutex::new(Index::new(Arc::new(Config::for_tests()))));
    let readiness = Readiness::new();
    let watches = Watches::start(server.client(), index.clone(), readiness.clone());
    (watches, index, readiness)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "never: {what}");
}

fn web() -> Value {
    serde_json::to_value(sandbox::service("web", "10.96.0.1", 80)).unwrap()
}

#[tokio::test]
async fn ready_once_every_kind_was_listed() {
    let server = Server::with_kinds(&[&CORE[..], &POLICY].concat());
    server.set("services", vec![web()]);
    let (watches, index, readiness) = start(&server);
    assert!(!readiness.is_ready());
    readiness.ready().await;
    assert_eq!(index.lock().counts()["services"], 1);
    let states: Vec<_> = watches.states().iter().map(WatchState::to_json).collect();
    assert_eq!(states.len(), 9);
    assert!(
        states.iter().all(|state| state["synced"] == true),
        "{states:?}"
    );
    let services = states.iter().find(|s| s["watch"] == "services").unwrap();
    assert_eq!(services["skipped"], 0);
}

#[tokio::test]
async fn policy_kinds_may_be_absent_and_are_found_when_they_come() {
    let server = Server::with_kinds(&CORE);
    let (_watches, index, readiness) = start(&server);
    let ready = tokio::time::timeout(Duration::from_secs(20), readiness.ready());
    ready
        .await
        .expect("absent kinds do not keep it from being ready");
    server.set(
        "servers",
        vec![json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"podSelector": {}, "port": 80}
        })],
    );
    until("the Server is known", || {
        index.lock().counts()["servers"] == 1
    })
    .await;
}

#[tokio::test]
async fn kinds_of_kubernetes_are_waited_for() {
    let server = Server::with_kinds(&["namespaces", "services", "pods"]);
    let (_watches, _index, readiness) = start(&server);
    until("only one is awaited", || {
        readiness.awaited() == ["endpointslices"]
    })
    .await;
    server.set("endpointslices", vec![]);
    readiness.ready().await;
}

#[tokio::test]
async fn an_outage_changes_nothing_and_ends_by_itself() {
    let server = Server::with_kinds(&[&CORE[..], &POLICY].concat());
    server.set("services", vec![web()]);
    let (watches, index, readiness) = start(&server);
    readiness.ready().await;
    server.down.store(true, Ordering::SeqCst);
    until("every watch has failed", || {
        let states = watches.states();
        states
            .iter()
            .all(|state| state.to_json()["error"] != Value::Null)
    })
    .await;
    assert_eq!(index.lock().counts()["services"], 1);
    assert!(readiness.is_ready());
    server.set("services", vec![]);
    server.down.store(false, Ordering::SeqCst);
    until("what changed meanwhile is known", || {
        index.lock().counts()["services"] == 0
    })
    .await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_only_itself() {
    let server = Server::with_kinds(&[&CORE[..], &POLICY].concat());
    let broken = json!({
        "metadata": {"namespace": "default", "name": "broken"},
        "spec": {"podSelector": [], "port": {}}
    });
    let fine = json!({
        "metadata": {"namespace": "default", "name": "fine"},
        "spec": {"podSelector": {}, "port": "http"}
    });
    server.set("servers", vec![broken, fine]);
    let (_watches, index, readiness) = start(&server);
    readiness.ready().await;
    assert_eq!(index.lock().counts()["servers"], 1);
}
