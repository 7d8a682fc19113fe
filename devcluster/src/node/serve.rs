//! The agent's HTTPS server: container logs, exec and port-forward for API servers, ours and real
//! ones, at the kubelet's paths. Who may ask is `callers.rs`'s business.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::agent::Agent;
use super::callers::{Caller, Callers, Verdict};
use super::connect;
use super::disk::PodDir;
use super::logs::{self, Options};
use super::model::{Stamp, now};
use super::serving::Serving;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Serves until dropped.
pub(super) struct Server {
    agent: Arc<Agent>,
    callers: Callers,
}

impl Server {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        let callers = Callers::new(agent.client.clone(), agent.node_name.clone());
        Self { agent, callers }
    }

    /// Accepts connections on `listener`.
    pub(super) async fn run(
        self,
        listener: TcpListener,
        serving: Arc<Serving>,
    ) -> anyhow::Result<()> {
        let server = Arc::new(self);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let slot = slots
                .clone()
                .acquire_owned()
                .await
                .context("the server is closed")?;
            let (io, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept, will retry");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (server, acceptor) = (server.clone(), serving.acceptor());
            tokio::spawn(async move {
                server.connection(acceptor, io).await;
                drop(slot);
            });
        }
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, io: TcpStream) {
        let Ok(Ok(io)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(io)).await else {
            return;
        };
        let certified = io.get_ref().1.peer_certificates().and_then(Caller::read);
        let certified = Arc::new(certified);
        let service = service_fn(move |mut request| {
            let (server, certified) = (self.clone(), certified.clone());
            async move {
                let answer = server.answer(&mut request, certified.as_ref().as_ref());
                Ok::<_, Infallible>(answer.await)
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn answer(
        &self,
        request: &mut Request<Incoming>,
        certified: Option<&Caller>,
    ) -> Response<Body> {
        let shown = request.headers().get(http::header::AUTHORIZATION);
        let token = shown
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "))
            .map(str::trim);
        let uri = request.uri().clone();
        let query = uri.query().unwrap_or_default();
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let verb = match parts.first() {
            Some(&("exec" | "portForward")) => "create",
            _ => "get",
        };
        match self.callers.judge(certified, token, verb).await {
            Verdict::Welcome => {}
            Verdict::Stranger => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Verdict::Refused(why) => return text(StatusCode::FORBIDDEN, &why),
        }
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["healthz"]) => text(StatusCode::OK, "ok"),
            (&Method::GET, ["containerLogs", ns, pod, container]) => {
                self.logs(ns, pod, container, query)
            }
            (&Method::GET | &Method::POST, ["exec", ns, pod, container]) => {
                connect::exec(&self.agent, (ns, pod, container), query, request)
            }
            (&Method::GET | &Method::POST, ["portForward", ns, pod]) => {
                connect::port_forward(&self.agent, (ns, pod), query, request)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "served here: /containerLogs/<ns>/<pod>/<container>, /exec/<ns>/<pod>/<container>, \
                 /portForward/<ns>/<pod>",
            ),
        }
    }

    fn logs(&self, ns: &str, pod: &str, container: &str, query: &str) -> Response<Body> {
        let (previous, options) = match read_query(query, now()) {
            Ok(read) => read,
            Err(message) => return text(StatusCode::BAD_REQUEST, &message),
        };
        let Some((uid, line)) = self.agent.board.find(ns, pod) else {
            return text(
                StatusCode::NOT_FOUND,
                &format!("pod {pod:?} is not on this node"),
            );
        };
        let Some(spot) = line.containers.get(container) else {
            let message = format!("container {container:?} is not in pod {pod:?}");
            return text(StatusCode::NOT_FOUND, &message);
        };
        let attempt = match (previous, spot.attempt) {
            (_, 0) => {
                let message = format!("container {container:?} in pod {pod:?} is waiting to start");
                return text(StatusCode::BAD_REQUEST, &message);
            }
            (false, attempt) => attempt,
            (true, 1) => {
                let message =
                    format!("previous terminated container {container:?} in pod {pod:?} not found");
                return text(StatusCode::BAD_REQUEST, &message);
            }
            (true, attempt) => attempt - 1,
        };
        let log = PodDir::new(&self.agent.state_dir, &uid).and_then(|d| d.log(container, attempt));
        let Ok(log) = log else {
            return text(StatusCode::BAD_REQUEST, "not a container name");
        };
        let (board, container) = (self.agent.board.clone(), container.to_owned());
        let alive = move || board.is_alive(&uid, &container, attempt);
        let (tx, rx) = mpsc::channel(8);
        tokio::spawn(logs::stream(log, options, alive, tx));
        let body = StreamBody::new(ReceiverStream::new(rx).map(|chunk| chunk.map(Frame::data)));
        respond(StatusCode::OK, BodyExt::boxed(body))
    }
}

/// `PodLogOptions` from a query; the flag is `previous`.
fn read_query(query: &str, at: Stamp) -> Result<(bool, Options), String> {
    let mut options = Options::default();
    let mut previous = false;
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let value = value
            .replace("%3A", ":")
            .replace("%3a", ":")
            .replace("%2B", "+");
        let flag = matches!(value.as_str(), "true" | "1" | "");
        let bad = |_| format!("{key}: {value:?} is not a number");
        match key {
            "follow" => options.follow = flag,
            "previous" => previous = flag,
            "timestamps" => options.timestamps = flag,
            "tailLines" => options.tail = Some(value.parse().map_err(bad)?),
            "limitBytes" => options.limit = Some(value.parse().map_err(bad)?),
            "sinceSeconds" => {
                let seconds: i64 = value.parse().map_err(bad)?;
                options.since = Some(at.saturating_sub(seconds.saturating_mul(1000)));
            }
            "sinceTime" => {
                let time: Timestamp = value
                    .parse()
                    .map_err(|_| format!("{key}: {value:?} is not RFC 3339"))?;
                options.since = Some(time.as_millisecond());
            }
            _ => {}
        }
    }
    Ok((previous, options))
}

pub(super) fn text(status: StatusCode, message: &str) -> Response<Body> {
    let full = Full::new(Bytes::copy_from_slice(message.as_bytes()));
    respond(status, full.map_err(|never| match never {}).boxed())
}

fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_are_read_from_the_query() {
        let (previous, options) = read_query(
            "follow=true&tailLines=5&timestamps=1&sinceSeconds=2&x=y",
            10_000,
        )
        .unwrap();
        assert!(!previous && options.follow && options.timestamps);
        assert_eq!((options.tail, options.since), (Some(5), Some(8000)));
        let (previous, options) = read_query(
            "previous=true&sinceTime=1970-01-01T00%3A00%3A03Z&limitBytes=9",
            0,
        )
        .unwrap();
        assert_eq!(
            (previous, options.since, options.limit),
            (true, Some(3000), Some(9))
        );
        assert!(read_query("tailLines=-1", 0).is_err());
        assert!(read_query("sinceTime=yesterday", 0).is_err());
    }
}
