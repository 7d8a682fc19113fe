//! Watches.

use super::{Named, config_map};
use crate::session::Session;
use http::Method;
use serde_json::json;

pub const ALL: &[Named] = &[
    ("watch_resumes", watch_resumes),
    ("watch_from_nothing", watch_from_nothing),
    ("watch_selected", watch_selected),
    ("watch_initial_events", watch_initial_events),
    ("watch_too_old", watch_too_old),
    ("watch_one", watch_one),
];

fn watch_resumes(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    s.quietly(
        &Method::PUT,
        &path,
        super::with(made.clone(), "/data/a", json!("2")),
    );
    s.quietly(&Method::POST, &maps, config_map("b"));
    s.delete(&path, None);
    let from = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    s.watch(
        &format!("{maps}?resourceVersion={from}&timeoutSeconds=10"),
        3,
    );
}

fn watch_from_nothing(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    s.watch(&format!("{maps}?timeoutSeconds=10"), 2);
    s.watch(&format!("{maps}?timeoutSeconds=10&resourceVersion=0"), 2);
}

fn watch_selected(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    let made = s.post(&maps, config_map("a"));
    let from = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    s.merge(&path, json!({"metadata": {"labels": {"app": "web"}}}));
    s.merge(&path, json!({"data": {"x": "y"}}));
    s.merge(&path, json!({"metadata": {"labels": {"app": "db"}}}));
    s.watch(
        &format!("{maps}?resourceVersion={from}&labelSelector=app=web&timeoutSeconds=10"),
        3,
    );
    s.watch(
        &format!("{maps}?labelSelector=app%20in%20(&timeoutSeconds=2"),
        1,
    );
}

fn watch_initial_events(s: &mut Session) {
    let maps = s.core("configmaps");
    s.post(&maps, config_map("a"));
    let options = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=10";
    s.watch(&format!("{maps}?{options}"), 3);
}

fn watch_too_old(s: &mut Session) {
    let maps = s.core("configmaps");
    s.watch(&format!("{maps}?resourceVersion=x&timeoutSeconds=2"), 1);
}

fn watch_one(s: &mut Session) {
    let (maps, path) = (s.core("configmaps"), s.core("configmaps/a"));
    s.post(&maps, config_map("a"));
    s.post(&maps, config_map("b"));
    s.watch(&format!("{path}?timeoutSeconds=10"), 1);
    s.watch(
        &format!("{maps}?fieldSelector=metadata.name=b&timeoutSeconds=10"),
        1,
    );
}
