//! An agent with a Workload API.

use std::{
    convert::Infallible,
    path::Path,
    task::{Context, Poll},
};

use futures::{
    StreamExt as _,
    future::{BoxFuture, Ready, ready},
    stream::{self, BoxStream},
};
use rustls_pki_types::CertificateDer;
use tokio::{net::UnixListener, sync::watch, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::workload_api::messages::{X509Svid, X509SvidRequest, X509SvidResponse};
use crate::{Id, TrustAnchors, control::Services};

use super::Issuer;

/// Serves a Workload API at a socket until it is dropped, which ends the streams.
#[derive(Debug)]
pub struct Agent {
    answer: watch::Sender<X509SvidResponse>,
    serving: JoinHandle<()>,
}

impl Agent {
    /// Listens; it knows nobody yet.
    pub fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket can be made");
        let (answer, answers) = watch::channel(X509SvidResponse::default());
        let api = Api(answers);
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(io, _)| io);
            Some((accepted, listener))
        });
        let serving = tokio::spawn(async move {
            let services = Services::new().add(api);
            let serving = Server::builder().serve_with_incoming(services, incoming.boxed());
            serving.await.ok();
        });
        Self { answer, serving }
    }

    /// Tells whoever asks that it is `id`, certified by `issuer`, and whom to trust.
    pub fn tell(&self, id: &Id, issuer: &Issuer, anchors: &TrustAnchors) {
        let (certified, key) = issuer.leaf(id, super::DAY);
        let mut chain = certified.intermediates;
        chain.insert(0, certified.leaf);
        let svid = X509Svid {
            spiffe_id: id.to_string(),
            x509_svid: concat(&chain),
            x509_svid_key: key.secret_der().to_vec(),
            bundle: concat(anchors.certificates()),
        };
        let answer = X509SvidResponse { svids: vec![svid] };
        self.answer.send_replace(answer);
    }
}

fn concat(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    certificates.iter().flat_map(|der| der.to_vec()).collect()
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Api(watch::Receiver<X509SvidResponse>);

impl NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(api, request).await)
        })
    }
}

impl ServerStreamingService<X509SvidRequest> for Api {
    type Response = X509SvidResponse;
    type ResponseStream = BoxStream<'static, Result<X509SvidResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<X509SvidRequest>) -> Self::Future {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|header| header != "true") {
            let why = "security header missing from request";
            return ready(Err(Status::invalid_argument(why)));
        }
        if self.0.borrow().svids.is_empty() {
            return ready(Err(Status::permission_denied("no identity issued")));
        }
        let mut answers = self.0.clone();
        answers.mark_changed();
        let answers = stream::unfold(answers, |mut answers| async {
            answers.changed().await.ok()?;
            let answer = answers.borrow_and_update().clone();
            Some((Ok(answer), answers))
        });
        ready(Ok(Response::new(answers.boxed())))
    }
}
