//! The TLS server the API server calls. Bodies are bounded and everything has a deadline.

use super::service::Service;
use anyhow::Context as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_daemon::Shutdown;
use parking_lot::RwLock;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::Value;
use std::{convert::Infallible, fmt, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// An object and its old self, as large as the API server takes them, with room for the frame.
const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
const HEADERS: Duration = Duration::from_secs(10);
/// A webhook is waited for up to 30 s, ours up to 10.
const REQUEST: Duration = Duration::from_secs(10);

/// The certificate in use; replaced while the server runs.
#[derive(Clone, Default)]
pub(crate) struct CertificateSlot(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl CertificateSlot {
    /// New connections get this one.
    pub(crate) fn install(&self, key: CertifiedKey) {
        *self.0.write() = Some(Arc::new(key));
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

impl fmt::Debug for CertificateSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateSlot")
    }
}

/// Serves until the shutdown; requests in flight then are answered for a while.
pub(crate) async fn serve(
    listener: TcpListener,
    certificate: CertificateSlot,
    service: Service,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version to serve with")?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned().await?;
        let (io, _) = tokio::select! {
            () = shutdown.requested() => break,
            accepted = mesh_daemon::net::accept(&listener) => accepted,
        };
        let (acceptor, service, stop) = (acceptor.clone(), service.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(io, acceptor, service, stop).await;
            drop(slot);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(REQUEST, ended).await;
    Ok(())
}

async fn connection(io: TcpStream, acceptor: TlsAcceptor, service: Service, stop: Shutdown) {
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(io)).await;
    let io = match handshake {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => {
            // An API server that does not trust us yet is heard of here, and nowhere else.
            tracing::info!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(handle(service, request).await) }
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(io), handler)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn handle(service: Service, request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let path = request.uri().path().to_owned();
    let answering = async {
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        match body {
            Ok(body) => service.answer(&path, &body.to_bytes()).await,
            Err(error) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Value::from(format!("the body cannot be read: {error}")),
            ),
        }
    };
    let (status, value) = match tokio::time::timeout(REQUEST, answering).await {
        Ok(reply) => reply,
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, Value::from("it took too long")),
    };
    let mut response = Response::new(Full::new(value.to_string().into()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
