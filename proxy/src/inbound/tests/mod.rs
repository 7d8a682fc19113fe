//! The inbound half as its clients see it.

mod admin;
mod agent;
mod control;
mod directives;
mod identity;
mod metrics;
mod ports;
mod profiles;
mod refused;
pub(crate) mod sandbox;
mod server_first;
mod shutdown;
mod tap;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use mesh_tls::testing::Ca;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use self::sandbox::{
    CLIENT, HOUR, Options, SERVER, Sandbox, app, app_at, detect, dial, echo, eventually, h2, id,
    nobody, opaque, read_response, read_to_end, server, to_port,
};
use super::{
    accept::Addrs,
    gateway::{Gateway, NamedTarget},
    policy::watch::Policies,
    port,
};
use crate::{
    Error,
    http::Body,
    io::{BoxIo, boxed},
    transport_header::{Header, Session},
};
use linkerd2_proxy_api::inbound::{
    HttpLocalRateLimit, http_local_rate_limit,
    proxy_protocol::{Http1, Kind},
};

const REQUEST: &str = "GET /a?b=c HTTP/1.1\r\nhost: web.default\r\n\r\n";

fn opaque_header(port: u16) -> Header {
    Header {
        port,
        name: None,
        session: None,
    }
}

// --- who may come to the direct listener

#[tokio::test]
async fn a_mesh_client_reaches_the_application_which_sees_who_it_is() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let spoofed = "GET /a?b=c HTTP/1.1\r\nhost: web.default\r\nl5d-client-id: admin\r\n\
                   connection: x-hop\r\nx-hop: 1\r\n\r\n";
    let response = mesh.get(app, spoofed).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let seen = format!("HTTP/1.1 /a?b=c {CLIENT} false\n");
    assert!(response.ends_with(&seen), "{response}");
    // Only proxies speak for proxies.
    assert!(!response.contains("l5d-proxy-error"), "{response}");
    let client = format!("client_id=\"{CLIENT}\"");
    for (name, more) in [
        ("request_total{", "direction=\"inbound\""),
        ("response_total{", "classification=\"success\""),
        (
            "inbound_http_authz_allow_total{",
            "srv_name=\"all-unauthenticated\"",
        ),
        (
            "inbound_tcp_transport_header_connections_total{",
            "session_protocol=\"http/1\"",
        ),
    ] {
        let value = mesh.metric(&[name, &client, more]).await;
        assert_eq!(value, 1, "{name}");
    }
}

#[tokio::test]
async fn an_upgraded_request_reaches_the_application_as_it_was() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let mut send = h2(mesh.direct(to_port(app, Session::Http2)).await).await;
    let mut request = Request::get("/x")
        .header("host", "web.default")
        .body(Body::empty())
        .unwrap();
    let upgraded = crate::http::orig_proto::upgrade_request(&mut request);
    let mut response = send.send_request(request).await.unwrap();
    assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
    crate::http::orig_proto::restore_response(upgraded, &mut response);
    assert_eq!(response.version(), http::Version::HTTP_11);
    let seen = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(seen, format!("HTTP/1.1 /x {CLIENT} false\n"));

    // Without the header it is HTTP/2 for the application, too.
    let request = Request::post("http://web.default/y")
        .body(Body::full("body"))
        .unwrap();
    let response = send.send_request(request).await.unwrap();
    let seen = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let expected = format!("HTTP/2.0 http://web.default/y {CLIENT} false\nbody");
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn whoever_proves_no_identity_of_ours_is_refused() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let refused = || async { mesh.metric(&["inbound_tcp_errors_total{"]).await };

    // In the clear.
    let mut plain = boxed(mesh.dial().await);
    plain.write_all(REQUEST.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut plain).await, b"");
    eventually("plaintext counted", || async { refused().await == 1 }).await;

    // Without a certificate.
    let target = mesh_tls::Target {
        server_id: id(SERVER),
        server_name: None,
        transport_header: true,
    };
    let anchors = mesh.ca.anchors();
    let io = mesh_tls::connect_anonymous(&anchors, &target, mesh.dial().await)
        .await
        .unwrap();
    let mut anonymous = boxed(io);
    let _ = anonymous.write_all(&opaque_header(app).encode()).await;
    assert_eq!(read_to_end(&mut anonymous).await, b"");
    eventually("anonymous counted", || async { refused().await == 2 }).await;

    // Certified by somebody else, though it trusts us.
    let foreign = Ca::new("foreign");
    let both = foreign.0.cert_pem() + &mesh.ca.0.cert_pem();
    let both = mesh_tls::TrustAnchors::from_pem(&both).unwrap();
    let store = mesh_tls::Store::new(id(CLIENT), both);
    let (certified, key) = foreign.issuer("foreign").leaf(&id(CLIENT), HOUR);
    store.install(certified, key).unwrap();
    let io = mesh_tls::connect(&store, &target, mesh.dial().await)
        .await
        .unwrap();
    let mut stranger = boxed(io);
    let _ = stranger.write_all(&opaque_header(app).encode()).await;
    assert_eq!(read_to_end(&mut stranger).await, b"");
    eventually("foreign counted", || async { refused().await == 3 }).await;
}

#[tokio::test]
async fn a_client_without_a_transport_header_is_refused() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let mut io = mesh.tls(&mesh.client(), false).await;
    let _ = io.write_all(REQUEST.as_bytes()).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    // Announced, but something else comes.
    let mut io = mesh.tls(&mesh.client(), true).await;
    let _ = io.write_all(REQUEST.as_bytes()).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    eventually("counted", || async {
        mesh.metric(&["inbound_tcp_errors_total{", "error=\"unexpected\""])
            .await
            == 2
    })
    .await;
    // Nobody was disturbed.
    assert!(mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn malformed_bytes_end_their_connection_and_are_counted() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let errors = || async { mesh.metric(&["inbound_tcp_errors_total{"]).await };
    let mut expected = 0;

    // A ClientHello that lies about its length, and one for another version.
    let hello: &[u8] = &[22, 3, 1, 0, 5, 1, 0xff, 0xff, 0xff, 0, 0, 0];
    let wrong: &[u8] = &[22, 9, 9, 0, 5, 1, 0, 0, 1, 0];
    for bytes in [hello, wrong] {
        let mut io = boxed(mesh.dial().await);
        io.write_all(bytes).await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut io).await, b"");
        expected += 1;
        eventually("hello counted", || async { errors().await >= expected }).await;
    }

    // Transport headers: oversized, zero port, garbage.
    let preface = mesh_contract::transport::PREFACE;
    let framed = |message: &[u8]| {
        let mut bytes = preface.to_vec();
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes
    };
    let mut oversized = preface.to_vec();
    oversized.extend(u32::MAX.to_be_bytes());
    for bytes in [oversized, framed(&[8, 0]), framed(&[0xff; 16])] {
        let mut io = mesh.tls(&mesh.client(), true).await;
        io.write_all(&bytes).await.unwrap();
        assert_eq!(read_to_end(&mut io).await, b"");
        expected += 1;
        eventually("header counted", || async { errors().await >= expected }).await;
    }

    // HTTP that is none.
    for session in [Session::Http1, Session::Http2] {
        let mut io = mesh
            .direct(Header {
                port: app,
                name: None,
                session: Some(session),
            })
            .await;
        io.write_all(b"\0\x01 this is \xff not HTTP\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut io).await;
        if session == Session::Http1 {
            assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
        }
        expected += 1;
        eventually("HTTP counted", || async { errors().await >= expected }).await;
    }
    assert!(mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn one_address_full_of_unfinished_connections_leaves_room_for_others() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let mut unfinished = Vec::new();
    for _ in 0..=super::MAX_UNPROVEN.1 {
        let mut io = mesh.dial().await;
        let _ = io.write_all(&[22]).await;
        unfinished.push(io);
    }
    let refused = ["inbound_tcp_errors_total{", "error=\"loadshed\""];
    eventually("one is too many", || async {
        mesh.metric(&refused).await > 0
    })
    .await;

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 77, 0, 3], 0))).unwrap();
    let io = socket.connect(mesh.inbound).await.unwrap();
    let target = mesh_tls::Target {
        server_id: id(SERVER),
        server_name: None,
        transport_header: true,
    };
    let io = mesh_tls::connect(&mesh.client(), &target, io).await;
    let mut io = boxed(io.unwrap());
    let header = to_port(app, Session::Http1);
    io.write_all(&header.encode()).await.unwrap();
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

// --- what the policy says

#[tokio::test]
async fn a_policy_decides_about_requests_and_changes_take_effect_on_live_connections() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    mesh.policies.set(app, detect(&["somebody.else"]));
    let mut io = mesh.direct(to_port(app, Session::Http1)).await;
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    assert!(
        response.contains("l5d-proxy-error: unauthorized"),
        "{response}"
    );
    assert_eq!(mesh.metric(&["inbound_http_authz_deny_total{"]).await, 1);

    mesh.policies.set(app, detect(&[CLIENT]));
    // The same connection.
    let mut last = String::new();
    for _ in 0..200 {
        io.write_all(REQUEST.as_bytes()).await.unwrap();
        last = read_response(&mut io).await;
        if last.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
}

#[tokio::test]
async fn the_default_policy_holds_where_the_control_plane_knows_nothing() {
    let options = Options {
        vars: vec![("INBOUND_DEFAULT_POLICY", "deny".into())],
        ..Options::default()
    };
    let (mesh, app) = (Sandbox::with(options).await, app().await);
    let response = mesh.get(app, REQUEST).await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
}

#[tokio::test]
async fn opaque_bytes_are_forwarded_both_ways_until_both_ends_are_done() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let mut io = mesh.direct(opaque_header(echo)).await;
    io.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    // Our end is done; the application's is not.
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"bye");
    let allowed = ["inbound_tcp_authz_allow_total{", CLIENT];
    assert_eq!(mesh.metric(&allowed).await, 1);
    eventually("closed", || async {
        mesh.metric(&["tcp_close_total{", "peer=\"src\"", CLIENT])
            .await
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_policy_change_ends_live_connections_it_does_not_allow() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    mesh.policies.set(echo, opaque(&[CLIENT]));
    let mut io = mesh.direct(opaque_header(echo)).await;
    io.write_all(b"x").await.unwrap();
    io.read_exact(&mut [0]).await.unwrap();

    mesh.policies.set(echo, opaque(&["somebody.else"]));
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(
        mesh.metric(&["inbound_tcp_authz_terminate_total{"]).await,
        1
    );

    // And a new one is not let in.
    let mut io = mesh.direct(opaque_header(echo)).await;
    let _ = io.write_all(b"x").await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(mesh.metric(&["inbound_tcp_authz_deny_total{"]).await, 1);
}

#[tokio::test]
async fn a_response_that_goes_on_ends_when_nothing_is_allowed_its_client_any_more() {
    let mesh = Sandbox::start().await;
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    mesh.policies.set(port, detect(&[CLIENT]));
    let (mut client, endless) = mesh.begin(&listener, 1000).await;
    mesh.policies.set(port, detect(&["somebody.else"]));
    // It must end by itself: nobody writes any more.
    read_to_end(&mut client).await;
    drop(endless);
}

#[tokio::test]
async fn a_port_that_speaks_http_is_not_reached_as_bytes() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let http1 = Kind::Http1(Http1::default());
    mesh.policies.set(app, server(http1, &[CLIENT]));
    let mut io = mesh.direct(opaque_header(app)).await;
    let _ = io.write_all(REQUEST.as_bytes()).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert!(mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_slow_down() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let http1 = Http1 {
        local_rate_limit: Some(HttpLocalRateLimit {
            total: Some(http_local_rate_limit::Limit {
                requests_per_second: 1,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    mesh.policies
        .set(app, server(Kind::Http1(http1), &[CLIENT]));
    assert!(mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200"));
    assert!(mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 429"));
    let limited = [
        "inbound_http_local_ratelimit_total{",
        "ratelimit_scope=\"total\"",
    ];
    assert_eq!(mesh.metric(&limited).await, 1);
}

// --- where it goes

#[tokio::test]
async fn an_application_that_is_gone_is_a_502_that_says_so() {
    let (mesh, gone) = (Sandbox::start().await, nobody().await);
    let response = mesh.get(gone, REQUEST).await;
    assert!(response.starts_with("HTTP/1.1 502"), "{response}");
    assert!(response.contains("l5d-proxy-error: connecting to 127.77.0.1:"));
    assert!(response.contains("connection: close"), "{response}");
    let errors = ["inbound_http_errors_total{", "error=\"i/o\""];
    assert_eq!(mesh.metric(&errors).await, 1);
}

/// As stock proxies do: over HTTP/2, where requests share a connection, they wait for it.
#[tokio::test]
async fn an_application_that_starts_late_is_waited_for_over_http2_and_not_for_long() {
    let patience = Duration::from_millis(500);
    let options = Options {
        vars: vec![
            ("INBOUND_HTTP_FAILFAST_TIMEOUT", "500ms".into()),
            ("INBOUND_CONNECT_EXP_BACKOFF_MIN", "20ms".into()),
            ("INBOUND_CONNECT_EXP_BACKOFF_MAX", "50ms".into()),
        ],
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let ask = |port| {
        let mesh = &mesh;
        async move {
            let mut send = h2(mesh.direct(to_port(port, Session::Http2)).await).await;
            let request = Request::get("http://web/").body(Body::empty()).unwrap();
            send.send_request(request).await.unwrap()
        }
    };
    let gone = nobody().await;
    let began = std::time::Instant::now();
    let response = ask(gone).await;
    assert_eq!(response.status(), 504);
    assert!(began.elapsed() >= patience);
    let said = response.headers()["l5d-proxy-error"].to_str().unwrap();
    assert!(
        said.contains("refused") && said.ends_with("in fail-fast"),
        "{said}"
    );

    let late = nobody().await;
    let listens = async {
        let attempts = [
            "tcp_open_total{",
            "peer=\"src\"",
            &format!("target_port=\"{late}\""),
        ];
        eventually("the request arrived", || async {
            mesh.metric(&attempts).await == 1
        })
        .await;
        app_at(late).await;
    };
    let (response, ()) = tokio::join!(ask(late), listens);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_proxys_own_listeners_are_no_targets() {
    let mesh = Sandbox::start().await;
    for port in [mesh.inbound.port(), mesh.outbound.port(), mesh.admin.port()] {
        let mut io = mesh.direct(opaque_header(port)).await;
        let _ = io.write_all(REQUEST.as_bytes()).await;
        assert_eq!(read_to_end(&mut io).await, b"");
    }
}

#[tokio::test]
async fn upgraded_connections_are_tunnelled_as_long_as_the_policy_allows() {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            io.read_buf(&mut head).await.unwrap();
        }
        assert!(String::from_utf8(head).unwrap().contains("upgrade: chat"));
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
        io.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = io.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mesh = Sandbox::start().await;
    let request = "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let mut io = mesh.direct(to_port(port, Session::Http1)).await;
    io.write_all(request.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 101"), "{response}");
    assert!(response.contains("upgrade: chat"), "{response}");
    io.write_all(b"not HTTP at all").await.unwrap();
    let mut echoed = [0; 15];
    io.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"not HTTP at all");
    // A policy that allows the client changes nothing, one that does not ends it.
    mesh.policies.set(port, detect(&[CLIENT, "somebody.else"]));
    io.write_all(b"still here").await.unwrap();
    io.read_exact(&mut echoed[..10]).await.unwrap();
    mesh.policies.set(port, detect(&["somebody.else"]));
    assert_eq!(read_to_end(&mut io).await, b"");
    let terminated = ["inbound_tcp_authz_terminate_total{"];
    eventually("counted", || async { mesh.metric(&terminated).await == 1 }).await;
}

#[tokio::test]
async fn probes_reach_the_admin_server_through_the_mesh_whatever_the_policy() {
    let options = Options {
        vars: vec![("INBOUND_DEFAULT_POLICY", "deny".into())],
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let port = mesh.admin.port();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let ready = mesh.get(port, &get("/ready")).await;
    assert!(ready.ends_with("ready\n"), "{ready}");
    let metrics = mesh.get(port, &get("/metrics")).await;
    assert!(metrics.starts_with("HTTP/1.1 403"), "{metrics}");

    mesh.policies.set(port, detect(&[CLIENT]));
    eventually("policy is known", || async {
        mesh.get(port, &get("/metrics"))
            .await
            .starts_with("HTTP/1.1 200")
    })
    .await;
}

// --- names

#[derive(Default)]
struct Names(Mutex<Vec<(String, u16, String)>>);

impl Names {
    fn note(&self, target: &NamedTarget) {
        let client = target.client.id().to_string();
        let call = (target.name.clone(), target.port, client);
        self.0.lock().unwrap().push(call);
    }
}

struct Hook(Arc<Names>);

impl Gateway for Hook {
    fn http(
        &self,
        target: NamedTarget,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        self.0.note(&target);
        Box::pin(async move {
            let text = format!("{:?} {}", request.version(), request.uri());
            Ok(Response::new(Body::full(text)))
        })
    }

    fn tcp(&self, target: NamedTarget, mut io: BoxIo) -> BoxFuture<'static, Result<(), Error>> {
        self.0.note(&target);
        Box::pin(async move {
            io.write_all(b"named").await?;
            io.shutdown().await?;
            Ok(())
        })
    }
}

fn named(session: Option<Session>) -> Header {
    Header {
        port: 80,
        name: Some("Web.default.svc.cluster.local.".into()),
        session,
    }
}

#[tokio::test]
async fn a_proxy_that_is_no_gateway_knows_no_names() {
    let mesh = Sandbox::start().await;
    let mut io = mesh.direct(named(Some(Session::Http1))).await;
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 404"), "{response}");
    let mut io = mesh.direct(named(None)).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    let errors = ["errors_total{", "error=\"gateway domain invalid\""];
    eventually("counted", || async { mesh.metric(&errors).await == 2 }).await;
}

#[tokio::test]
async fn a_gateway_is_handed_names_its_own_ports_policy_allows() {
    let names = Arc::new(Names::default());
    let options = Options {
        vars: vec![("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.".into())],
        gateway: Some(Arc::new(Hook(names.clone()))),
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let mut io = mesh.direct(named(Some(Session::Http1))).await;
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.ends_with("HTTP/1.1 /a?b=c"), "{response}");
    let mut io = mesh.direct(named(None)).await;
    assert_eq!(read_to_end(&mut io).await, b"named");
    let call = (
        "web.default.svc.cluster.local".to_owned(),
        80,
        CLIENT.to_owned(),
    );
    assert_eq!(*names.0.lock().unwrap(), [call.clone(), call]);

    mesh.policies
        .set(mesh.inbound.port(), detect(&["somebody.else"]));
    eventually("denied", || async {
        let mut io = mesh.direct(named(Some(Session::Http1))).await;
        io.write_all(REQUEST.as_bytes()).await.unwrap();
        read_response(&mut io).await.starts_with("HTTP/1.1 403")
    })
    .await;
}

// --- redirected connections

/// A listener that stands in for the redirection of `original`.
async fn redirected(mesh: &Sandbox, original: u16) -> SocketAddr {
    redirected_with(mesh, original, "all-unauthenticated").await
}

async fn redirected_with(mesh: &Sandbox, original: u16, default_policy: &str) -> SocketAddr {
    let (inbound, drain) = mesh.half(default_policy);
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, client)) = listener.accept().await {
            let (inbound, drain) = (inbound.clone(), drain.1.clone());
            tokio::spawn(async move {
                let addrs = Addrs {
                    client,
                    original: ([127, 77, 0, 1], original).into(),
                };
                let served = port::serve(&inbound, addrs, io, drain).await;
                inbound.ended(addrs, served);
            });
        }
    });
    addr
}

impl Sandbox {
    /// The inbound half alone, with the same identity and control plane.
    fn half(
        &self,
        default_policy: &str,
    ) -> (super::Inbound, (mesh_daemon::drain::Drainer, crate::Drain)) {
        let config = self.config(default_policy);
        let runtime = crate::Runtime {
            store: self.issuer.issue(&id(SERVER), HOUR),
            metrics: crate::metrics::Metrics::new(HOUR),
            resolver: mesh_daemon::net::Resolver::from_env(),
            witnesses: Default::default(),
            directives: Default::default(),
            config: Arc::new(config),
        };
        let (trigger, shutdown) = mesh_daemon::shutdown();
        let readiness = mesh_daemon::readiness::Readiness::new();
        let outbound = crate::outbound::Outbound::new(&runtime);
        let control = outbound.control();
        let admin = crate::admin::admin(&runtime, outbound, readiness, trigger);
        let addr = &runtime.config.policy.addr;
        let policy = crate::metrics::ControlClient::Policy;
        let (resolver, metrics) = (&runtime.resolver, &runtime.metrics);
        let channel = crate::control::channel(policy, addr, &runtime.store, resolver, metrics);
        let policies = Policies::new(runtime.config.clone(), channel, shutdown);
        let ports = super::OwnPorts {
            inbound: 4143,
            outbound: vec![4140],
            admin: 4191,
        };
        let inbound = super::Inbound::new(runtime, policies, control, None, admin, ports);
        (inbound, mesh_daemon::drain::drain())
    }
}

#[tokio::test]
async fn plain_http_to_a_port_is_detected_and_anonymous() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let at = redirected(&mesh, app).await;
    let mut io = boxed(dial(at).await);
    let spoofed = "GET / HTTP/1.1\r\nhost: web\r\nl5d-client-id: admin\r\n\r\n";
    io.write_all(spoofed.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.ends_with("HTTP/1.1 / - false\n"), "{response}");
}

#[tokio::test]
async fn mesh_tls_to_a_port_is_terminated_by_server_name() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let at = redirected(&mesh, app).await;
    let target = mesh_tls::Target {
        server_id: id(SERVER),
        server_name: None,
        transport_header: false,
    };
    let io = mesh_tls::connect(&mesh.client(), &target, dial(at).await)
        .await
        .unwrap();
    let mut io = boxed(io);
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    let seen = format!("HTTP/1.1 /a?b=c {CLIENT} false\n");
    assert!(response.ends_with(&seen), "{response}");
}

#[tokio::test]
async fn tls_for_somebody_else_is_passed_through_untouched() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let at = redirected(&mesh, echo).await;
    let target = mesh_tls::Target {
        server_id: id("other.example.com"),
        server_name: None,
        transport_header: false,
    };
    // The echo sends our own hello back, which no TLS client takes for an answer.
    let answered = mesh_tls::connect(&mesh.client(), &target, dial(at).await).await;
    assert!(matches!(answered, Err(mesh_tls::Error::Handshake(_))));
}

#[tokio::test]
async fn bytes_that_are_not_http_are_forwarded_with_the_first_of_them() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let at = redirected(&mesh, echo).await;
    let mut io = boxed(dial(at).await);
    io.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"*1\r\n$4\r\nPING\r\nbye");
}

#[tokio::test]
async fn on_an_opaque_port_the_server_may_speak_first() {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"220 hello").await.unwrap();
    });
    let mesh = Sandbox::start().await;
    let mut server = opaque(&[]);
    server.authorizations[0].authentication = Some(linkerd2_proxy_api::inbound::Authn {
        permit: Some(linkerd2_proxy_api::inbound::authn::Permit::Unauthenticated(
            linkerd2_proxy_api::inbound::authn::PermitUnauthenticated {},
        )),
    });
    mesh.policies.set(port, server);
    let at = redirected(&mesh, port).await;
    let mut io = boxed(dial(at).await);
    assert_eq!(read_to_end(&mut io).await, b"220 hello");
}

#[tokio::test]
async fn an_unauthenticated_client_is_told_no_more_than_no() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let at = redirected_with(&mesh, app, "all-authenticated").await;
    let mut io = boxed(dial(at).await);
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_response(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    assert!(!response.contains("l5d-proxy-error"), "{response}");
}

// --- the end

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_accepts_no_more() {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (arrive, arrived) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        io.read_buf(&mut Vec::new()).await.unwrap();
        arrive.send(()).unwrap();
        released.await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
        io.write_all(answer.as_bytes()).await.unwrap();
    });
    let mesh = Sandbox::start().await;
    let mut io = mesh.direct(to_port(port, Session::Http1)).await;
    io.write_all(REQUEST.as_bytes()).await.unwrap();
    arrived.await.unwrap();
    mesh.stop.shutdown();
    eventually("accepts no more", || async {
        mesh.admin("/ready").await.starts_with("HTTP/1.1 503")
    })
    .await;
    assert!(!mesh.stopped.is_finished());
    release.send(()).unwrap();
    let response = read_response(&mut io).await;
    assert!(response.ends_with("done"), "{response}");
    assert!(response.contains("connection: close"), "{response}");
    assert_eq!(read_to_end(&mut io).await, b"");
    mesh.stopped.await.unwrap();
}
