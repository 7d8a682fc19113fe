//! Clients that want to do harm: what they send is refused, and others are served meanwhile.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hyper::client::conn::http2::SendRequest;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::wire::{Talk, Way, Wire};
use crate::{
    Error,
    http::Body,
    inbound::gateway::{Gateway, NamedTarget},
    inbound::tests::sandbox::{
        self, HOUR, Options, Sandbox, app, eventually, h2, id, read_response, read_to_end, to_port,
    },
    io::{BoxIo, boxed},
    transport_header::{Header, Session},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Requests that two servers could read in two ways.
const SHAPES: [&str; 23] = [
    // Lengths.
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody",
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4, 5\r\n\r\nbody",
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +4\r\n\r\nbody",
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -1\r\n\r\nbody",
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
     0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n\
     0\r\n\r\n",
    // Encodings.
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: gzip\r\n\r\nbody",
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n\
     0\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    // Lines.
    "GET / HTTP/1.1\nhost: web\n\n",
    "GET / HTTP/1.1\r\nhost: web\nx: y\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: web\r\n\n",
    "GET / HTTP/1.1\r\nhost: web\r\nx: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: web\r\n x: folded\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: web\r\nx: a\r\n\tfolded\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: web\r\nx: a\0b\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: web\r\ncontent-length : 4\r\n\r\nbody",
    // Whom it is for.
    "GET / HTTP/1.1\r\nhost: web\r\nhost: other\r\n\r\n",
    "GET web:80 HTTP/1.1\r\nhost: web\r\n\r\n",
    "CONNECT / HTTP/1.1\r\nhost: web\r\n\r\n",
];

/// What is no HTTP at all to somebody who has to find out what it is.
const NO_REQUEST_LINES: [&str; 3] = [
    " GET / HTTP/1.1\r\nhost: web\r\n\r\n",
    "GE T / HTTP/1.1\r\nhost: web\r\n\r\n",
    "GET  / HTTP/1.1\r\nhost: web\r\n\r\n",
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_never_forwarded() {
    let wire = Wire::new(Way::One).await;
    for request in SHAPES {
        let mut client = wire.client().await;
        client.write(request).await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
    // Nobody connected to the application meanwhile: the next one to do so is this one.
    let fine = Talk {
        request: "GET /fine HTTP/1.1\r\nhost: web\r\n\r\n",
        ..Talk::default()
    };
    let (seen, _) = wire.exchange(fine).await;
    assert!(seen.starts_with("GET /fine"), "{seen}");
}

#[tokio::test]
async fn nor_is_it_let_in() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    for request in SHAPES.into_iter().chain(NO_REQUEST_LINES) {
        let mut io = mesh.direct(to_port(app, Session::Http1)).await;
        io.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(read_to_end(&mut io).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 400").count(),
            1,
            "{request:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_told_so() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let many = "x: y\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(80 * 1024));
    for headers in [many, long] {
        let mut io = mesh.direct(to_port(app, Session::Http1)).await;
        let request = format!("GET / HTTP/1.1\r\nhost: web\r\n{headers}\r\n");
        let _ = io.write_all(request.as_bytes()).await;
        let answer = String::from_utf8(read_to_end(&mut io).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let mut send = h2(mesh.direct(to_port(app, Session::Http2)).await).await;
    let headers = "y".repeat(20 * 1024);
    let request = http::Request::get("http://web/").header("x", headers);
    let request = request.body(Body::empty()).unwrap();
    assert_eq!(send.send_request(request).await.unwrap().status(), 431);
}

#[tokio::test]
async fn whoever_stops_in_the_middle_of_a_handshake_is_cut_off() {
    let mesh = Sandbox::start().await;
    // The beginning of a ClientHello whose rest never comes, and of a transport header.
    let mut hello = boxed(mesh.dial().await);
    hello.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).await.unwrap();
    assert_eq!(read_to_end(&mut hello).await, b"");
    let mut header = mesh.tls(&mesh.client(), true).await;
    header.write_all(b"transport.l5d").await.unwrap();
    assert_eq!(read_to_end(&mut header).await, b"");
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let brief = mesh
        .issuer
        .issue(&id(sandbox::CLIENT), Duration::from_secs(2));
    let target = mesh_tls::Target {
        server_id: id(sandbox::SERVER),
        server_name: None,
        transport_header: true,
    };
    // Certificates end at whole seconds, and clocks go on.
    eventually("refused", || async {
        let io = mesh.dial().await;
        let Ok(mut io) = mesh_tls::connect(&brief, &target, io).await else {
            return true;
        };
        let _ = io.write_all(&to_port(app, Session::Http1).encode()).await;
        let _ = io.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        read_response(&mut boxed(io)).await.is_empty()
    })
    .await;
    // The same name with a fresh one is welcome.
    mesh.issuer.renew(&brief, HOUR);
    let answer = mesh.get(app, "GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

// === HTTP/2 ===

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// Sends all of it, whatever becomes of it, and returns the code of the goodbye.
pub(crate) async fn goodbye(io: BoxIo, bytes: Vec<u8>) -> Option<u32> {
    let (mut read, mut write) = tokio::io::split(io);
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        // Held open: only the other side ends it.
        std::future::pending::<()>().await;
    });
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer);
    let closed = timeout(PATIENCE, reading).await;
    sending.abort();
    assert!(closed.is_ok(), "the connection goes on");
    let mut rest = &answer[..];
    let mut code = None;
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
        let end = rest.len().min(9 + usize::try_from(length).unwrap());
        if rest[3] == GOAWAY && end >= 17 {
            code = Some(u32::from_be_bytes(rest[13..17].try_into().unwrap()));
        }
        rest = &rest[end..];
    }
    code
}

/// Long before pings, which nobody can answer in the middle of a head, would end it.
#[tokio::test]
async fn whoever_stops_in_the_middle_of_an_http2_head_is_cut_off() {
    let (mesh, app, wire) = (
        Sandbox::start().await,
        app().await,
        Wire::new(Way::One).await,
    );
    let mut bytes = preface();
    bytes.extend(frame(HEADERS, 0, 1, &GET));
    let inbound = mesh.direct(to_port(app, Session::Http2)).await;
    let outbound = boxed(wire.client().await.0);
    // Both at once: each takes the time a head may take.
    tokio::join!(goodbye(inbound, bytes.clone()), goodbye(outbound, bytes));
}

pub(crate) const CALM: u32 = 11;

/// A head that goes on and on.
pub(crate) fn continuations() -> Vec<u8> {
    let mut bytes = preface();
    bytes.extend(frame(HEADERS, 0, 1, &GET));
    for _ in 0..2_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &[0; 16]));
    }
    bytes
}

/// Requests that are given up at once.
pub(crate) fn resets() -> Vec<u8> {
    let cancel = 8_u32.to_be_bytes();
    let mut bytes = preface();
    for n in 0..6_000 {
        bytes.extend(frame(HEADERS, 5, 2 * n + 1, &GET));
        bytes.extend(frame(RESET, 0, 2 * n + 1, &cancel));
    }
    bytes
}

#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let bytes = continuations();
    let io = mesh.direct(to_port(app, Session::Http2)).await;
    assert!(goodbye(io, bytes).await.is_some());
    let answer = mesh.get(app, "GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Requests of somebody who does no harm.
async fn are_answered(client: &mut SendRequest<Body>) {
    for _ in 0..20 {
        let request = http::Request::get("http://web/");
        let request = request.body(Body::empty()).unwrap();
        let answer = timeout(PATIENCE, client.send_request(request)).await;
        assert_eq!(answer.expect("no answer").unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_and_no_other() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let other = mesh.direct(to_port(app, Session::Http2)).await;
    let mut other = h2(other).await;
    let io = mesh.direct(to_port(app, Session::Http2)).await;
    let flood = goodbye(io, resets());
    let (code, ()) = tokio::join!(flood, are_answered(&mut other));
    assert_eq!(code, Some(CALM));
}

/// A gateway behind which every name answers.
struct Everybody;

impl Gateway for Everybody {
    fn http(
        &self,
        _: NamedTarget,
        _: http::Request<Body>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, Error>> {
        Box::pin(async { Ok(http::Response::new(Body::full("here"))) })
    }

    fn tcp(&self, _: NamedTarget, _: BoxIo) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn nor_does_a_flood_harm_a_gateway_and_its_other_clients() {
    let options = Options {
        vars: vec![("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.".into())],
        gateway: Some(Arc::new(Everybody)),
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let named = || Header {
        port: 80,
        name: Some("web.default.svc.cluster.local".into()),
        session: Some(Session::Http2),
    };
    let mut other = h2(mesh.direct(named()).await).await;
    for (bytes, code) in [(resets(), Some(CALM)), (continuations(), None)] {
        let flood = goodbye(mesh.direct(named()).await, bytes);
        let (found, ()) = tokio::join!(flood, are_answered(&mut other));
        assert!(
            found.is_some() && (code.is_none() || found == code),
            "{found:?}"
        );
    }
}

// === many ===

/// Names are a client's choice; what is kept must not be.
#[tokio::test]
async fn ten_thousand_hosts_leave_nothing_behind() {
    use futures::StreamExt;
    let (mesh, app) = (Sandbox::start().await, app().await);
    let send = h2(mesh.direct(to_port(app, Session::Http2)).await).await;
    let ask = |n: usize| {
        let mut send = send.clone();
        async move {
            let request = http::Request::get(format!("http://host-{n}.example/"));
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(send.send_request(request).await.unwrap().status(), 200);
        }
    };
    let series = || async {
        let text = mesh.admin("/metrics").await;
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    ask(0).await;
    series().await;
    let before = series().await;
    futures::stream::iter(1..=10_000)
        .for_each_concurrent(64, ask)
        .await;
    let after = series().await;
    assert!(after <= before + 20, "{before} series became {after}");
    let state = mesh.admin("/state").await;
    assert!(!state.contains("host-"), "{state}");
}
