//! How connections and requests reach their endpoints.

use std::{net::SocketAddr, time::Duration};

use ::http::Version;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use mesh_contract::headers::{CLIENT_ID, DST_CANONICAL, ORIG_PROTO, PROXY_ERROR, REQUIRE_ID};
use mesh_daemon::net::Listener;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::sandbox::{
    CLIENT, Mesh, Peer, WEB, first_available, gateway, meshed, nobody, plain, request,
};
use crate::{
    Error,
    transport_header::{Header, Session},
};

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";
const OTHER: &str = "other.default.serviceaccount.identity.linkerd.cluster.local";

#[tokio::test]
async fn requests_to_a_peer_are_upgraded_and_come_back_as_they_left() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let mut spoofed = request("GET", "");
    let evil = "admin".parse().unwrap();
    spoofed.headers_mut().insert(CLIENT_ID, evil);
    let answer = mesh.send(TO, spoofed).await.unwrap();
    assert_eq!(answer.version, Version::HTTP_11);
    let seen = &peer.seen()[0];
    assert_eq!(seen.version, Version::HTTP_2);
    assert_eq!(seen.headers[ORIG_PROTO], "HTTP/1.1");
    assert_eq!(seen.uri, "http://web.default/path");
    assert_eq!(seen.client.as_ref().unwrap().as_str(), CLIENT);
    assert!(!seen.headers.contains_key(CLIENT_ID));
    let header = Header {
        port: peer.addr.port(),
        name: None,
        session: Some(Session::Http2),
    };
    assert_eq!(seen.header, Some(header));
}

#[tokio::test]
async fn a_gateway_is_told_the_name_it_knows() {
    let mesh = Mesh::start().await;
    let east = mesh.peer("east").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let authority = "web.default.svc.cluster.local:8080";
    let mut endpoint = gateway(east.addr, WEB, authority);
    endpoint.metric_labels.insert("pod".into(), "p".into());
    mesh.control.endpoints(LOCAL, &[endpoint]);
    mesh.get(TO).await.unwrap();
    let seen = &east.seen()[0];
    let header = Header {
        port: 8080,
        name: Some("web.default.svc.cluster.local".to_owned()),
        session: Some(Session::Http2),
    };
    assert_eq!(seen.header, Some(header));
    assert_eq!(seen.uri, format!("http://{authority}/path"));
    assert!(!seen.headers.contains_key("host"));
    assert!(!seen.headers.contains_key(DST_CANONICAL));
    let metrics = mesh.outbound.0.metrics.render();
    let request = metrics
        .lines()
        .find(|line| line.starts_with("request_total"))
        .unwrap();
    for label in [
        "direction=\"outbound\"",
        "tls=\"true\"",
        "dst_namespace=\"default\"",
        "dst_pod=\"p\"",
    ] {
        assert!(request.contains(label), "{label} in {request}");
    }
}

#[tokio::test]
async fn an_endpoint_with_another_identity_is_refused() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "300ms")]).await;
    let peer = mesh.peer("impostor").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, OTHER)]);
    let refused = mesh.send(TO, request("POST", "secret")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn an_application_can_insist_on_an_identity() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let insisting = |id: &str| {
        let mut request = request("GET", "");
        request
            .headers_mut()
            .insert(REQUIRE_ID, id.parse().unwrap());
        request
    };
    mesh.send(TO, insisting(WEB)).await.unwrap();
    assert!(!peer.seen()[0].headers.contains_key(REQUIRE_ID));
    let refused = mesh.send(TO, insisting(OTHER)).await;
    assert!(matches!(refused, Err(Error::IdentityRequired { .. })));

    let app = Peer::start(None, "plain").await;
    let refused = mesh.send(&app.addr.to_string(), insisting(WEB)).await;
    assert!(matches!(
        refused,
        Err(Error::IdentityRequired { found: None, .. })
    ));
}

#[tokio::test]
async fn what_the_control_plane_does_not_know_is_forwarded_plainly() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "external").await;
    let to = app.addr.to_string();
    let answer = mesh.get(&to).await.unwrap();
    assert_eq!(answer.body, "external");
    let seen = &app.seen()[0];
    assert_eq!(seen.version, Version::HTTP_11);
    assert_eq!(seen.uri, "/path");
    assert!(!seen.headers.contains_key(ORIG_PROTO));
    // Nobody there: the error is theirs to see, at once.
    let nobody = nobody().await.to_string();
    assert!(matches!(
        mesh.get(&nobody).await,
        Err(Error::Connect { .. })
    ));
}

#[tokio::test]
async fn a_known_target_is_not_asked_about_again() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    mesh.spread(TO, 10).await;
    let asked = [format!("policy {TO}"), format!("endpoints {LOCAL}")];
    assert_eq!(mesh.control.asked(), asked);
    assert_eq!(peer.headers().len(), 1, "one connection carries all");
    let state = mesh.outbound.state();
    assert_eq!(state["targets"][0][0], TO);
    let endpoint = &state["balancers"][0]["endpoints"][0];
    assert_eq!(endpoint["addr"], peer.addr.to_string());
    assert_eq!(endpoint["availability"], "Ready");
}

#[tokio::test]
async fn a_silent_control_plane_ends_in_a_clear_error() {
    let mesh = Mesh::start().await;
    mesh.control.silence(TO);
    let start = std::time::Instant::now();
    let failed = mesh.get(TO).await;
    assert!(matches!(failed, Err(Error::Timeout(..))), "{failed:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_policy_that_cannot_be_followed_is_an_error_of_its_own() {
    let mesh = Mesh::start().await;
    mesh.control.policy(TO, Default::default());
    let failed = mesh.get(TO).await;
    assert!(matches!(failed, Err(Error::InvalidPolicy(_))), "{failed:?}");
}

#[tokio::test]
async fn http1_connections_to_plain_endpoints_are_reused() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    for _ in 0..10 {
        mesh.get(TO).await.unwrap();
        // The connection is put back by its own task.
        tokio::task::yield_now().await;
    }
    assert!(app.headers().len() <= 3, "{}", app.headers().len());
}

#[tokio::test]
async fn a_response_outlives_its_endpoints_removal() {
    let mesh = Mesh::start().await;
    let (old, new) = (mesh.peer("old").await, mesh.peer("new").await);
    const LARGE: usize = 4 * 1024 * 1024;
    old.respond(|_| ::http::Response::new(Full::from(vec![b'x'; LARGE])));
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(old.addr, WEB)]);
    let shared = &mesh.outbound.0;
    let target = shared.discovery.addr(TO.parse().unwrap()).await.unwrap();
    let origin = super::super::http::Origin::Workload;
    let response = super::super::http::answer(shared, origin, &target, request("GET", "")).await;
    let mut body = response.unwrap().into_body();
    let mut read = 0;
    let first = body.frame().await.unwrap().unwrap();
    read += first.into_data().unwrap().len();
    // The pod terminates: it leaves discovery first and finishes its work.
    mesh.control.endpoints(LOCAL, &[meshed(new.addr, WEB)]);
    while mesh.get(TO).await.unwrap().body != "new" {}
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, LARGE);
}

#[tokio::test]
async fn a_request_outlives_its_endpoints_removal() {
    let mesh = Mesh::start().await;
    let (old, new) = (mesh.peer("old").await, mesh.peer("new").await);
    old.hold(true);
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(old.addr, WEB)]);
    let slow = mesh.send(TO, request("POST", "body"));
    let terminate = async {
        old.arrived(1).await;
        mesh.control.endpoints(LOCAL, &[meshed(new.addr, WEB)]);
        while new.seen().is_empty() {
            let asked = mesh.get(TO);
            let _ = tokio::time::timeout(Duration::from_millis(50), asked).await;
        }
        old.hold(false);
    };
    let (answer, ()) = tokio::join!(slow, terminate);
    assert_eq!(answer.unwrap().body, "old");
}

#[tokio::test]
async fn grpc_calls_keep_their_version_and_trailers_survive() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "grpc").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    let mut request = request("POST", "frame");
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = "http://web.default/echo.Echo/Say".parse().unwrap();
    request.headers_mut().remove("host");
    let answer = mesh.send(TO, request).await.unwrap();
    assert_eq!(answer.version, Version::HTTP_2);
    assert_eq!(app.seen()[0].uri, "http://web.default/echo.Echo/Say");
}

#[tokio::test]
async fn an_http2_request_without_authority_is_for_the_address_it_was_sent_to() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    let mut request = request("GET", "");
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove("host");
    let answer = mesh.send(&app.addr.to_string(), request).await.unwrap();
    assert_eq!(answer.body, "app");
    assert_eq!(app.seen()[0].uri, format!("http://{}/path", app.addr));
}

// === bytes ===

#[tokio::test]
async fn bytes_reach_a_peer_with_half_close_and_without_a_session() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let endpoints = [meshed(nobody().await, WEB), meshed(peer.addr, WEB)];
    mesh.control.endpoints(LOCAL, &endpoints);
    for _ in 0..5 {
        let mut client = mesh.dial(TO).await;
        client.write_all(b"not http at all").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "web:not http at all");
    }
    for header in peer.headers() {
        assert_eq!(header.unwrap().session, None);
    }
}

#[tokio::test]
async fn bytes_for_a_gateway_carry_the_name() {
    let mesh = Mesh::start().await;
    let east = mesh.peer("east").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    let endpoint = gateway(east.addr, WEB, "db.default.svc.cluster.local:5432");
    mesh.control.endpoints(LOCAL, &[endpoint]);
    let mut client = mesh.dial(TO).await;
    client.write_all(b"hello, database server").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "east:hello, database server");
    let header = Header {
        port: 5432,
        name: Some("db.default.svc.cluster.local".to_owned()),
        session: None,
    };
    assert_eq!(east.headers(), [Some(header)]);
}

// === the gateway's entrance ===

#[tokio::test]
async fn a_name_the_control_plane_denies_is_not_discovered() {
    let mesh = Mesh::start().await;
    let name = "secret.default.svc.cluster.local";
    let found = mesh.outbound.discover_name(name, 80).await.unwrap();
    assert!(found.is_none());
}

#[tokio::test]
async fn a_gateway_calls_by_name_marks_proxy_errors_and_fails_fast() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(LOCAL, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let name = "web.default.svc.cluster.local";
    let found = mesh
        .outbound
        .discover_name(name, 80)
        .await
        .unwrap()
        .unwrap();
    let call = |method: &str| mesh.outbound.call(&found, request(method, ""));
    assert_eq!(call("GET").await.unwrap().status(), 200);
    assert_eq!(peer.seen()[0].headers[DST_CANONICAL], LOCAL);

    peer.respond(|_| {
        ::http::Response::builder()
            .status(502)
            .header(PROXY_ERROR, "connection refused")
            .body(Full::from(Bytes::new()))
            .unwrap()
    });
    let answer = call("POST").await.unwrap();
    assert!(answer.headers().contains_key(PROXY_ERROR));

    mesh.control.endpoints(LOCAL, &[]);
    let start = std::time::Instant::now();
    let gone = async {
        while !matches!(call("POST").await, Err(Error::FailFast(_))) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "at once");
}

// === the explicit mode ===

async fn explicit(mesh: &Mesh) -> (SocketAddr, mesh_daemon::drain::Drainer) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (drainer, drain) = mesh_daemon::drain::drain();
    let outbound = mesh.outbound.clone();
    tokio::spawn(async move { outbound.serve(listener, drain).await });
    (addr, drainer)
}

async fn converse(addr: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_explicit_proxy_joins_the_ordinary_path_by_address() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let (proxy, _drainer) = explicit(&mesh).await;
    let request = "GET http://10.0.0.1/a HTTP/1.1\r\nhost: liar\r\nconnection: close\r\n\r\n";
    let answer = converse(proxy, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("web"), "{answer}");
    assert_eq!(peer.seen()[0].uri, "http://10.0.0.1/a");
    assert_eq!(mesh.control.asked()[0], format!("policy {TO}"));
}

#[tokio::test]
async fn an_explicit_proxy_answers_clearly_when_it_cannot() {
    let mesh = Mesh::start().await;
    let (proxy, _drainer) = explicit(&mesh).await;
    let own = format!("GET http://{proxy}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    for (request, status) in [
        (
            "GET /relative HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET http://no.such.invalid/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "502",
        ),
        ("CONNECT no.such.invalid:80 HTTP/1.1\r\n\r\n", "502"),
        ("CONNECT nonsense HTTP/1.1\r\n\r\n", "400"),
        (&own, "502"),
    ] {
        let answer = converse(proxy, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn connect_tunnels_any_bytes() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(peer.addr, WEB)]);
    let (proxy, _drainer) = explicit(&mesh).await;
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client
        .write_all(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut established = [0; 39];
    client.read_exact(&mut established).await.unwrap();
    assert!(established.starts_with(b"HTTP/1.1 200"));
    client.write_all(b"ceci n'est pas HTTP").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "web:ceci n'est pas HTTP");
}

#[tokio::test]
async fn without_the_explicit_mode_unredirected_connections_are_dropped() {
    let mesh = Mesh::start().await;
    let shared = std::sync::Arc::clone(&mesh.outbound.0);
    let mut config = (*shared.config).clone();
    config.outbound.explicit = false;
    let closed = super::super::Shared {
        config: config.into(),
        resolver: shared.resolver.clone(),
        metrics: shared.metrics.clone(),
        directives: shared.directives.clone(),
        discovery: shared.discovery.clone(),
        in_flight: Default::default(),
    };
    let outbound = super::super::Outbound(closed.into());
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_drainer, drain) = mesh_daemon::drain::drain();
    tokio::spawn(async move { outbound.serve(listener, drain).await });
    let mut client = TcpStream::connect(addr).await.unwrap();
    let mut answer = Vec::new();
    let _ = client
        .write_all(b"GET http://10.0.0.1/ HTTP/1.1\r\n\r\n")
        .await;
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn an_ingress_says_in_a_header_whom_its_requests_are_for() {
    let mesh = Mesh::start().await;
    let (named, sent) = (mesh.peer("named").await, mesh.peer("sent to").await);
    mesh.control.policy(LOCAL, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[meshed(named.addr, WEB)]);
    let other = "other.default.svc.cluster.local:80";
    mesh.control.policy(TO, first_available(&[other]));
    mesh.control.endpoints(other, &[meshed(sent.addr, WEB)]);
    for (header, status, body) in [
        (format!("l5d-dst-override: {LOCAL}\r\n"), "200", "named"),
        (String::new(), "200", "sent to"),
        ("l5d-dst-override: nobody.default:80\r\n".into(), "502", ""),
        ("l5d-dst-override: not a name\r\n".into(), "400", ""),
    ] {
        let mut io = mesh.dial_ingress(TO).await;
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{header}: {answer}"
        );
        assert!(answer.contains(body), "{header}: {answer}");
    }
    assert!(!named.seen()[0].headers.contains_key("l5d-dst-override"));
    // What is not HTTP goes where it was sent.
    let mut io = mesh.dial_ingress(TO).await;
    io.write_all(b"\0 not HTTP, and long enough").await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("sent to:"), "{answer}");
}

#[tokio::test]
async fn what_an_ingress_is_not_answered_is_counted() {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")]).await;
    mesh.control.policy(LOCAL, first_available(&[LOCAL]));
    mesh.control.endpoints(LOCAL, &[]);
    let mut io = mesh.dial_ingress(TO).await;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nl5d-dst-override: {LOCAL}\r\nconnection: close\r\n\r\n"
    );
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let metrics = mesh.outbound.0.metrics.render();
    let counted = r#"outbound_http_errors_total{error="failfast","#;
    assert!(metrics.contains(counted), "{metrics}");
}
