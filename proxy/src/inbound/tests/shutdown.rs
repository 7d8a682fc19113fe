//! Stopping while streams and tunnels are open.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::{Options, Sandbox, Session, echo, opaque_header, read_to_end, to_port};
use crate::inbound::tests::sandbox::{app, eventually, read_response};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAMS: usize = 50;
/// What each stream carries.
const LARGE: usize = 16 * 1024;

/// An HTTP/2 application that begins its responses, and ends them when told to.
async fn slow() -> (u16, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let go_on = tokio::sync::watch::Sender::new(false);
    let told = go_on.clone();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut told = told.subscribe();
            tokio::spawn(async move {
                let response = http::Response::new(());
                let mut body = respond.send_response(response, false).unwrap();
                told.wait_for(|told| *told).await.unwrap();
                body.send_data(Bytes::from(vec![b'x'; LARGE]), true)
                    .unwrap();
            });
        }
    });
    (port, go_on)
}

#[tokio::test]
async fn streams_in_flight_finish_after_a_goodbye() {
    let mesh = Sandbox::start().await;
    let (port, go_on) = slow().await;
    let header = to_port(port, Session::Http2);
    let (send, connection) = h2::client::handshake(mesh.direct(header).await)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut bodies = Vec::new();
    let mut send = send.ready().await.unwrap();
    for _ in 0..STREAMS {
        let request = http::Request::get("http://web/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        bodies.push(
            timeout(PATIENCE, response)
                .await
                .unwrap()
                .unwrap()
                .into_body(),
        );
        send = send.ready().await.unwrap();
    }
    mesh.stop.shutdown();
    // The goodbye: no more requests.
    let refused = async {
        while send.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("no goodbye");
    assert!(!mesh.stopped.is_finished());
    go_on.send_replace(true);
    // All at once: they share a window.
    let read = bodies.into_iter().map(|mut body| async move {
        let mut read = 0;
        while let Some(data) = timeout(PATIENCE, body.data()).await.unwrap() {
            let data = data.unwrap();
            read += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        read
    });
    assert_eq!(futures::future::join_all(read).await, [LARGE; STREAMS]);
    drop(send);
    timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    timeout(PATIENCE, mesh.stopped).await.unwrap().unwrap();
}

/// Asks over one connection after the other, each for as long as it may, until told to stop; the
/// answers. Every request must have its response.
async fn ask(mesh: &Sandbox, port: u16, stop: &Cell<bool>) -> usize {
    let mut answers = 0;
    while !stop.get() {
        let mut io = mesh.direct(to_port(port, Session::Http1)).await;
        let mut last = false;
        while !last && !stop.get() {
            io.write_all(super::REQUEST.as_bytes()).await.unwrap();
            let response = timeout(PATIENCE, read_response(&mut io)).await.unwrap();
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
            last = response.contains("connection: close");
            answers += 1;
        }
    }
    answers
}

#[tokio::test]
async fn a_proxy_started_in_place_of_another_loses_no_request() {
    let mesh = Sandbox::start().await;
    let (port, stop) = (app().await, Cell::new(false));
    let restarts = async {
        let (mut stop_old, mut old) = (mesh.stop.clone(), None);
        for _ in 0..2 {
            let (stop_new, new) = mesh.successor().await;
            eventually("the new one is ready", || async {
                mesh.admin("/ready").await.starts_with("HTTP/1.1 200")
            })
            .await;
            stop_old.shutdown();
            let ended = old.replace(new);
            timeout(PATIENCE, async {
                match ended {
                    Some(ended) => ended.await.unwrap(),
                    None => {
                        while !mesh.stopped.is_finished() {
                            tokio::task::yield_now().await;
                        }
                    }
                }
            })
            .await
            .expect("the old one does not end");
            stop_old = stop_new;
        }
        stop.set(true);
        // Who asked last.
        (stop_old, old)
    };
    let asking = (0..8).map(|_| ask(&mesh, port, &stop));
    let (last, answers) = futures::join!(restarts, futures::future::join_all(asking));
    assert!(answers.iter().all(|answers| *answers > 0), "{answers:?}");
    last.0.shutdown();
    timeout(PATIENCE, last.1.unwrap()).await.unwrap().unwrap();
}

#[tokio::test]
async fn tunnels_are_waited_for_until_both_ends_are_done() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let mut io = mesh.direct(opaque_header(echo)).await;
    io.write_all(b"before").await.unwrap();
    io.read_exact(&mut [0; 6]).await.unwrap();
    mesh.stop.shutdown();
    eventually("it drains", || async {
        mesh.admin("/ready").await.starts_with("HTTP/1.1 503")
    })
    .await;
    io.write_all(b"during").await.unwrap();
    let mut bytes = [0; 6];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"during");
    assert!(!mesh.stopped.is_finished());
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"bye");
    timeout(PATIENCE, mesh.stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_is_waited_for_beyond_the_grace_period() {
    let options = Options {
        vars: vec![("SHUTDOWN_GRACE_PERIOD", "1s".into())],
        ..Options::default()
    };
    let (mesh, echo) = (Sandbox::with(options).await, echo().await);
    let mut io = mesh.direct(opaque_header(echo)).await;
    io.write_all(b"x").await.unwrap();
    io.read_exact(&mut [0]).await.unwrap();
    let began = Instant::now();
    mesh.stop.shutdown();
    assert_eq!(read_to_end(&mut io).await, b"");
    assert!(began.elapsed() >= Duration::from_secs(1));
    timeout(PATIENCE, mesh.stopped).await.unwrap().unwrap();
}
