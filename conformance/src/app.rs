//! The application behind the proxy: HTTP/1 and HTTP/2, whatever the client begins with. Echoes the
//! body of a request, or says something when there is none.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Runs until it is dropped.
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

/// What is said to a request without a body.
pub(crate) const HELLO: &str = "Nobody but the proxy under test stands between us, says the app.";

impl App {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((stage::SERVER_IP, 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let served = builder.serve_connection(TokioIo::new(io), service_fn(answer));
                    // A client that breaks its connection is what suites are about.
                    let _ = served.await;
                });
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = format!("{:?}", request.version());
    let head = request.method() == Method::HEAD;
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let body = match body.is_empty() {
        true => Bytes::from_static(HELLO.as_bytes()),
        false => body,
    };
    let length = body.len();
    // On HTTP/2 the library would send it.
    let body = if head { Bytes::new() } else { body };
    let mut response = Response::new(Full::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    if let Ok(version) = version.parse() {
        response.headers_mut().insert("x-version", version);
    }
    Ok(response)
}
