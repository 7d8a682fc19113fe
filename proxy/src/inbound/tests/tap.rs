//! Looking at the requests of a sidecar while they happen.

use std::{net::SocketAddr, sync::Arc};

use linkerd2_proxy_api::tap::{
    Eos, ObserveRequest, TapEvent, eos,
    observe_request::{Match, r#match as kind},
    tap_client::TapClient,
    tap_event::{self, ProxyDirection, http::Event},
};
use tokio::net::{TcpListener, TcpStream};
use tonic::Streaming;

use super::sandbox::{CLIENT, HOUR, Options, SERVER, Sandbox, app, h2, id, to_port};
use crate::{http::Body, transport_header::Session};

const VIZ: &str = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local";

async fn tapped() -> Sandbox {
    Sandbox::with(Options {
        vars: vec![("TAP_SVC_NAME", VIZ.into())],
        ..Options::default()
    })
    .await
}

/// The events of the next request, whatever it is.
async fn observe(mesh: &Sandbox) -> Streaming<TapEvent> {
    let addr = mesh.tap.expect("nobody may look");
    let control = mesh_tls::control::ControlAddr {
        host: addr.ip().to_string(),
        port: addr.port(),
        identity: id(SERVER),
    };
    let store = mesh.issuer.issue(&id(VIZ), HOUR);
    let dial: mesh_tls::control::Dial =
        Arc::new(move |_, _| Box::pin(async move { TcpStream::connect(addr).await }));
    let mut client = TapClient::new(mesh_tls::control::channel(control, store, dial));
    let all = Match {
        r#match: Some(kind::Match::All(kind::Seq::default())),
    };
    let request = ObserveRequest {
        limit: 1,
        r#match: Some(all),
        extract: None,
    };
    client.observe(request).await.unwrap().into_inner()
}

async fn next(events: &mut Streaming<TapEvent>) -> (TapEvent, Event) {
    let event = events.message().await.unwrap().expect("no more events");
    match event.event.clone() {
        Some(tap_event::Event::Http(http)) => (event, http.event.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_may_look_where_nobody_is_named() {
    assert_eq!(Sandbox::start().await.tap, None);
}

#[tokio::test]
async fn a_request_is_seen_when_it_begins_when_it_is_answered_and_when_it_ends() {
    let (mesh, app) = (tapped().await, app().await);
    let mut events = observe(&mesh).await;
    let answer = mesh.get(app, super::REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let (event, Event::RequestInit(request)) = next(&mut events).await else {
        panic!("not the beginning")
    };
    assert_eq!(event.proxy_direction(), ProxyDirection::Inbound);
    let to = SocketAddr::try_from(event.destination.unwrap()).unwrap();
    assert_eq!(to, SocketAddr::from(([127, 77, 0, 1], app)));
    let from = SocketAddr::try_from(event.source.unwrap()).unwrap();
    assert_eq!(from.ip().to_string(), "127.77.0.2");
    assert_eq!(event.source_meta.unwrap().labels["client_id"], CLIENT);
    let said = (request.authority.as_str(), request.path.as_str());
    assert_eq!(said, ("web.default", "/a?b=c"));
    assert_eq!(request.method, Some(http::Method::GET.into()));

    let (_, Event::ResponseInit(response)) = next(&mut events).await else {
        panic!("not the answer")
    };
    assert_eq!((response.id, response.http_status), (request.id, 200));
    let (_, Event::ResponseEnd(end)) = next(&mut events).await else {
        panic!("not the end")
    };
    assert_eq!(end.id, request.id);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(end.response_bytes, body.len() as u64);
    assert!(
        events.message().await.unwrap().is_none(),
        "one was asked for"
    );
}

/// A server of gRPC that answers with a status and nothing else.
async fn refusing() -> u16 {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut connection = ::h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "7");
            respond
                .send_response(response.body(()).unwrap(), true)
                .unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_call_that_ends_with_its_headers_is_seen_to_end_with_their_status() {
    let (mesh, port) = (tapped().await, refusing().await);
    let mut events = observe(&mesh).await;
    let mut send = h2(mesh.direct(to_port(port, Session::Http2)).await).await;
    let call = http::Request::post("http://web.default/svc/Method")
        .header("content-type", "application/grpc")
        .body(Body::empty());
    let answer = send.send_request(call.unwrap()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    let end = loop {
        if let (_, Event::ResponseEnd(end)) = next(&mut events).await {
            break end;
        }
    };
    let status = Some(eos::End::GrpcStatusCode(7));
    assert_eq!(end.eos, Some(Eos { end: status }));
}
