//! Streams of a connection that nobody reads, beside others.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::watch, time::timeout};

use super::wire::{End, WAYS, Wire};

const PATIENCE: Duration = Duration::from_secs(60);
/// More than the window of a stream, and of all proxies on the way together.
const LARGE: usize = 8 * 1024 * 1024;

/// An end that says at once what it has read.
fn prompt(end: End) -> TcpStream {
    end.0.set_nodelay(true).unwrap();
    end.0
}

async fn client(wire: &Wire) -> SendRequest<Full<Bytes>> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(64 * 1024);
    let io = TokioIo::new(prompt(wire.client().await));
    let (send, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    send
}

fn post(path: &str, length: usize) -> Request<Full<Bytes>> {
    let body = Full::from(vec![b'x'; length]);
    Request::post(format!("http://web{path}"))
        .body(body)
        .unwrap()
}

/// An application that answers `/large` at length, reads what is sent to `/later` once it is told
/// to, and says how much that was.
async fn serve(wire: &Wire, read: watch::Receiver<bool>, arrived: watch::Sender<usize>) {
    let io = TokioIo::new(prompt(wire.app().await));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (mut read, arrived) = (read.clone(), arrived.clone());
        async move {
            let path = request.uri().path().to_owned();
            arrived.send_modify(|n| *n += 1);
            if path == "/later" {
                read.wait_for(|read| *read).await.unwrap();
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = match path.as_str() {
                "/large" => Full::<Bytes>::from(vec![b'x'; LARGE]),
                _ => Full::from(body.len().to_string()),
            };
            Ok::<_, Infallible>(Response::new(answer))
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(64 * 1024);
    let _ = builder.serve_connection(io, service).await;
}

async fn text(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn an_answer_nobody_reads_holds_up_no_other_and_arrives_once_it_is_read() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let send = client(&wire).await;
        let (_read, told) = watch::channel(true);
        let ask = async |path: &str| {
            let sent = send.clone().send_request(post(path, 1)).await;
            sent.unwrap()
        };
        let talk = async {
            let unread = [ask("/large").await, ask("/large").await];
            for _ in 0..20 {
                assert_eq!(text(ask("/").await).await, "1", "{way:?}");
            }
            for response in unread {
                assert_eq!(text(response).await.len(), LARGE, "{way:?}");
            }
        };
        tokio::select! {
            done = timeout(PATIENCE, talk) => done.expect("it hangs"),
            () = serve(&wire, told, watch::Sender::new(0)) => panic!("the connection ended"),
        }
    }
}

#[tokio::test]
async fn bodies_an_application_does_not_read_hold_up_no_other_and_arrive_once_it_does() {
    const UPLOADS: usize = 4;
    for way in WAYS {
        let wire = Wire::new(way).await;
        let send = client(&wire).await;
        let (read, told) = watch::channel(false);
        let arrived = watch::Sender::new(0);
        let mut came = arrived.subscribe();
        let ask = async |path: &str, length| {
            let sent = send.clone().send_request(post(path, length)).await;
            text(sent.unwrap()).await
        };
        let uploads = futures::future::join_all((0..UPLOADS).map(|_| ask("/later", LARGE)));
        let others = async {
            came.wait_for(|n| *n == UPLOADS).await.unwrap();
            for _ in 0..20 {
                assert_eq!(ask("/", 10_000).await, "10000", "{way:?}");
            }
            read.send_replace(true);
        };
        let talk = async {
            let (uploaded, ()) = tokio::join!(uploads, others);
            assert_eq!(uploaded, vec![LARGE.to_string(); UPLOADS], "{way:?}");
        };
        tokio::select! {
            done = timeout(PATIENCE, talk) => done.expect("it hangs"),
            () = serve(&wire, told, arrived) => panic!("the connection ended"),
        }
    }
}
