use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;

/// A client of the server at the other end of `dial`.
pub(super) fn client(dial: Dial) -> Client {
    Client::new(dial, settings(), Arc::new(|| {}))
}

fn settings() -> Settings {
    Settings {
        h2: Http2 {
            stream_window: 65_535,
            connection_window: 65_535,
            adaptive: false,
            max_concurrent_streams: None,
            max_frame_size: None,
            max_header_list_size: 16 * 1024,
            max_send_buffer: 64 * 1024,
            max_pending_accept_reset_streams: None,
            keep_alive_interval: None,
            keep_alive_timeout: None,
        },
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(1),
        ping_while_idle: false,
        idle_timeout: Duration::from_millis(500),
        h1_max_idle: 10,
        max_requests: None,
        backoff: crate::config::Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
            jitter: 0.1,
        },
        patience: Duration::ZERO,
    }
}

/// Dials a listener and counts.
pub(super) async fn listener() -> (TcpListener, Dial, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = dials.clone();
    let dial: Dial = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(crate::io::boxed(TcpStream::connect(addr).await?)) })
    });
    (listener, dial, dials)
}

fn get() -> Request<Body> {
    Request::builder()
        .uri("/")
        .header("host", "web")
        .body(Body::empty())
        .unwrap()
}

/// Reads the head of a request.
async fn head(io: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Answers every request of every connection, for ever.
async fn serve(listener: &TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut io, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            loop {
                head(&mut io).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                io.write_all(answer).await.unwrap();
            }
        });
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_the_next_request_nothing() {
    let (listener, dial, dials) = listener().await;
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut io, _) = listener.accept().await.unwrap();
            head(&mut io).await;
            io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    });
    let client = client(dial);
    for _ in 0..2 {
        let response = client.send_h1(get(), Reuse::Pooled).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }
    server.await.unwrap();
    assert_eq!(dials.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_is_reused_once_its_response_was_read_but_not_when_asked_for_its_own() {
    let (listener, dial, dials) = listener().await;
    let client = client(dial);
    let requests = async {
        let response = client.send_h1(get(), Reuse::Pooled).await.unwrap();
        text(response).await;
        while client.h1.idle() == 0 {
            tokio::task::yield_now().await;
        }
        text(client.send_h1(get(), Reuse::Pooled).await.unwrap()).await;
        assert_eq!(dials.load(Ordering::SeqCst), 1);
        text(client.send_h1(get(), Reuse::Single).await.unwrap()).await;
        assert_eq!(dials.load(Ordering::SeqCst), 2);
    };
    tokio::select! {
        () = requests => {}
        () = serve(&listener) => {}
    }
}

#[tokio::test]
async fn a_burst_beyond_the_servers_accept_queue_is_served_by_the_connections_that_fit() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    // What does not fit is tried again by the system after a second: too late.
    let timeout = Duration::from_millis(900);
    let dial: Dial = Arc::new(move |_| {
        Box::pin(async move {
            let connected = tokio::time::timeout(timeout, TcpStream::connect(addr)).await;
            let late = |_| Error::ConnectTimeout { addr, timeout };
            Ok(crate::io::boxed(connected.map_err(late)??))
        })
    });
    let client = client(dial);
    let burst = async {
        let requests = (0..100).map(|_| async {
            let response = client.send_h1(get(), Reuse::Pooled).await;
            text(response.map_err(|failed| failed.error).unwrap()).await
        });
        futures::future::join_all(requests).await
    };
    tokio::select! {
        answers = burst => assert!(answers.iter().all(|answer| answer == "ok")),
        () = serve(&listener) => {}
    }
}

#[tokio::test]
async fn failures_say_how_far_the_request_got() {
    // Nobody there.
    let nobody: Dial = Arc::new(|_| {
        Box::pin(async {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            Err(Error::Io(refused))
        })
    });
    let failed = client(nobody.clone()).send_h1(get(), Reuse::Pooled).await;
    let failed = failed.err().unwrap();
    assert_eq!(failed.stage, Stage::Connect);
    assert!(failed.request.is_some());
    let failed = client(nobody).send_h2(get()).await.err().unwrap();
    assert_eq!(failed.stage, Stage::Connect);

    // Read the request, then die.
    let (listener, dial, _) = listener().await;
    let die = async {
        let (mut io, _) = listener.accept().await.unwrap();
        head(&mut io).await;
    };
    let client = client(dial);
    let (failed, ()) = tokio::join!(client.send_h1(get(), Reuse::Pooled), die);
    assert_eq!(failed.err().unwrap().stage, Stage::Lost);
}

/// An HTTP/2 server that does `with` to the first request.
async fn h2_server(
    listener: TcpListener,
    with: impl Fn(
        &mut h2::server::Connection<TcpStream, bytes::Bytes>,
        h2::server::SendResponse<bytes::Bytes>,
    ),
) {
    let (io, _) = listener.accept().await.unwrap();
    serve_h2(io, with).await;
}

async fn serve_h2(
    io: TcpStream,
    with: impl Fn(
        &mut h2::server::Connection<TcpStream, bytes::Bytes>,
        h2::server::SendResponse<bytes::Bytes>,
    ),
) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((_, respond))) = connection.accept().await {
        with(&mut connection, respond);
    }
}

pub(super) fn absolute() -> Request<Body> {
    Request::builder()
        .version(http::Version::HTTP_2)
        .uri("http://web/")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_refused_stream_was_not_processed_and_another_reset_is_final() {
    for (reason, stage) in [
        (h2::Reason::REFUSED_STREAM, Stage::Unprocessed),
        (h2::Reason::INTERNAL_ERROR, Stage::Final),
    ] {
        let (listener, dial, _) = listener().await;
        let server = h2_server(listener, |_, mut respond| respond.send_reset(reason));
        let client = client(dial);
        let failed = tokio::select! {
            failed = client.send_h2(absolute()) => failed.err().unwrap(),
            () = server => panic!("the server ended"),
        };
        assert_eq!(failed.stage, stage, "{reason:?}: {}", failed.error);
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_response_leaves_it_open_what_happened() {
    let (listener, dial, _) = listener().await;
    let server = async {
        let (io, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(io).await.unwrap();
        let _request = connection.accept().await.unwrap().unwrap();
        drop(connection);
    };
    let client = client(dial);
    let (failed, ()) = tokio::join!(client.send_h2(absolute()), server);
    assert_eq!(failed.err().unwrap().stage, Stage::Lost);
}

#[tokio::test]
async fn a_kept_connection_is_brought_back() {
    let (listener, dial, dials) = listener().await;
    let client = client(dial);
    client.keep_connected();
    for n in 1..=3 {
        // Accepted, then closed at once.
        let (io, _) = listener.accept().await.unwrap();
        drop(io);
        assert!(dials.load(Ordering::SeqCst) >= n);
    }
    assert!(!matches!(client.link(), LinkState::Idle));
}

/// As `config.linkerd.io/proxy-outbound-max-requests-per-connection: "2"` asks for.
fn two_for_each_connection(dial: Dial) -> Client {
    let settings = Settings {
        max_requests: Some(2),
        ..settings()
    };
    Client::new(dial, settings, Arc::new(|| {}))
}

#[tokio::test]
async fn an_http2_connection_carries_as_many_requests_as_it_may_and_another_the_next() {
    let (listener, dial, dials) = listener().await;
    let _server = tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_h2(io, |_, mut respond| {
                let response = http::Response::new(());
                respond.send_response(response, true).unwrap();
            }));
        }
    });
    let client = two_for_each_connection(dial);
    let sent = (0..10).map(|_| client.send_h2(absolute()));
    for answer in futures::future::join_all(sent).await {
        assert_eq!(answer.unwrap().0.status(), 200);
    }
    assert_eq!(dials.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_http1_connection_carries_as_many_requests_as_it_may_and_another_the_next() {
    let (listener, dial, dials) = listener().await;
    let client = two_for_each_connection(dial);
    let requests = async {
        for _ in 0..6 {
            let response = client.send_h1(get(), Reuse::Pooled).await.unwrap();
            assert_eq!(text(response).await, "ok");
        }
    };
    tokio::select! {
        () = requests => {}
        () = serve(&listener) => {}
    }
    assert_eq!(dials.load(Ordering::SeqCst), 3);
}

/// A server may say goodbye while a stream lives on, which can take hours.
#[tokio::test]
async fn a_stream_that_outlives_a_goodbye_does_not_keep_new_requests_waiting() {
    for kept in [true, false] {
        outlive_a_goodbye(kept).await;
    }
}

async fn outlive_a_goodbye(kept: bool) {
    let (listener, dial, dials) = listener().await;
    let client = client(dial);
    if kept {
        client.keep_connected();
    }
    let server = async {
        let (io, _) = listener.accept().await.unwrap();
        let mut old = h2::server::handshake(io).await.unwrap();
        let (_, mut respond) = old.accept().await.unwrap().unwrap();
        let response = http::Response::new(());
        let mut body = respond.send_response(response, false).unwrap();
        old.graceful_shutdown();
        let next = async {
            let (io, _) = listener.accept().await.unwrap();
            let mut new = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((_, mut respond))) = new.accept().await {
                let response = http::Response::new(());
                respond.send_response(response, true).unwrap();
            }
        };
        tokio::pin!(next);
        tokio::select! {
            () = &mut next => panic!("the new connection ended"),
            () = async {
                while old.accept().await.is_some() {}
                std::future::pending::<()>().await;
            } => {}
            () = async {
                // The stream of the old connection ends after the new one has served.
                while dials.load(Ordering::SeqCst) < 2 {
                    tokio::task::yield_now().await;
                }
                body.send_data("the end".into(), true).unwrap();
                std::future::pending::<()>().await;
            } => {}
        }
    };
    let talk = async {
        let (long, _stream) = client.send_h2(absolute()).await.unwrap();
        // Until the goodbye is here, requests still go to the old connection, which refuses them.
        loop {
            match client.send_h2(absolute()).await {
                Ok((response, _)) => break assert_eq!(response.status(), 200),
                Err(failed) => assert_eq!(failed.stage, Stage::Unprocessed, "{}", failed.error),
            }
        }
        assert_eq!(text(long).await, "the end");
    };
    tokio::select! {
        () = talk => {}
        () = server => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("a request waits: {kept}"),
    }
    assert_eq!(dials.load(Ordering::SeqCst), 2);
}

/// A server that is not pinged, and stops in the middle of a response's head.
#[tokio::test(start_paused = true)]
async fn a_response_whose_head_never_ends_is_given_up() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let near = parking_lot::Mutex::new(Some(near));
    let dial: Dial = Arc::new(move |_| {
        let io = near.lock().take().expect("dialled twice");
        Box::pin(async move { Ok(crate::io::boxed(io)) })
    });
    let patient = Settings {
        ping_interval: Duration::from_secs(3600),
        ..settings()
    };
    let client = Client::new(dial, patient, Arc::new(|| {}));
    // No settings, then HEADERS without their end.
    let bytes = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88];
    far.write_all(&bytes).await.unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(60), client.send_h2(absolute())).await;
    let failed = sent.expect("it is waited for").err().unwrap();
    assert_eq!(failed.stage, Stage::Lost, "{}", failed.error);
}

/// A client that waits so long for a server that does not listen until told to.
fn late(patience: Duration) -> (Client, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (dials, listens) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counted, listening) = (dials.clone(), listens.clone());
    let dial: Dial = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let listening = listening.load(Ordering::SeqCst);
        Box::pin(async move {
            if !listening {
                return Err(Error::Connect {
                    addr: ([127, 0, 0, 9], 80).into(),
                    source: std::io::ErrorKind::ConnectionRefused.into(),
                });
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(far).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let response = http::Response::new(());
                    respond.send_response(response, true).unwrap();
                }
            });
            Ok(crate::io::boxed(near))
        })
    });
    let waiting = Settings {
        patience,
        ..settings()
    };
    (Client::new(dial, waiting, Arc::new(|| {})), dials, listens)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_late_is_waited_for_as_long_as_asked() {
    let second = Duration::from_secs(1);
    let (client, dials, listens) = late(second);
    let start = async {
        tokio::time::sleep(second / 2).await;
        listens.store(true, Ordering::SeqCst);
    };
    let many = futures::future::join_all((0..100).map(|_| client.send_h2(absolute())));
    let (answers, ()) = tokio::join!(many, start);
    for answer in answers {
        assert_eq!(answer.unwrap().0.status(), 200);
    }
    // They waited for the same attempts, with pauses between them.
    let dialled = dials.load(Ordering::SeqCst);
    assert!((3..20).contains(&dialled), "{dialled}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_twice() {
    let second = Duration::from_secs(1);
    let (client, dials, listens) = late(second);
    let began = Instant::now();
    let failed = client.send_h2(absolute()).await.err().unwrap();
    assert_eq!(began.elapsed(), second);
    assert_eq!(failed.stage, Stage::Connect);
    let text = failed.error.to_string();
    let expected = "connecting to 127.0.0.9:80 failed: connection refused: service in fail-fast";
    assert_eq!(text, expected);
    // Nobody waits, so nobody dials.
    tokio::time::sleep(second).await;
    let dialled = dials.load(Ordering::SeqCst);
    tokio::time::sleep(second).await;
    assert_eq!(dials.load(Ordering::SeqCst), dialled);
    // The next one asks once.
    let began = Instant::now();
    assert!(client.send_h2(absolute()).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(dials.load(Ordering::SeqCst), dialled + 1);
    // And is served as soon as there is somebody.
    listens.store(true, Ordering::SeqCst);
    assert_eq!(client.send_h2(absolute()).await.unwrap().0.status(), 200);
}
