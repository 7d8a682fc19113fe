//! The watch against a scripted API server: what changes there changes here.

use super::*;
use crate::{
    issuer::tests::{issuer_secret, names, roots},
    token::{ApiReviewer, ReviewError, Reviewer},
};
use kube::client::Body;
use mesh_tls::testing::Ca;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Mutex};
use tokio::sync::Notify;

const HOUR: Duration = Duration::from_secs(3600);

/// One Secret and one ConfigMap, and whoever writes Events.
#[derive(Default)]
struct Api {
    secret: Mutex<Option<Value>>,
    roots: Mutex<Option<Value>>,
    changed: Notify,
    events: Mutex<Vec<Value>>,
    review: Mutex<Option<(u16, Value)>>,
    /// Watches of the Secret that stand elsewhere are refused with 410.
    revision: Mutex<Option<&'static str>>,
    /// What every request for the Secret is answered with.
    refusal: Mutex<Option<u16>>,
}

impl Api {
    fn set_secret(&self, secret: Option<Secret>) {
        *self.secret.lock().unwrap() = secret.map(|mut secret| {
            secret.metadata.name = Some(names().secret);
            secret.metadata.resource_version = Some("2".to_owned());
            serde_json::to_value(secret).unwrap()
        });
        self.changed.notify_waiters();
    }

    async fn answer(self: Arc<Self>, request: http::Request<Body>) -> (u16, Value) {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect_bytes().await.unwrap();
        if path.ends_with("/events") {
            let event: Value = serde_json::from_slice(&body).unwrap();
            self.events.lock().unwrap().push(event.clone());
            return (201, event);
        }
        if path.ends_with("/tokenreviews") {
            let sent: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(sent["spec"]["audiences"], json!(["identity.l5d.io"]));
            let review = self.review.lock().unwrap().clone();
            return review.unwrap();
        }
        let refusal = *self.refusal.lock().unwrap();
        if let Some(code) = refusal.filter(|_| path.ends_with("/secrets")) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                "code": code, "message": "no", "reason": "no"});
            return (code, status);
        }
        let object = if path.ends_with("/secrets") {
            &self.secret
        } else {
            &self.roots
        };
        let revision = || self.revision.lock().unwrap().unwrap_or("1");
        let forgotten = || {
            let stands = query.contains(&format!("resourceVersion={}", revision()));
            revision() != "1" && !stands
        };
        let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                          "code": 410, "message": "gone", "reason": "Expired"});
        if query.contains("watch=true") {
            if forgotten() {
                return (410, gone);
            }
            // A watch that ends with its first event; the client watches again.
            self.changed.notified().await;
            if forgotten() {
                return (410, gone);
            }
            let event = object.lock().unwrap().clone();
            let event = event.unwrap_or_else(
                || json!({"metadata": {"name": names().secret, "resourceVersion": "3"}}),
            );
            return (200, json!({"type": "MODIFIED", "object": event}));
        }
        let items: Vec<_> = object.lock().unwrap().clone().into_iter().collect();
        (
            200,
            json!({"metadata": {"resourceVersion": revision()}, "items": items}),
        )
    }

    fn client(self: &Arc<Self>) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let answer = api.clone().answer(request);
            async move {
                let (status, body) = answer.await;
                let response = http::Response::builder().status(status);
                let body = Body::from(format!("{body}\n").into_bytes());
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        Client::new(service, "linkerd")
    }
}

fn api(ca: &Ca) -> Arc<Api> {
    let api = Arc::new(Api::default());
    let mut roots = roots(&ca.0.cert_pem());
    roots.metadata.name = Some(names().roots);
    *api.roots.lock().unwrap() = Some(serde_json::to_value(roots).unwrap());
    api
}

/// Changes the Secret until the watch has seen it, as the watch may just be between two requests.
async fn until(issuers: &Issuers, change: impl Fn(), seen: impl Fn(&State) -> bool) {
    let mut states = issuers.0.clone();
    loop {
        change();
        let seen = states.wait_for(|state| seen(state));
        if tokio::time::timeout(Duration::from_millis(50), seen)
            .await
            .is_ok()
        {
            return;
        }
    }
}

#[tokio::test]
async fn the_issuer_follows_its_secret() {
    let ca = Ca::new("root");
    let api = api(&ca);
    let (issuers, work) = watch(api.client(), names(), Metrics::default());
    let watching = tokio::spawn(work);

    // There is none, and it says which and what to do.
    let mut states = issuers.0.clone();
    let missing = |state: &State| matches!(&state.problem, Some(Problem::Unusable(text)) if text.contains("does not exist"));
    states.wait_for(|state| missing(state)).await.unwrap();
    assert!(
        issuers
            .current()
            .unwrap_err()
            .to_string()
            .contains("Secret linkerd/linkerd-identity-issuer")
    );

    // It appears.
    let first = issuer_secret(&ca, HOUR);
    until(
        &issuers,
        || api.set_secret(Some(first.clone())),
        |state| state.current.is_some(),
    )
    .await;
    let expiry = issuers.current().unwrap().issuer.expiry();

    // It is replaced.
    let second = issuer_secret(&ca, 2 * HOUR);
    let replaced = |state: &State| {
        state
            .current
            .as_ref()
            .is_some_and(|loaded| loaded.issuer.expiry() > expiry)
    };
    until(&issuers, || api.set_secret(Some(second.clone())), replaced).await;

    // It is broken, and the good one stays.
    let foreign = issuer_secret(&Ca::new("other"), HOUR);
    until(
        &issuers,
        || api.set_secret(Some(foreign.clone())),
        |state| state.problem.is_some(),
    )
    .await;
    assert!(issuers.current().unwrap().issuer.expiry() > expiry);

    let events = api.events.lock().unwrap().clone();
    let reasons: Vec<_> = events
        .iter()
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons.first(),
        Some(&"IssuerValidationFailed"),
        "{reasons:?}"
    );
    assert!(reasons.contains(&"IssuerUpdated"), "{reasons:?}");
    assert_eq!(events[0]["regarding"]["name"], "linkerd-identity-issuer");
    watching.abort();
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_costs_nothing_once_it_was_and_is_read_once_it_may_be() {
    let ca = Ca::new("root");
    let api = api(&ca);
    let refuse = |code: Option<u16>| {
        *api.refusal.lock().unwrap() = code;
        api.changed.notify_waiters();
    };
    refuse(Some(403));
    api.set_secret(Some(issuer_secret(&ca, HOUR)));
    let (issuers, work) = watch(api.client(), names(), Metrics::default());
    let watching = tokio::spawn(work);
    let nothing = issuers.current().unwrap_err();
    assert_eq!(nothing, Problem::Starting);
    until(&issuers, || refuse(None), |state| state.current.is_some()).await;
    let first = issuers.current().unwrap().issuer.expiry();

    for code in [403, 429, 500] {
        refuse(Some(code));
        let after = issuers.current().unwrap().issuer.expiry();
        assert_eq!(after, first, "{code}");
    }
    let later = issuer_secret(&ca, 2 * HOUR);
    let replaced = |state: &State| {
        let current = state.current.as_ref();
        current.is_some_and(|loaded| loaded.issuer.expiry() > first)
    };
    let allow = || {
        refuse(None);
        api.set_secret(Some(later.clone()));
    };
    until(&issuers, allow, replaced).await;
    watching.abort();
}

#[tokio::test]
async fn a_server_restored_from_a_backup_is_listed_anew() {
    let ca = Ca::new("root");
    let api = api(&ca);
    api.set_secret(Some(issuer_secret(&ca, HOUR)));
    let (issuers, work) = watch(api.client(), names(), Metrics::default());
    let watching = tokio::spawn(work);
    until(&issuers, || (), |state| state.current.is_some()).await;
    let first = issuers.current().unwrap().issuer.expiry();

    *api.revision.lock().unwrap() = Some("0");
    api.set_secret(Some(issuer_secret(&ca, 2 * HOUR)));
    let replaced = |state: &State| {
        let current = state.current.as_ref();
        current.is_some_and(|loaded| loaded.issuer.expiry() > first)
    };
    until(&issuers, || (), replaced).await;
    watching.abort();
}

#[tokio::test]
async fn token_reviews_ask_for_our_audience_and_tell_faults_apart() {
    let api = api(&Ca::new("root"));
    let reviewer = ApiReviewer::new(api.client());
    let review = |status: u16, body: Value| {
        *api.review.lock().unwrap() = Some((status, body));
        reviewer.review("token".to_owned())
    };
    let good =
        json!({"spec": {}, "status": {"authenticated": true, "audiences": ["identity.l5d.io"]}});
    assert_eq!(review(201, good).await.unwrap().authenticated, Some(true));
    let empty = review(201, json!({"spec": {}})).await;
    assert!(matches!(empty, Err(ReviewError::NoStatus)), "{empty:?}");
    let refusal = |code: u16| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": "no"});
    let forbidden = review(403, refusal(403)).await;
    assert!(
        matches!(forbidden, Err(ReviewError::Forbidden(_))),
        "{forbidden:?}"
    );
    let broken = review(500, refusal(500)).await;
    assert!(matches!(broken, Err(ReviewError::Api(_))), "{broken:?}");
}

#[tokio::test]
async fn an_issuer_near_its_end_is_told_once_a_day() {
    let ca = Ca::new("root");
    let api = api(&ca);
    let mut reports = Reports::new(api.client(), &names());
    let state = |ttl: Duration| {
        let secret = issuer_secret(&ca, ttl);
        let mut state = State {
            current: None,
            problem: None,
        };
        state.update(load(
            &names(),
            Some(&secret),
            Some(&roots(&ca.0.cert_pem())),
        ));
        state
    };
    let reminders = || {
        let events = api.events.lock().unwrap();
        events
            .iter()
            .filter(|e| e["reason"] == "IssuerExpiresSoon")
            .count()
    };
    reports.remind(&state(3 * SOON)).await;
    assert_eq!(reminders(), 0);
    let ending = state(HOUR);
    reports.remind(&ending).await;
    reports.remind(&ending).await;
    assert_eq!(reminders(), 1);
    // Its successor is as short-lived. (A like Event within minutes is counted up, not made.)
    let successor = state(2 * HOUR);
    reports.remind(&successor).await;
    let (told, _) = reports.reminded.unwrap();
    assert_eq!(told, successor.current.unwrap().issuer.expiry());
}
