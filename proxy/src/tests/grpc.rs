//! gRPC as its users know it, with a client and a server of a library's, through one sidecar and
//! through two.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, stream::BoxStream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd2_proxy_api::destination::{
    DestinationProfile, GetDestination, NoEndpoints, Update,
    destination_client::DestinationClient,
    destination_server::{Destination, DestinationServer},
    update,
};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, transport::Channel};
use tower_service::Service;

use super::wire::{WAYS, Way, Wire};

/// Answers streams by their path.
#[derive(Clone)]
struct App {
    /// Whether a client's going was noticed.
    cancelled: watch::Sender<bool>,
}

struct Notice(watch::Sender<bool>);

impl Drop for Notice {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn one() -> Result<Update, Status> {
    let none = NoEndpoints { exists: true };
    Ok(Update {
        update: Some(update::Update::NoEndpoints(none)),
    })
}

#[tonic::async_trait]
impl Destination for App {
    type GetStream = BoxStream<'static, Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let timeout = request.metadata().get("grpc-timeout").cloned();
        let path = request.into_inner().path;
        let stream = match path.as_str() {
            "three" => futures::stream::iter([one(), one(), one()]).boxed(),
            "broken" => futures::stream::iter([one(), Err(Status::data_loss("lost"))]).boxed(),
            "endless" => {
                let notice = Notice(self.cancelled.clone());
                let endless = futures::stream::pending().map(move |update| {
                    let _held = &notice;
                    update
                });
                futures::stream::iter([one()]).chain(endless).boxed()
            }
            "timeout" => {
                let text = format!("{timeout:?}");
                return Err(Status::deadline_exceeded(text));
            }
            _ => return Err(Status::not_found("100 % unknown: ü")),
        };
        Ok(Response::new(stream))
    }

    async fn get_profile(
        &self,
        _: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        Err(Status::unimplemented("no profiles"))
    }
}

struct Play {
    client: DestinationClient<Channel>,
    cancelled: watch::Receiver<bool>,
}

async fn play(way: Way) -> Play {
    let wire = Arc::new(Wire::new(way).await);
    let (tx, cancelled) = watch::channel(false);
    let server = DestinationServer::new(App { cancelled: tx });
    let accepting = wire.clone();
    tokio::spawn(async move {
        loop {
            let io = TokioIo::new(accepting.app().await.0);
            let server = server.clone();
            let service = hyper::service::service_fn(move |request| server.clone().call(request));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(io, service));
        }
    });
    let dial: mesh_tls::control::Dial = Arc::new(move |_, _| {
        let wire = wire.clone();
        async move { Ok(wire.client().await.0) }.boxed()
    });
    Play {
        client: DestinationClient::new(mesh_tls::control::plaintext_channel("127.0.0.1", 1, dial)),
        cancelled,
    }
}

fn ask(path: &str) -> Request<GetDestination> {
    Request::new(GetDestination {
        path: path.to_owned(),
        ..Default::default()
    })
}

#[tokio::test]
async fn a_stream_arrives_message_by_message_and_ends() {
    for way in WAYS {
        let mut play = play(way).await;
        let mut stream = play.client.get(ask("three")).await.unwrap().into_inner();
        for _ in 0..3 {
            assert!(stream.message().await.unwrap().is_some(), "{way:?}");
        }
        assert!(stream.message().await.unwrap().is_none(), "{way:?}");
    }
}

#[tokio::test]
async fn a_status_arrives_with_its_message_at_the_beginning_or_the_end() {
    for way in WAYS {
        let mut play = play(way).await;
        let status = play.client.get(ask("unknown")).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{way:?}");
        assert_eq!(status.message(), "100 % unknown: ü", "{way:?}");
        let mut stream = play.client.get(ask("broken")).await.unwrap().into_inner();
        stream.message().await.unwrap();
        let status = stream.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "lost"));
    }
}

#[tokio::test]
async fn a_client_that_goes_is_noticed_by_the_server() {
    for way in WAYS {
        let mut play = play(way).await;
        let mut stream = play.client.get(ask("endless")).await.unwrap().into_inner();
        // The first message does not wait for the next.
        assert!(stream.message().await.unwrap().is_some(), "{way:?}");
        assert!(!*play.cancelled.borrow());
        drop(stream);
        let noticed = play.cancelled.wait_for(|cancelled| *cancelled);
        let noticed = tokio::time::timeout(std::time::Duration::from_secs(20), noticed).await;
        assert!(noticed.is_ok(), "{way:?}");
    }
}

#[tokio::test]
async fn a_deadline_is_told_to_the_server() {
    for way in WAYS {
        let mut play = play(way).await;
        let mut request = ask("timeout");
        request.set_timeout(std::time::Duration::from_secs(7));
        let status = play.client.get(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way:?}");
        assert!(status.message().contains('7'), "{way:?}: {status}");
    }
}
