use std::time::Duration;

use http_body_util::BodyExt;
use hyper::service::service_fn;
use mesh_daemon::drain::{Drainer, drain};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;

const SETTINGS: HttpServer = HttpServer {
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    h2_idle_timeout: None,
    h2: Http2 {
        stream_window: 65_535,
        connection_window: 1024 * 1024,
        adaptive: false,
        max_concurrent_streams: None,
        max_frame_size: None,
        max_header_list_size: 16 * 1024,
        max_send_buffer: 64 * 1024,
        max_pending_accept_reset_streams: None,
        keep_alive_interval: None,
        keep_alive_timeout: None,
    },
};

struct Served {
    client: DuplexStream,
    drainer: Drainer,
    served: JoinHandle<Result<(), Error>>,
}

/// A server that answers with the names of the headers it saw, or with `error`.
fn serve(version: Version, settings: HttpServer) -> Served {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (drainer, drain) = drain();
    let service = service_fn(|request: Request<Body>| async move {
        if request.uri().path() == "/error" {
            return Err(Error::RouteNotFound);
        }
        let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let response = Response::builder()
            .header("connection", "x-private")
            .header("x-private", "1")
            .body(Body::full(names.join(",")));
        response.map_err(Error::other)
    });
    let rescue = Rescue {
        informational: true,
    };
    let served = tokio::spawn(async move {
        serve_connection(server, version, &settings, rescue, service, drain).await
    });
    Served {
        client,
        drainer,
        served,
    }
}

async fn exchange(requests: &str) -> String {
    let mut server = serve(Version::H1, SETTINGS);
    server.client.write_all(requests.as_bytes()).await.unwrap();
    server.client.shutdown().await.unwrap();
    let mut text = String::new();
    server.client.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn hop_by_hop_headers_go_no_further_in_either_direction() {
    let text = exchange(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-mine, upgrade\r\nx-mine: 1\r\n\
         upgrade: h2c\r\nkeep-alive: 1\r\nx-other: 1\r\n\r\n",
    )
    .await;
    assert!(text.ends_with("host,x-other"), "{text}");
    assert!(!text.contains("x-private"), "{text}");
}

#[tokio::test]
async fn an_error_is_a_response_and_the_connection_may_go_on() {
    let text =
        exchange("GET /error HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    assert!(text.contains("l5d-proxy-error: no route found"), "{text}");
    assert!(text.contains("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn request_lines_nobody_could_answer_are_refused() {
    for request in [
        "CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT web:80 HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET web:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    ] {
        let text = exchange(request).await;
        assert_eq!(text.split(' ').nth(1), Some("400"), "{request}: {text}");
    }
}

#[tokio::test]
async fn whoever_is_too_slow_with_a_head_is_cut_off() {
    let settings = HttpServer {
        header_timeout: Duration::from_millis(50),
        ..SETTINGS
    };
    let mut server = serve(Version::H1, settings);
    server
        .client
        .write_all(b"GET / HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    server.client.read_to_string(&mut text).await.unwrap();
    assert!(!text.contains("200"), "{text}");
    assert!(server.served.await.unwrap().is_ok());
}

const ONCE: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn ask_once(client: &mut DuplexStream) -> String {
    client.write_all(ONCE.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.ends_with("host") {
        let mut bytes = vec![0; 1024];
        let n = client.read(&mut bytes).await.unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_start_of_draining_is_answered_as_the_last() {
    let mut server = serve(Version::H1, SETTINGS);
    assert!(!ask_once(&mut server.client).await.contains("connection:"));
    let draining = tokio::spawn(server.drainer.drain(Duration::from_secs(10)));
    tokio::task::yield_now().await;
    let last = ask_once(&mut server.client).await;
    assert!(last.contains("connection: close"), "{last}");
    assert_eq!(server.client.read(&mut [0; 16]).await.unwrap(), 0);
    assert_eq!(draining.await.unwrap().aborted, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_soon_after_draining_starts() {
    let mut server = serve(Version::H1, SETTINGS);
    ask_once(&mut server.client).await;
    let drained = server.drainer.drain(Duration::from_secs(10)).await;
    assert_eq!(drained.aborted, 0);
    assert_eq!(server.client.read(&mut [0; 16]).await.unwrap(), 0);
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_http2_stream_in_flight_finishes_while_draining() {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (drainer, drain) = drain();
    let (chunks, body) = mpsc::channel::<Result<http_body::Frame<bytes::Bytes>, Error>>(1);
    let body = std::sync::Mutex::new(Some(body));
    let service = service_fn(move |_: Request<Body>| {
        let body = body.lock().unwrap().take().unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(body);
        let body = Body::new(http_body_util::StreamBody::new(stream));
        async move { Ok(Response::new(body)) }
    });
    let rescue = Rescue {
        informational: true,
    };
    let served = tokio::spawn(async move {
        serve_connection(server, Version::H2, &SETTINGS, rescue, service, drain).await
    });
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    let client = tokio::spawn(connection);
    let request = Request::get("http://web/").body(Body::empty()).unwrap();
    let response = send.send_request(request).await.unwrap();
    let draining = tokio::spawn(drainer.drain(Duration::from_secs(10)));
    // The server says goodbye, but not to this stream.
    let frame = http_body::Frame::data(bytes::Bytes::from("the end"));
    chunks.send(Ok(frame)).await.unwrap();
    drop(chunks);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "the end");
    assert_eq!(draining.await.unwrap().aborted, 0);
    served.await.unwrap().unwrap();
    client.await.unwrap().unwrap();
    assert!(send.is_closed());
}

#[tokio::test]
async fn an_error_that_closes_says_goodbye_and_fails_no_neighbour() {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (_drainer, drain) = drain();
    let (release, released) = tokio::sync::watch::channel(false);
    let service = service_fn(move |request: Request<Body>| {
        let mut released = released.clone();
        async move {
            if request.uri().path() == "/gone" {
                return Err(Error::FailFast("web".into()));
            }
            let _ = released.wait_for(|released| *released).await;
            Ok(Response::new(Body::full("neighbour")))
        }
    });
    let rescue = Rescue {
        informational: true,
    };
    let served = tokio::spawn(async move {
        serve_connection(server, Version::H2, &SETTINGS, rescue, service, drain).await
    });
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    let client = tokio::spawn(connection);
    let get = |path: &str| {
        let uri = format!("http://web{path}");
        Request::get(uri).body(Body::empty()).unwrap()
    };
    let neighbour = tokio::spawn(send.send_request(get("/slow")));
    let response = send.send_request(get("/gone")).await.unwrap();
    assert_eq!(response.status(), 504);
    // The GOAWAY arrives while the neighbour is still being answered.
    while !send.is_closed() {
        tokio::task::yield_now().await;
        let refused = send.try_send_request(get("/more")).await;
        drop(refused);
    }
    release.send_replace(true);
    let body = neighbour.await.unwrap().unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "neighbour");
    served.await.unwrap().unwrap();
    client.await.unwrap().unwrap();
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_client_that_gives_up_many_requests_at_once_keeps_its_connection() {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS_FRAME: u8 = 4;
    // GET http://a/ in HPACK, and CANCEL.
    let (get, cancel) = ([0x82, 0x86, 0x84, 0x41, 1, b'a'], 8_u32.to_be_bytes());
    let h2 = Http2::DEFAULT;
    let mut server = serve(Version::H2, HttpServer { h2, ..SETTINGS });
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS_FRAME, 0, 0, &[]));
    for request in 0..500 {
        let stream = 2 * request + 1;
        bytes.extend(frame(HEADERS, 5, stream, &get));
        bytes.extend(frame(RESET, 0, stream, &cancel));
    }
    let last = 1001;
    bytes.extend(frame(HEADERS, 5, last, &get));
    server.client.write_all(&bytes).await.unwrap();

    let answered = async {
        loop {
            let mut head = [0; 9];
            server.client.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            server.client.read_exact(&mut payload).await.unwrap();
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == HEADERS && stream == last {
                return;
            }
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, answered).await.unwrap();
}

/// Everything the server sends until it closes.
async fn read_to_close(client: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let limit = Duration::from_secs(20);
    let read = tokio::time::timeout(limit, client.read_to_end(&mut bytes)).await;
    read.expect("the connection goes on").unwrap();
    bytes
}

#[tokio::test]
async fn an_http2_client_that_does_not_begin_is_cut_off() {
    let settings = HttpServer {
        header_timeout: Duration::from_millis(50),
        ..SETTINGS
    };
    let mut server = serve(Version::H2, settings);
    server.client.write_all(b"PRI * HT").await.unwrap();
    assert!(read_to_close(&mut server.client).await.is_empty());
    assert!(server.served.await.unwrap().is_err());
}

/// The beginning of a request whose rest never comes, up to each of its bytes.
#[tokio::test(start_paused = true)]
async fn an_http2_client_that_stops_within_a_head_is_cut_off() {
    const HEADERS: u8 = 1;
    let get = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let mut whole = frame(HEADERS, 0, 1, &get[..3]);
    whole.extend(frame(9, 4, 1, &get[3..]));
    for cut in 1..whole.len() {
        let h2 = Http2 {
            keep_alive_interval: Some(Duration::from_secs(3600)),
            ..SETTINGS.h2
        };
        let mut server = serve(Version::H2, HttpServer { h2, ..SETTINGS });
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(&whole[..cut]);
        server.client.write_all(&bytes).await.unwrap();
        let began = tokio::time::Instant::now();
        read_to_close(&mut server.client).await;
        assert!(began.elapsed() >= SETTINGS.header_timeout, "{cut}");
        assert!(server.served.await.unwrap().is_ok(), "{cut}");
    }
}

/// A body may take its time, and so may the pause between two requests.
#[tokio::test(start_paused = true)]
async fn an_http2_client_may_be_slow_with_a_body() {
    const HEADERS: u8 = 1;
    let mut server = serve(Version::H2, SETTINGS);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(HEADERS, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']));
    // The beginning of a frame of data.
    bytes.extend(&frame(0, 1, 1, b"12345")[..11]);
    server.client.write_all(&bytes).await.unwrap();
    let ended = tokio::time::timeout(10 * SETTINGS.header_timeout, &mut server.served).await;
    assert!(ended.is_err(), "{ended:?}");
    server.client.write_all(b"345").await.unwrap();
    let ended = tokio::time::timeout(10 * SETTINGS.header_timeout, &mut server.served).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn an_http2_client_without_requests_is_told_goodbye_if_it_is_not_of_the_mesh() {
    let settings = HttpServer {
        h2_idle_timeout: Some(Duration::from_millis(50)),
        ..SETTINGS
    };
    let server = serve(Version::H2, settings);
    let io = TokioIo::new(server.client);
    let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let limit = Duration::from_secs(20);
    let ended = tokio::time::timeout(limit, connection).await;
    ended.expect("the connection goes on").unwrap();
    drop::<hyper::client::conn::http2::SendRequest<Body>>(send);
    assert!(server.served.await.unwrap().is_ok());
}

#[tokio::test]
async fn an_http2_client_that_answers_no_pings_is_given_up() {
    let h2 = Http2 {
        keep_alive_interval: Some(Duration::from_millis(50)),
        keep_alive_timeout: Some(Duration::from_millis(50)),
        ..SETTINGS.h2
    };
    let mut server = serve(Version::H2, HttpServer { h2, ..SETTINGS });
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    server.client.write_all(&bytes).await.unwrap();
    read_to_close(&mut server.client).await;
}

/// A connection lives on after an upgrade that was refused, and what comes then is looked at.
#[tokio::test]
async fn an_upgrade_that_is_refused_opens_no_back_door() {
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let bad = "GET /next HTTP/1.1\nhost: a\n\n";
    // Pipelined: nobody could know what the second is, so the connection ends with the first.
    let text = exchange(&format!("{upgrade}{bad}")).await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    assert!(text.contains("connection: close"), "{text}");
    // One after the other.
    let mut server = serve(Version::H1, SETTINGS);
    server.client.write_all(upgrade.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        let mut bytes = vec![0; 1024];
        let n = server.client.read(&mut bytes).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
    }
    server.client.write_all(bad.as_bytes()).await.unwrap();
    let rest = read_to_close(&mut server.client).await;
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("HTTP/1.1 400"), "{text}{rest}");
}
