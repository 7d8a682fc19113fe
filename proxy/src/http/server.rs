//! One HTTP server connection: versions, limits, hop-by-hop headers, upgrades, errors, drain.
//!
//! Both halves call [`serve_connection`] with the service that answers; everything a connection
//! (rather than a request) needs happens here and nowhere else.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, Service},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{io::AsyncReadExt, sync::Notify};

use super::{
    Body,
    body::BodyError,
    frames::{PREFACE, Prompt},
    headers,
    rescue::{Asked, Rescue, Rescued},
    strict::{Limits, MAX_HEAD, Strict, Tunnel},
    upgrade,
};
use crate::{
    Drain, Error,
    config::{Http2, HttpServer},
    error::io_kind,
    io::{Io, Prefixed},
};

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    H1,
    /// HTTP/2 with prior knowledge.
    H2,
}

/// Serves `io` until the client is done, an error is fatal, or `drain` asks for an end.
///
/// The service sees requests without hop-by-hop headers (upgrades excepted) and answers with
/// errors of ours; it need not handle upgrades beyond returning the peer's response with its
/// extensions.
pub async fn serve_connection<I, S>(
    io: I,
    version: Version,
    settings: &HttpServer,
    rescue: Rescue,
    service: S,
    drain: Drain,
) -> Result<(), Error>
where
    I: Io,
    S: Service<Request<Body>, Response = Response<Body>, Error = Error> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let _hold = drain.hold();
    let told = Arc::new(Told::default());
    let service = Hop {
        inner: Arc::new(service),
        rescue,
        drain: drain.clone(),
        told: told.clone(),
    };
    let served = match version {
        Version::H1 => {
            let limits = Limits {
                head: settings.header_timeout,
                idle: settings.idle_timeout,
            };
            let io = TokioIo::new(Strict::new(io, limits, told.tunnel.clone()));
            let mut builder = http1::Builder::new();
            builder
                .max_header_size(MAX_HEAD)
                .half_close(true)
                .auto_date_header(false);
            let conn = builder.serve_connection(io, service).with_upgrades();
            drive(conn, &drain, LAST_REQUEST, told.closing.notified()).await?
        }
        Version::H2 => {
            let Some(io) = preface(io, settings.header_timeout).await? else {
                return Ok(());
            };
            let io = TokioIo::new(Prompt::new(io, PREFACE, settings.header_timeout));
            let conn = h2_builder(&settings.h2).serve_connection(io, service);
            let quiet = told.quiet(settings.h2_idle_timeout);
            let over = async {
                tokio::select! {
                    () = told.closing.notified() => {}
                    () = quiet => {}
                }
            };
            drive(conn, &drain, Duration::ZERO, over).await?
        }
    };
    match served {
        // The client kept the connection without using it, or was too slow.
        Err(error) if error.is_timeout() || is_late(&error) => Ok(()),
        served => served.map_err(Error::Http),
    }
}

/// What the requests of a connection tell the connection.
#[derive(Default)]
struct Told {
    /// It must not be used again.
    closing: Notify,
    /// How many requests there were.
    requests: AtomicU64,
    tunnel: Tunnel,
}

/// How long an HTTP/2 client may take to make its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(60);

impl Told {
    /// Completes when no request has come for too long. What is in flight then may go on.
    async fn quiet(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        let mut before = 0;
        let mut pause = FIRST_REQUEST.min(limit);
        loop {
            tokio::time::sleep(pause).await;
            let now = self.requests.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            (before, pause) = (now, limit);
        }
    }
}

/// The connection once its client has said that it speaks HTTP/2; `None` if it closed instead. The
/// library would wait for ever.
async fn preface<I: Io>(mut io: I, limit: Duration) -> Result<Option<Prefixed<I>>, Error> {
    let mut bytes = BytesMut::with_capacity(256);
    let read = async {
        while bytes.len() < PREFACE {
            if io.read_buf(&mut bytes).await? == 0 {
                return Ok(false);
            }
        }
        Ok::<_, std::io::Error>(true)
    };
    match tokio::time::timeout(limit, read).await {
        Ok(whole) => Ok(whole?.then(|| Prefixed::new(bytes.freeze(), io))),
        Err(_) => Err(Error::DetectTimeout("HTTP/2", limit)),
    }
}

/// Whether the client was too slow for [`Strict`] or [`Prompt`].
fn is_late(error: &hyper::Error) -> bool {
    io_kind(error) == Some(std::io::ErrorKind::TimedOut)
}

/// A connection that can be told to end once what is in flight is done.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn end(self: Pin<&mut Self>);
}

impl<I: Io, S> Graceful for http1::UpgradeableConnection<TokioIo<I>, S>
where
    S: HttpService<Incoming, ResBody = Body> + 'static,
    S::Error: Into<BodyError>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I: Io, S> Graceful for http2::Connection<TokioIo<I>, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = Body> + 'static,
    S::Error: Into<BodyError>,
    S::Future: Send + 'static,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// HTTP/1 cannot say that no more requests are taken before the next response. An idle connection
/// that were closed at once would fail the request that crosses the end on its way.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Serves to the end. A closing error or a drain lets what is in flight finish and refuses more:
/// `connection: close`, or GOAWAY. In a drain there is `last` for one request more.
async fn drive(
    conn: impl Graceful,
    drain: &Drain,
    last: Duration,
    closing: impl Future<Output = ()>,
) -> Result<hyper::Result<()>, Error> {
    let mut conn = pin!(conn);
    let over = async {
        drain.started().await;
        tokio::time::sleep(last).await;
    };
    tokio::select! {
        served = conn.as_mut() => return Ok(served),
        () = over => {}
        () = closing => {}
    }
    conn.as_mut().end();
    tokio::select! {
        served = conn => {
            // A client that was told to go may do so in any way.
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended after it was told to");
            }
            Ok(Ok(()))
        }
        () = drain.aborted() => Err(Error::Shutdown),
    }
}

fn h2_builder(settings: &Http2) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .max_frame_size(settings.max_frame_size)
        .max_header_list_size(settings.max_header_list_size)
        .max_send_buf_size(settings.max_send_buffer)
        .max_pending_accept_reset_streams(settings.max_pending_accept_reset_streams)
        .keep_alive_interval(settings.keep_alive_interval);
    if let Some(timeout) = settings.keep_alive_timeout {
        builder.keep_alive_timeout(timeout);
    }
    if settings.adaptive {
        builder.adaptive_window(true);
    } else {
        builder
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window);
    }
    builder
}

/// What every request of a connection passes through, in both directions.
struct Hop<S> {
    inner: Arc<S>,
    rescue: Rescue,
    drain: Drain,
    told: Arc<Told>,
}

/// In a response's extensions: the client's connection ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Close;

impl<S> Service<Request<Incoming>> for Hop<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BodyError;
    type Future = BoxFuture<'static, Result<Response<Body>, BodyError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let asked = Asked {
            version: request.version(),
            grpc: headers::is_grpc(&request),
        };
        let inner = self.inner.clone();
        let (rescue, drain, told) = (self.rescue, self.drain.clone(), self.told.clone());
        told.requests.fetch_add(1, Ordering::Relaxed);
        let leaves = asked.version <= http::Version::HTTP_11
            && (request.method() == Method::CONNECT
                || request.headers().contains_key(header::UPGRADE));
        Box::pin(async move {
            let mut agreed = false;
            let mut response = match answer(&*inner, request, &drain, &mut agreed).await {
                Ok(response) => response,
                Err(error) => {
                    tracing::debug!(%error, "request failed");
                    match rescue.rescue(asked, error) {
                        Rescued::Response(response) => *response,
                        Rescued::Reset(error) => return Err(error),
                    }
                }
            };
            if leaves && told.tunnel.answered(agreed) {
                response.extensions_mut().insert(Close);
            }
            let last = asked.version <= http::Version::HTTP_11 && !agreed && drain.is_started();
            if last || response.extensions().get::<Close>().is_some() {
                if asked.version <= http::Version::HTTP_11 {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                told.closing.notify_one();
            }
            Ok(response)
        })
    }
}

async fn answer<S>(
    service: &S,
    mut request: Request<Incoming>,
    drain: &Drain,
    agreed: &mut bool,
) -> Result<Response<Body>, Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error>,
{
    validate(&request)?;
    let client_version = request.version();
    let pending = upgrade::take(&mut request);
    if pending.is_none() {
        headers::strip_hop_by_hop(request.headers_mut());
    }
    let mut response = service.call(request.map(Body::from)).await?;
    *agreed = pending.is_some_and(|pending| pending.finish(&mut response, drain));
    if !*agreed {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Fail("the peer upgraded unasked".into()));
        }
        headers::strip_hop_by_hop(response.headers_mut());
    }
    if client_version <= http::Version::HTTP_11 && response.version() > http::Version::HTTP_11 {
        *response.version_mut() = http::Version::HTTP_11;
    }
    Ok(response)
}

/// Refuses request lines that no server could answer.
fn validate<B>(request: &Request<B>) -> Result<(), Error> {
    // RFC 9112 §3.2: whoever reads another one than we do would be asked for somebody else.
    if request
        .headers()
        .get_all(header::HOST)
        .iter()
        .nth(1)
        .is_some()
    {
        return Err(Error::BadRequest("more than one Host"));
    }
    let uri = request.uri();
    let authority_form = uri.scheme().is_none() && uri.authority().is_some();
    match (request.version(), request.method() == Method::CONNECT) {
        (http::Version::HTTP_2, true) => {
            Err(Error::BadRequest("CONNECT over HTTP/2 is not supported"))
        }
        (http::Version::HTTP_2, false) => Ok(()),
        (http::Version::HTTP_11, true) if authority_form => Ok(()),
        (_, true) => Err(Error::BadRequest(
            "CONNECT needs HTTP/1.1 and a host:port target",
        )),
        (_, false) if authority_form => Err(Error::BadRequest(
            "only CONNECT may have a host:port target",
        )),
        (_, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
