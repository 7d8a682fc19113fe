//! Directives as they are said, and what follows from them over time.

use std::{
    future::{Ready, ready},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use futures::StreamExt;
use http::Uri;
use hyper_util::rt::TokioIo;
use mesh_tls::control::Services;
use tokio::{io::DuplexStream, time::timeout};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::*;
use crate::config::Policy;

const LEASE: Duration = Duration::from_secs(30);

fn id(name: &str) -> Id {
    name.parse().unwrap()
}

fn deny(name: &str) -> api::Directives {
    api::Directives {
        restrictions: vec![api::Restriction {
            name: "compromised".into(),
            identities: vec![name.into()],
            deny: true,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn lease(seconds: u32) -> api::Directives {
    api::Directives {
        lease_seconds: seconds,
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_holds_until_it_is_lifted_and_not_until_the_control_plane_goes() {
    let directives = Directives::default();
    let web = id("web.example");
    let open = directives.admit(Some(&web)).unwrap();
    let other = directives.admit(Some(&id("api.example"))).unwrap();
    assert!(timeout(LEASE, open.denied()).await.is_err());
    directives.told(&deny("web.example"));
    assert_eq!(&*open.denied().await.name, "compromised");
    assert!(timeout(LEASE, other.denied()).await.is_err());
    let refused =
        |directives: &Directives| matches!(directives.admit(Some(&web)), Err(Refusal::Denied(_)));
    assert!(refused(&directives));
    // Whoever has no identity cannot be named.
    assert!(directives.admit(None).is_ok());
    directives.absent();
    assert!(refused(&directives));
    directives.told(&api::Directives::default());
    assert!(!refused(&directives));
}

#[tokio::test(start_paused = true)]
async fn a_lease_lapses_unless_the_control_plane_is_heard_in_time() {
    let directives = Directives::default();
    assert!(
        timeout(100 * LEASE, directives.lapsed()).await.is_err(),
        "there is none"
    );
    directives.told(&lease(30));
    let mut lapsed = Box::pin(directives.lapsed());
    for _ in 0..5 {
        assert!(timeout(LEASE / 2, &mut lapsed).await.is_err());
        assert!(!directives.has_lapsed());
        directives.told(&lease(30));
    }
    let since = Instant::now();
    lapsed.await;
    assert_eq!(since.elapsed(), LEASE);
    assert!(directives.has_lapsed());
    directives.told(&lease(30));
    assert!(!directives.has_lapsed());
    // Nobody renews it any more: what is known holds as with a stock control plane.
    directives.absent();
    assert!(timeout(100 * LEASE, directives.lapsed()).await.is_err());
}

#[test]
fn requests_are_counted_where_they_are_limited() {
    let directives = Directives::default();
    let admitted = directives.admit(Some(&id("web.example"))).unwrap();
    assert!(admitted.request().unwrap().is_none());
    directives.told(&api::Directives {
        restrictions: vec![api::Restriction {
            suffixes: vec![String::new()],
            max_requests: Some(1),
            ..Default::default()
        }],
        ..Default::default()
    });
    // All connections of a client share.
    let again = directives.admit(Some(&id("web.example"))).unwrap();
    let turn = admitted.request().unwrap();
    assert_eq!(again.request().unwrap_err(), Refusal::Full);
    drop(turn);
    assert!(again.request().unwrap().is_some());
}

// --- the control plane, on a wire within the process

/// A channel to a server that answers question `n` with `answer(n)`.
fn channel(
    answer: impl Fn(usize) -> Result<Vec<api::Directives>, Status> + Send + Sync + 'static,
) -> (Channel, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = api::Server::<api::WatchDirectives>::new(move |_| {
        let messages = answer(count.fetch_add(1, Ordering::Relaxed))?;
        Ok(futures::stream::iter(messages.into_iter().map(Ok)).boxed())
    });
    let channel =
        Endpoint::from_static("http://control").connect_with_connector_lazy(Wire(service));
    (channel, asked)
}

/// Connects to the service without a network, so that the clock of a test can be paused.
#[derive(Clone)]
struct Wire(api::Server<api::WatchDirectives>);

impl tower_service::Service<Uri> for Wire {
    type Response = TokioIo<DuplexStream>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let services = Services::new().add(self.0.clone());
        let incoming = futures::stream::iter([Ok::<_, std::io::Error>(far)]);
        let server = tonic::transport::Server::builder();
        tokio::spawn(server.serve_with_incoming(services, incoming));
        ready(Ok(TokioIo::new(near)))
    }
}

fn policy() -> Policy {
    Policy {
        addr: crate::config::ControlAddr {
            host: "control".into(),
            port: 1,
            name: None,
        },
        workload: "default:web".into(),
        limits: Default::default(),
        backoff: crate::config::Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(10),
            jitter: 0.1,
        },
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_without_directives_is_asked_again_only_after_a_long_while() {
    let (channel, asked) = channel(|_| Err(Status::unimplemented("a stock one")));
    let (directives, config) = (Directives::default(), policy());
    let asked = || asked.load(Ordering::Relaxed);
    let mut following = Box::pin(directives.follow(channel, &config));
    assert!(timeout(follow::ABSENT / 2, &mut following).await.is_err());
    assert_eq!(asked(), 1);
    // Nobody waits for its word.
    timeout(LEASE, directives.first_answer(10 * LEASE))
        .await
        .unwrap();
    assert!(timeout(follow::ABSENT, &mut following).await.is_err());
    assert_eq!(asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_last_holds_while_the_control_plane_is_away() {
    let (channel, asked) = channel(|question| match question {
        0 => Ok(vec![deny("web.example")]),
        _ => Err(Status::unavailable("away")),
    });
    let (directives, config) = (Directives::default(), policy());
    let following = directives.follow(channel, &config);
    assert!(timeout(100 * LEASE, following).await.is_err());
    assert!(
        asked.load(Ordering::Relaxed) > 10,
        "it is asked again and again"
    );
    let refused = directives.admit(Some(&id("web.example")));
    assert!(matches!(refused, Err(Refusal::Denied(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_changes_nothing() {
    let (channel, asked) = channel(|question| match question {
        0 => Ok(vec![deny("web.example")]),
        _ => {
            let mut long = deny("api.example");
            long.restrictions[0].name =
                "x".repeat(<api::WatchDirectives as api::Method>::MAX_ANSWER);
            Ok(vec![long])
        }
    });
    let (directives, config) = (Directives::default(), policy());
    let following = directives.follow(channel, &config);
    assert!(timeout(LEASE, following).await.is_err());
    assert!(asked.load(Ordering::Relaxed) > 1);
    assert!(directives.admit(Some(&id("web.example"))).is_err());
    assert!(directives.admit(Some(&id("api.example"))).is_ok());
}
