//! Applications that want to do harm, or are broken: their responses are refused and never
//! forwarded, and the next request is none the worse for it.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::wire::{WAYS, Way, Wire};
use crate::{
    inbound::tests::sandbox::{CLIENT, Sandbox, id, to_port},
    transport_header::Session,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";

/// Heads that two readers could read in two ways, or that have no end.
fn heads() -> Vec<(&'static str, String)> {
    let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    vec![
        (
            "two lengths",
            ok("content-length: 2\r\ncontent-length: 3\r\n") + "ok.",
        ),
        ("a list of lengths", ok("content-length: 2, 2\r\n") + "ok"),
        ("a signed length", ok("content-length: +2\r\n") + "ok"),
        ("a hexadecimal length", ok("content-length: 0x2\r\n") + "ok"),
        (
            "a length and chunks",
            ok("content-length: 2\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n",
        ),
        (
            "chunks and a length",
            ok("transfer-encoding: chunked\r\ncontent-length: 2\r\n") + "0\r\n\r\n",
        ),
        (
            "another encoding",
            ok("transfer-encoding: gzip, chunked\r\n") + "0\r\n\r\n",
        ),
        (
            "an unknown encoding",
            ok("transfer-encoding: xchunked\r\n") + "0\r\n\r\n",
        ),
        (
            "chunks of HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (
            "bare line feeds",
            "HTTP/1.1 200 OK\ncontent-length: 2\n\nok".into(),
        ),
        (
            "one bare line feed",
            ok("x: y\ncontent-length: 2\r\n") + "ok",
        ),
        (
            "a folded header",
            ok("x: a\r\n b\r\ncontent-length: 2\r\n") + "ok",
        ),
        (
            "a space before a colon",
            ok("content-length : 2\r\n") + "ok",
        ),
        ("a NUL", ok("x: a\0b\r\ncontent-length: 2\r\n") + "ok"),
        (
            "a carriage return",
            ok("x: a\rb\r\ncontent-length: 2\r\n") + "ok",
        ),
        (
            "no status",
            "HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nok".into(),
        ),
        (
            "another protocol",
            "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
        ),
        (
            "an upgrade unasked",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".into(),
        ),
        (
            "too many headers",
            ok(&("x: y\r\n".repeat(200) + "content-length: 2\r\n")) + "ok",
        ),
        (
            "a long header",
            ok(&format!(
                "x: {}\r\ncontent-length: 2\r\n",
                "y".repeat(80 << 10)
            )) + "ok",
        ),
        (
            "a head without end",
            "HTTP/1.1 200 OK\r\n".to_owned() + &"x: y\r\n".repeat(100_000),
        ),
        (
            "a line without end",
            "HTTP/1.1 200 OK\r\nx: ".to_owned() + &"y".repeat(1 << 20),
        ),
        (
            "a flood of interim heads",
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000) + &ok("content-length: 2\r\n") + "ok",
        ),
        (
            "interim heads that are long",
            format!(
                "HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n",
                "y".repeat(10 << 10)
            )
            .repeat(8)
                + &ok("content-length: 2\r\n")
                + "ok",
        ),
    ]
}

#[tokio::test]
async fn a_response_that_could_be_read_in_two_ways_is_a_502() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        for (what, response) in heads() {
            let mut client = wire.client().await;
            client.write(GET).await;
            let mut app = wire.app().await;
            app.read_to("\r\n\r\n").await;
            // It may be cut off before the end.
            let _ = app.0.write_all(response.as_bytes()).await;
            let answer = client.read_to("\r\n\r\n").await;
            assert!(
                answer.starts_with("HTTP/1.1 502"),
                "{way:?}, {what}: {answer}"
            );
            // The connection is not used again, whatever else is said on it.
            let mut rest = Vec::new();
            let closed = timeout(Duration::from_secs(20), app.0.read_to_end(&mut rest)).await;
            assert!(
                closed.is_ok() && rest.is_empty(),
                "{way:?}, {what}: {rest:?}"
            );
            // Nor does it cost the next one. (Three in a row would: nobody is behind this endpoint.)
            fine(&wire).await;
        }
    }
}

/// An ordinary request on connections of its own.
async fn fine(wire: &Wire) {
    let (seen, answer) = wire.exchange(Default::default()).await;
    assert!(seen.starts_with("GET / "), "{seen}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_broken_breaks_off() {
    let bomb = |n: usize| "x: ".to_owned() + &"y".repeat(n) + "\r\n";
    let bodies = [
        ("no number", "2\r\nhi\r\ng\r\n\r\n".to_owned()),
        ("bare line feeds", "2\r\nhi\r\n2\nhi\r\n0\r\n\r\n".into()),
        ("no end of a chunk", "2\r\nhi\r\n2\r\nhi0\r\n\r\n".into()),
        (
            "more than there can be",
            "2\r\nhi\r\n10000000000000000\r\nx".into(),
        ),
        (
            "an extension without end",
            "2\r\nhi\r\n2;".to_owned() + &"x".repeat(100_000),
        ),
        (
            "a trailer with a bare line feed",
            "2\r\nhi\r\n0\r\nx: y\n\r\n".into(),
        ),
        (
            "a long trailer",
            "2\r\nhi\r\n0\r\n".to_owned() + &bomb(100_000) + "\r\n",
        ),
        (
            "many trailers",
            "2\r\nhi\r\n0\r\n".to_owned() + &bomb(1).repeat(10_000) + "\r\n",
        ),
    ];
    for way in WAYS {
        let wire = Wire::new(way).await;
        for (what, body) in &bodies {
            let mut client = wire.client().await;
            client.write(GET).await;
            let mut app = wire.app().await;
            app.read_to("\r\n\r\n").await;
            app.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            client.read_to("\r\n\r\n").await;
            let _ = app.0.write_all(body.as_bytes()).await;
            let rest = client.read_all().await;
            assert!(!rest.ends_with("0\r\n\r\n"), "{way:?}, {what}: {rest}");
            assert!(rest.len() < 1_000, "{way:?}, {what}: {} bytes", rest.len());
        }
        fine(&wire).await;
    }
}

/// What an application says beyond its response is nobody's response.
#[tokio::test]
async fn a_second_response_reaches_nobody() {
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none\
               HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client.write(GET).await;
        let mut app = wire.app().await;
        app.read_to("\r\n\r\n").await;
        app.write(two).await;
        client.read_to("one").await;
        // The next request, of whomever, is sent on another connection.
        client.write(GET).await;
        let mut next = wire.app().await;
        next.read_to("\r\n\r\n").await;
        next.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo")
            .await;
        let answer = client.read_to("two").await;
        assert!(!answer.contains("stray"), "{way:?}: {answer}");
    }
}

#[tokio::test]
async fn trailers_of_a_client_have_an_end() {
    let wire = Wire::new(Way::One).await;
    for trailers in [
        "x: ".to_owned() + &"y".repeat(100_000),
        "x: y\r\n".repeat(10_000),
    ] {
        let mut client = wire.client().await;
        let head = "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
        client.write(head).await;
        let mut app = wire.app().await;
        app.read_to("hi\r\n").await;
        let _ = client
            .0
            .write_all(format!("0\r\n{trailers}\r\n\r\n").as_bytes())
            .await;
        // The application sees a body that breaks off, and nothing of the bomb.
        let rest = app.read_all().await;
        assert!(
            rest.len() < 1_000 && !rest.contains("0\r\n"),
            "{} bytes",
            rest.len()
        );
        drop(client);
    }
    fine(&wire).await;
}

// === HTTP/2 ===

async fn h2_client(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> h2::client::SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

fn many_trailers() -> http::HeaderMap {
    let trailer = |n: usize| {
        (
            format!("x-{n}").parse().unwrap(),
            "y".repeat(1_000).parse().unwrap(),
        )
    };
    (0..100).map(trailer).collect::<http::HeaderMap>()
}

fn post() -> http::Request<()> {
    http::Request::post("http://web/").body(()).unwrap()
}

/// 100 KB of trailers.
#[tokio::test]
async fn trailers_of_an_http2_client_have_an_end() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut send = h2_client(wire.client().await.0).await;
        let (response, mut body) = send.send_request(post(), false).unwrap();
        body.send_data("hi".into(), false).unwrap();
        let mut app = h2::server::handshake(wire.app().await.0).await.unwrap();
        let (seen, _respond) = app.accept().await.unwrap().unwrap();
        let driven = tokio::spawn(async move { while app.accept().await.is_some() {} });
        let mut seen = seen.into_body();
        assert_eq!(seen.data().await.unwrap().unwrap(), "hi");
        body.send_trailers(many_trailers()).unwrap();
        let end = timeout(Duration::from_secs(20), seen.trailers()).await;
        assert!(end.expect("the bomb is on its way").is_err(), "{way:?}");
        let refused = response.await.map(|response| response.status());
        assert!(!refused.is_ok_and(|status| status.is_success()), "{way:?}");
        driven.abort();
    }
}

#[tokio::test]
async fn trailers_of_an_http2_application_have_an_end() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut send = h2_client(wire.client().await.0).await;
        let (response, _) = send.send_request(post(), true).unwrap();
        let mut app = h2::server::handshake(wire.app().await.0).await.unwrap();
        let driven = tokio::spawn(async move {
            let (_, mut respond) = app.accept().await.unwrap().unwrap();
            let mut body = respond
                .send_response(http::Response::new(()), false)
                .unwrap();
            body.send_trailers(many_trailers()).unwrap();
            while app.accept().await.is_some() {}
        });
        let ended = async {
            let mut body = response.await?.into_body();
            body.trailers().await
        };
        let end = timeout(Duration::from_secs(20), ended).await;
        assert!(end.expect("the bomb is on its way").is_err(), "{way:?}");
        driven.abort();
    }
}

/// A request that leaves HTTP/2 for HTTP/1 has the length it says, or the next one on its connection
/// would begin within it.
#[tokio::test]
async fn a_length_that_is_not_that_of_the_body_goes_no_further_than_http2() {
    let mesh = Sandbox::start().await;
    let listener = tokio::net::TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(mesh.client().id(), &id(CLIENT));
    for (says, sends) in [(10, "short"), (2, "too long"), (5, "")] {
        let mut send = h2_client(mesh.direct(to_port(port, Session::Http2)).await).await;
        let request = http::Request::post("http://web/")
            .header("l5d-orig-proto", "HTTP/1.1")
            .header("content-length", says);
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from(sends), true).unwrap();
        let answer = timeout(Duration::from_secs(20), response).await;
        let answer = answer.expect("it hangs").map(|response| response.status());
        assert!(
            !answer.as_ref().is_ok_and(|status| status.is_success()),
            "{says} {sends:?}: {answer:?}"
        );
    }
    // Whatever reached the application, none of it was a whole request.
    let app = async {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let last = |bytes: &[u8]| bytes.starts_with(b"GET /last");
            while !last(&bytes) && io.read_buf(&mut bytes).await.unwrap_or_default() > 0 {}
            if last(&bytes) {
                break;
            }
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            let says = head
                .split("content-length: ")
                .nth(1)
                .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            assert!(
                text.is_empty() || says.is_some_and(|says| body.len() < says),
                "{text}"
            );
        }
    };
    let last = async {
        let mut io = mesh.direct(to_port(port, Session::Http1)).await;
        io.write_all(b"GET /last HTTP/1.1\r\nhost: web\r\n\r\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let apart = async {
        tokio::select! {
            () = app => {}
            () = last => {}
        }
    };
    timeout(Duration::from_secs(20), apart)
        .await
        .expect("not the last");
}
