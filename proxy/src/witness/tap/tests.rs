use std::net::SocketAddr;

use http::StatusCode;
use linkerd2_proxy_api::tap::{
    ObserveRequest, TapEvent,
    observe_request::{self as api, Extract, extract, r#match as kind},
    tap_client::TapClient,
    tap_event,
};
use mesh_tls::testing::Ca;
use tokio::net::TcpListener;

use super::{super::Witnesses, *};
use crate::{
    http::Body,
    metrics::{Direction, TlsLabels},
};

const PROXY: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
const VIZ: &str = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local";
const HOUR: Duration = Duration::from_secs(3600);

fn of(m: kind::Match) -> api::Match {
    api::Match { r#match: Some(m) }
}

fn any() -> api::Match {
    of(kind::Match::All(kind::Seq::default()))
}

fn path(prefix: &str) -> api::Match {
    let text = kind::http::StringMatch {
        r#match: Some(kind::http::string_match::Match::Prefix(prefix.to_owned())),
    };
    of(kind::Match::Http(kind::Http {
        r#match: Some(kind::http::Match::Path(text)),
    }))
}

fn ports(min: u32, max: u32) -> kind::Tcp {
    kind::Tcp {
        r#match: Some(kind::tcp::Match::Ports(kind::tcp::PortRange { min, max })),
    }
}

fn subject(labels: &[(String, String)]) -> Subject<'_> {
    const TLS: TlsLabels = TlsLabels::None("loopback");
    Subject {
        direction: Direction::Outbound,
        client: SocketAddr::from(([10, 0, 0, 1], 40_000)),
        server: SocketAddr::from(([10, 0, 0, 2], 8080)),
        tls: &TLS,
        labels,
    }
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "web:80");
    request.body(Body::empty()).unwrap()
}

#[test]
fn conditions_are_about_addresses_labels_and_requests() {
    let labels = [("pod".to_owned(), "web-0".to_owned())];
    let label = |value: &str| {
        of(kind::Match::DestinationLabel(kind::Label {
            key: "pod".into(),
            value: value.into(),
        }))
    };
    let not = |m| of(kind::Match::Not(Box::new(m)));
    let all = |matches| of(kind::Match::All(kind::Seq { matches }));
    let any_of = |matches| of(kind::Match::Any(kind::Seq { matches }));
    for (matches, expected) in [
        (path("/a"), true),
        (path("/b"), false),
        (not(path("/b")), true),
        (label("web-0"), true),
        (label("web-1"), false),
        (of(kind::Match::Destination(ports(8080, 8080))), true),
        (of(kind::Match::Destination(ports(9000, 0))), false),
        (of(kind::Match::Source(ports(0, 0))), true),
        (all(vec![path("/a"), label("web-1")]), false),
        (any_of(vec![path("/b"), label("web-0")]), true),
        (any_of(vec![]), false),
        (all(vec![]), true),
    ] {
        let text = format!("{matches:?}");
        let matches = Match::new(matches).unwrap();
        assert_eq!(
            matches.is(subject(&labels), &get("/a/b")),
            expected,
            "{text}"
        );
    }
    let mut deep = path("/");
    for _ in 0..100 {
        deep = not(deep);
    }
    for wrong in [
        api::Match::default(),
        deep,
        of(kind::Match::Source(ports(9, 8))),
    ] {
        assert!(Match::new(wrong).is_err());
    }
}

fn parts(event: &TapEvent) -> (&'static str, u64) {
    use tap_event::http::Event;
    let Some(tap_event::Event::Http(http)) = &event.event else {
        panic!("{event:?}");
    };
    match http.event.as_ref().unwrap() {
        Event::RequestInit(e) => ("request", e.id.unwrap().stream),
        Event::ResponseInit(e) => ("response", e.id.unwrap().stream),
        Event::ResponseEnd(e) => ("end", e.id.unwrap().stream),
    }
}

#[tokio::test]
async fn somebody_sees_as_many_requests_as_asked_for_and_nobody_else_pays() {
    let witnesses = Witnesses::default();
    assert!(witnesses.begin(subject(&[]), &mut get("/")).is_none());
    let mut events = witnesses
        .taps()
        .add(Match::new(path("/a")).unwrap(), true, 1);
    let events = events.as_mut().unwrap();
    assert!(witnesses.begin(subject(&[]), &mut get("/b")).is_none());
    let watched = witnesses.begin(subject(&[]), &mut get("/a")).unwrap();
    // One was asked for.
    assert!(witnesses.begin(subject(&[]), &mut get("/a")).is_none());
    assert!(witnesses.taps().is_idle());
    let response = Response::builder().status(StatusCode::ACCEPTED);
    let response = watched.response(response.body(Body::full("four")).unwrap());
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert_eq!(body.unwrap().to_bytes(), "four");
    let mut seen = Vec::new();
    while let Some(event) = events.recv().await {
        seen.push(parts(&event));
        if let Some(tap_event::Event::Http(http)) = event.event
            && let Some(tap_event::http::Event::ResponseEnd(end)) = http.event
        {
            assert_eq!(end.response_bytes, 4);
        }
    }
    assert_eq!(seen, [("request", 0), ("response", 0), ("end", 0)]);
}

/// The service, as viz asks for it.
#[tokio::test]
async fn only_the_configured_identity_may_look() {
    let ca = Ca::new("root");
    let issuer = ca.issuer("issuer");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (trigger, shutdown) = mesh_daemon::shutdown();
    let witnesses = Witnesses::default();
    let taps = witnesses.taps().clone();
    let store = issuer.issue(&PROXY.parse().unwrap(), HOUR);
    let served = tokio::spawn(server::run(
        listener,
        store,
        VIZ.parse().unwrap(),
        taps,
        shutdown,
    ));
    let ask = |id: &str, limit| {
        let control = mesh_tls::control::ControlAddr {
            host: addr.ip().to_string(),
            port: addr.port(),
            identity: PROXY.parse().unwrap(),
        };
        let store = issuer.issue(&id.parse().unwrap(), HOUR);
        let dial: mesh_tls::control::Dial = Arc::new(move |_, _| {
            Box::pin(async move { tokio::net::TcpStream::connect(addr).await })
        });
        let mut client = TapClient::new(mesh_tls::control::channel(control, store, dial));
        let request = ObserveRequest {
            limit,
            r#match: Some(any()),
            extract: Some(Extract {
                extract: Some(extract::Extract::Http(extract::Http {
                    extract: Some(extract::http::Extract::Headers(Default::default())),
                })),
            }),
        };
        async move { client.observe(request).await }
    };
    let refused = ask(PROXY, 1).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let nothing = ask(VIZ, 0).await.unwrap_err();
    assert_eq!(nothing.code(), tonic::Code::InvalidArgument);
    let mut events = ask(VIZ, 1).await.unwrap().into_inner();
    let watched = witnesses.begin(subject(&[]), &mut get("/a")).unwrap();
    // Dropped before it was answered: its client went away.
    drop(watched);
    assert_eq!(
        parts(&events.message().await.unwrap().unwrap()).0,
        "request"
    );
    assert_eq!(parts(&events.message().await.unwrap().unwrap()).0, "end");
    assert!(events.message().await.unwrap().is_none());
    trigger.shutdown();
    served.await.unwrap();
}
