//! An API server of a few lines.

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Lists what it holds, watches nothing, and can be down.
#[derive(Clone, Default)]
pub(crate) struct Server {
    lists: Arc<Mutex<BTreeMap<&'static str, Vec<Value>>>>,
    pub(crate) down: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn with_kinds(kinds: &[&'static str]) -> Self {
        let server = Self::default();
        let empty = kinds.iter().map(|kind| (*kind, vec![]));
        server.lists.lock().extend(empty);
        server
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let plural = request.uri().path().rsplit('/').next().unwrap_or_default();
        let watch = request
            .uri()
            .query()
            .is_some_and(|q| q.contains("watch=true"));
        let lists = self.lists.lock();
        let (status, body) = match lists.get(plural) {
            _ if self.down.load(Ordering::SeqCst) => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
            None => (
                StatusCode::NOT_FOUND,
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
                       "message": "the server could not find the requested resource"}),
            ),
            // The revision is always too old: the watcher lists again, soon.
            Some(_) if watch => (
                StatusCode::GONE,
                json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
                       "message": "too old resource version"}),
            ),
            Some(items) => (
                StatusCode::OK,
                json!({"metadata": {"resourceVersion": "7"}, "items": items}),
            ),
        };
        Response::builder()
            .status(status)
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap()
    }

    pub(crate) fn set(&self, kind: &'static str, items: Vec<Value>) {
        self.lists.lock().insert(kind, items);
    }
}

/// The kinds every cluster has.
pub(crate) const CORE: [&str; 4] = ["namespaces", "services", "pods", "endpointslices"];
/// The policy kinds.
pub(crate) const POLICY: [&str; 5] = [
    "servers",
    "authorizationpolicies",
    "meshtlsauthentications",
    "networkauthentications",
    "clientrestrictions",
];
