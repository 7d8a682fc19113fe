//! Applications, endpoints and times that do harm: what is kept is bounded, what waits has an end,
//! and others are served meanwhile.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use linkerd2_proxy_api::{
    http_route::Timeouts,
    outbound::{
        self as api, FailureAccrual, OutboundPolicy,
        failure_accrual::{ConsecutiveFailures, Kind},
        proxy_protocol, tls_route,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    resilience::{judged, routes, stuck},
    sandbox::{CLIENT, HOUR, Mesh, Peer, WEB, first_available, meshed, metadata, plain},
};
use crate::{
    inbound::tests::sandbox::eventually,
    outbound::discover::MOST_TARGETS,
    tests::hostile::{CALM, continuations, goodbye, resets},
};

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";
const PATIENCE: Duration = Duration::from_secs(20);

// === the application ===

/// TLS of the application's own, to `addr`.
pub(super) fn passed_through(addr: std::net::SocketAddr) -> OutboundPolicy {
    let backend = api::Backend {
        metadata: Some(metadata()),
        queue: Some(api::Queue {
            capacity: 10,
            failfast_timeout: None,
        }),
        kind: Some(api::backend::Kind::Forward(plain(addr))),
    };
    let backend = tls_route::RouteBackend {
        backend: Some(backend),
        ..Default::default()
    };
    let first = tls_route::distribution::FirstAvailable {
        backends: vec![backend],
    };
    let route = api::TlsRoute {
        metadata: Some(metadata()),
        rules: vec![tls_route::Rule {
            backends: Some(tls_route::Distribution {
                kind: Some(tls_route::distribution::Kind::FirstAvailable(first)),
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    OutboundPolicy {
        metadata: Some(metadata()),
        protocol: Some(api::ProxyProtocol {
            kind: Some(proxy_protocol::Kind::Tls(proxy_protocol::Tls {
                routes: vec![route],
            })),
        }),
    }
}

#[tokio::test]
async fn a_hello_that_dribbles_is_cut_off_and_others_are_not() {
    let mesh = Mesh::with(&[("OUTBOUND_DETECT_TIMEOUT", "500ms")]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    mesh.control.policy(TO, passed_through(addr));
    let mut slow = mesh.dial(TO).await;
    // A record of 512 bytes, one every 20 ms: it would take ten seconds.
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
        .await
        .unwrap();
    let (mut read, mut write) = slow.split();
    let dribble = async {
        while write.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    let cut = async {
        tokio::select! {
            _ = read.read_to_end(&mut answer) => {}
            () = dribble => {}
        }
    };
    // What another says first is enough to know that it is no TLS, and it goes on.
    let other = async {
        let mut io = mesh.dial(TO).await;
        io.write_all(b"no TLS").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 6];
        server.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    let (cut, other) = tokio::join!(timeout(PATIENCE / 4, cut), other);
    assert!(cut.is_ok(), "it goes on");
    assert_eq!(&other, b"no TLS");
    // Nobody has heard of the first.
    assert!(timeout(Duration::ZERO, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_flood_over_http2_ends_its_connection_and_no_other() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    for (bytes, code) in [(resets(), Some(CALM)), (continuations(), None)] {
        let io = crate::io::boxed(mesh.dial(TO).await);
        let flood = goodbye(io, bytes);
        let meanwhile = async {
            for _ in 0..20 {
                assert_eq!(mesh.get(TO).await.unwrap().body, "app");
            }
        };
        let (found, ()) = tokio::join!(flood, meanwhile);
        assert!(
            found.is_some() && (code.is_none() || found == code),
            "{found:?}"
        );
    }
}

// === many ===

/// Asks about names nobody knows, as clients of a gateway do.
async fn ask_names(mesh: &Mesh, n: usize) {
    futures::stream::iter(0..n)
        .for_each_concurrent(32, |n| async move {
            let name = format!("nobody-{n}.default.svc.cluster.local");
            assert!(
                mesh.outbound
                    .discover_name(&name, 80)
                    .await
                    .unwrap()
                    .is_none()
            );
        })
        .await;
}

#[tokio::test]
async fn names_without_end_are_forgotten_and_keep_no_other_from_its_own() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(LOCAL, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let discovery = &mesh.outbound.0.discovery;
    let name = "web.default.svc.cluster.local";
    let held = discovery.name(name, 80).await.unwrap().unwrap();
    ask_names(&mesh, MOST_TARGETS + 100).await;
    assert!(discovery.describe().len() <= MOST_TARGETS);
    // What somebody holds is still watched, and what nobody asked for before is found.
    assert!(
        discovery
            .describe()
            .iter()
            .any(|(known, _)| known == held.name())
    );
    let other = "other.default.svc.cluster.local";
    mesh.control
        .policy(&format!("{other}:80"), first_available(&[LOCAL]));
    assert!(discovery.name(other, 80).await.unwrap().is_some());
}

#[tokio::test]
async fn ten_thousand_targets_are_bounded_and_forgotten() {
    let mesh = Mesh::start().await;
    let discovery = &mesh.outbound.0.discovery;
    // Addresses, as an application connects to them.
    futures::stream::iter(0..10_000_u32)
        .for_each_concurrent(32, |n| async move {
            let [_, a, b, c] = n.to_be_bytes();
            discovery.addr(([10, a, b, c], 80).into()).await.unwrap();
        })
        .await;
    ask_names(&mesh, 500).await;
    // And names that an ingress asks for.
    for n in 0..100 {
        let mut io = mesh.dial_ingress(TO).await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: x\r\nl5d-dst-override: ingress-{n}.default:80\r\n\
             connection: close\r\n\r\n"
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
    assert!(discovery.describe().len() <= MOST_TARGETS);
    assert!(discovery.backends().balancers().is_empty());
    // No series is named after what nobody knows.
    let metrics = mesh.outbound.0.metrics.render();
    assert!(!metrics.contains("nobody-") && !metrics.contains("ingress-"));
    tokio::time::pause();
    let forgotten = async {
        while !discovery.describe().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(120), forgotten)
        .await
        .expect("they are kept");
}

// === endpoints ===

/// It accepts connections and takes requests, and never says a word. Where the policy judges
/// answers, none is one that failed.
#[tokio::test]
async fn an_endpoint_that_never_answers_is_taken_out_once_its_time_is_up() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")]).await;
    let hour = Some(super::sandbox::seconds(3600));
    let mut policy = judged(FailureAccrual {
        kind: Some(Kind::ConsecutiveFailures(ConsecutiveFailures {
            max_failures: 2,
            backoff: Some(api::ExponentialBackoff {
                min_backoff: hour,
                max_backoff: hour,
                ..Default::default()
            }),
        })),
        ..Default::default()
    });
    for routes in routes(&mut policy) {
        routes[0].rules[0].timeouts = Some(Timeouts {
            response: Some(prost_types::Duration {
                seconds: 0,
                nanos: 50_000_000,
            }),
            ..Default::default()
        });
    }
    mesh.control.policy(TO, policy);
    mesh.control.endpoints(LOCAL, &[plain(stuck("").await)]);
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(mesh.get(TO).await.unwrap_err().to_string());
    }
    let late = "response timed out after 50ms";
    assert_eq!(errors, [late, late, "10.0.0.1:80 service in fail-fast"]);
}

/// Nobody says how long a request may take but the application itself, which goes away.
#[tokio::test]
async fn an_endpoint_that_never_answers_does_not_look_idle() {
    let mesh = Mesh::start().await;
    let (mute, fine) = (stuck("").await, Peer::start(None, "fine").await);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let both = [plain(mute), plain(fine.addr)];
    mesh.control.endpoints(LOCAL, &both);
    let mut given_up = 0;
    for _ in 0..50 {
        match timeout(Duration::from_millis(100), mesh.get(TO)).await {
            Ok(answer) => assert_eq!(answer.unwrap().body, "fine"),
            Err(_) => given_up += 1,
        }
    }
    assert!(given_up <= 5, "{given_up} of 50 requests waited in vain");
}

/// Certificates end at whole seconds.
async fn expired(store: &mesh_tls::Store) {
    eventually("expired", || async {
        store
            .expiry()
            .is_some_and(|expiry| expiry < SystemTime::now())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn an_endpoint_whose_certificate_has_expired_is_not_spoken_to() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "300ms")]).await;
    let brief = mesh
        .issuer
        .issue(&WEB.parse().unwrap(), Duration::from_secs(1));
    let peer = Peer::start(Some(brief.clone()), "web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    expired(&brief).await;
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let error = mesh.get(TO).await.unwrap_err().to_string();
    assert_eq!(error, "10.0.0.1:80 service in fail-fast");
    assert!(peer.seen().is_empty());
    mesh.issuer.renew(&brief, HOUR);
    eventually("spoken to", || async { mesh.get(TO).await.is_ok() }).await;
}

/// While the control plane is away nobody renews it.
#[tokio::test]
async fn a_certificate_of_our_own_that_has_expired_is_a_clear_error_until_it_is_renewed() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.set_away(true);
    mesh.issuer.renew(&mesh.store, Duration::from_secs(1));
    assert_eq!(mesh.store.id(), &CLIENT.parse().unwrap());
    expired(&mesh.store).await;
    mesh.control.set_away(false);
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let error = timeout(PATIENCE, mesh.get(TO)).await.expect("it hangs");
    let error = error.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("expired"), "{error}");
    assert!(peer.seen().is_empty());
    mesh.issuer.renew(&mesh.store, HOUR);
    eventually("served again", || async { mesh.get(TO).await.is_ok() }).await;
}
