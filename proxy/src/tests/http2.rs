//! HTTP/2: streams, resets, and what becomes of them where the application speaks HTTP/1.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::wire::{WAYS, Way, Wire};

async fn client(wire: &Wire) -> SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(wire.client().await.0);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (send, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    send
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://web{path}");
    Request::get(uri).body(Empty::new()).unwrap()
}

/// An HTTP/2 application that resets streams with the code in their path.
async fn resetting(wire: &Wire) {
    let io = wire.app().await.0;
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        match request.uri().path().strip_prefix("/reset/") {
            Some(code) => respond.send_reset(code.parse::<u32>().unwrap().into()),
            None => {
                let response = http::Response::new(());
                let mut body = respond.send_response(response, false).unwrap();
                body.send_data(Bytes::from("ok"), false).unwrap();
                let trailers = [("x-sum".parse().unwrap(), "1".parse().unwrap())];
                body.send_trailers(trailers.into_iter().collect()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_reset_is_passed_on_with_its_code_and_disturbs_nobody() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut send = client(&wire).await;
        let talk = async {
            for code in [h2::Reason::CANCEL, h2::Reason::ENHANCE_YOUR_CALM] {
                let path = format!("/reset/{}", u32::from(code));
                let error = send.send_request(get(&path)).await.unwrap_err();
                let h2 = std::error::Error::source(&error).unwrap();
                let h2 = h2.downcast_ref::<h2::Error>().unwrap();
                assert_eq!(h2.reason(), Some(code), "{way:?}");
            }
            let response = send.send_request(get("/fine")).await.unwrap();
            assert_eq!(response.status(), 200, "{way:?}");
        };
        tokio::select! {
            () = talk => {}
            () = resetting(&wire) => panic!("the connection ended"),
        }
    }
}

/// An HTTP/1 application behind a peer that speaks HTTP/2: a reset between the two proxies is not
/// something an HTTP/1 client could be told.
#[tokio::test]
async fn an_http1_client_is_never_reset() {
    let wire = Wire::new(Way::Two).await;
    let mut client = wire.client().await;
    client
        .write("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n")
        .await;
    let mut app = wire.app().await;
    app.read_to("\r\n\r\n").await;
    app.write("this is not HTTP\r\n\r\n").await;
    let answer = client.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn streams_share_a_connection_and_trailers_arrive() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let send = client(&wire).await;
        let requests = (0..50).map(|n| {
            let mut send = send.clone();
            async move {
                let response = send.send_request(get(&format!("/{n}"))).await.unwrap();
                let body = response.into_body().collect().await.unwrap();
                let trailers = body.trailers().cloned().unwrap();
                (body.to_bytes(), trailers)
            }
        });
        let answers = futures::future::join_all(requests);
        let answers = tokio::select! {
            answers = answers => answers,
            () = resetting(&wire) => panic!("the connection ended"),
        };
        for (body, trailers) in answers {
            assert_eq!(body, "ok", "{way:?}");
            assert_eq!(trailers["x-sum"], "1", "{way:?}");
        }
    }
}

/// Prometheus reads labels as they are written.
#[tokio::test]
async fn series_of_both_halves_are_well_formed() {
    let wire = Wire::new(Way::Two).await;
    wire.exchange(Default::default()).await;
    let series = wire.series().await;
    assert!(
        series
            .iter()
            .any(|line| line.starts_with("response_total{direction=\"inbound\""))
    );
    assert!(
        series
            .iter()
            .any(|line| line.starts_with("response_total{direction=\"outbound\""))
    );
    for line in series {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let labels = name.split_once('{').map_or("", |(_, labels)| {
            labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))
        });
        // None of these values holds a quote.
        for label in labels.split_inclusive("\",") {
            let label = label.strip_suffix(',').unwrap_or(label);
            let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert!(!key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            assert!(quoted, "{line}");
        }
    }
}
