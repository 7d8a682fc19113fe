//! Accepting the application's connections and serving each as its target's policy says.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{Request, Response};
use hyper::service::service_fn;
use mesh_daemon::net::Listener;
use mesh_tls::sniff::{self, Sniff};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tracing::Instrument;

use super::{
    Shared,
    discover::Discovered,
    endpoint::connect::tune,
    explicit,
    http::{Origin, answer},
    ingress,
    policy::Protocol,
    tcp,
};
use crate::{
    Drain, Error,
    detect::{Detected, detect},
    http::{Body, Version, name, rescue::Rescue, serve_connection},
    io::{BoxIo, Prefixed, boxed},
};

/// Accepts until draining starts.
pub(super) async fn serve(shared: Arc<Shared>, mut listener: Listener, drain: Drain) {
    let own = listener.local_addr().ok();
    let _hold = drain.hold();
    while let Some((tcp, client)) = listener.next(&drain).await {
        let span = tracing::debug_span!("outbound", %client);
        let (shared, drain) = (shared.clone(), drain.clone());
        let connection = async move {
            let _hold = drain.hold();
            if let Err(error) = connection(&shared, tcp, own, &drain).await {
                tracing::debug!(%error, "connection failed");
            }
        };
        tokio::spawn(connection.instrument(span));
    }
}

async fn connection(
    shared: &Arc<Shared>,
    tcp: TcpStream,
    own: Option<SocketAddr>,
    drain: &Drain,
) -> Result<(), Error> {
    let local = tcp.local_addr()?;
    tune(&tcp, &shared.config.outbound.accept, local);
    let own = own.unwrap_or(local);
    match original_dst(&tcp) {
        Ok(target) if target != local && target != own => {
            let io = boxed(tcp);
            match shared.config.outbound.ingress_mode {
                true => ingress::serve(shared, io, target, drain).await,
                false => to_target(shared, io, target, drain).await,
            }
        }
        // Nobody redirected it: the application means the proxy itself.
        _ if shared.config.outbound.explicit => {
            Box::pin(explicit::serve(shared, boxed(tcp), local, drain)).await
        }
        Ok(target) => Err(Error::Loop(target)),
        Err(error) => {
            tracing::warn!(
                %error,
                "a connection without an original destination; is its traffic redirected here?"
            );
            Err(Error::Io(error))
        }
    }
}

/// Where the application connected to before the connection was redirected here.
fn original_dst(tcp: &TcpStream) -> io::Result<SocketAddr> {
    let socket = socket2::SockRef::from(tcp);
    let addr = match tcp.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    addr.as_socket().ok_or(io::ErrorKind::Unsupported.into())
}

/// Serves a connection the application made to `target`.
pub(super) async fn to_target(
    shared: &Arc<Shared>,
    io: BoxIo,
    target: SocketAddr,
    drain: &Drain,
) -> Result<(), Error> {
    let io = boxed(shared.metrics.outbound_accept(target).open(io));
    // Boxed where it is over before the connection is.
    let served = match Box::pin(shared.discovery.addr(target)).await {
        Ok(found) => discovered(shared, io, found, drain).await,
        Err(error) => Box::pin(undiscovered(shared, io, target, error, drain)).await,
    };
    if let Err(error) = &served {
        shared.metrics.outbound_tcp_error(target, error);
    }
    served
}

async fn discovered(
    shared: &Arc<Shared>,
    io: BoxIo,
    target: Discovered,
    drain: &Drain,
) -> Result<(), Error> {
    let plan = target.plan()?;
    let parent = &plan.policy.parent;
    let protocol = match &plan.policy.protocol {
        _ if plan.opaque => "opaq",
        protocol => protocol.word(),
    };
    shared.metrics.outbound_protocol(protocol, parent);
    let drain_tcp = Some(drain);
    let version = match &plan.policy.protocol {
        Protocol::Opaque(_) => {
            let to = plan.policy.opaque()?;
            return tcp::forward(shared, &target, (to, ""), io, drain_tcp).await;
        }
        _ if plan.opaque => {
            let to = plan.policy.opaque()?;
            return tcp::forward(shared, &target, (to, ""), io, drain_tcp).await;
        }
        Protocol::Tls(_) => {
            let (sni, io) = Box::pin(read_sni(io, shared.config.outbound.detect_timeout)).await?;
            let to = plan.policy.tls(sni.as_deref())?;
            let name = sni.as_deref().and_then(name::dns_name);
            let name = name.filter(|_| shared.config.outbound.hostname_labels);
            let to = (to, name.as_deref().unwrap_or_default());
            return tcp::forward(shared, &target, to, io, drain_tcp).await;
        }
        Protocol::Http1(_) => Some(Version::H1),
        Protocol::Http2(_) => Some(Version::H2),
        Protocol::Detect { .. } | Protocol::Invalid(_) => None,
    };
    let (version, io) = match version {
        Some(version) => (version, io),
        None => {
            let started = Instant::now();
            let found = Box::pin(detect(io, shared.config.outbound.detect_timeout)).await;
            let seen = found.as_ref().map(|(detected, _)| *detected);
            let elapsed = started.elapsed();
            shared.metrics.outbound_detected(parent, seen, elapsed);
            match found? {
                (Detected::Http(version), io) => (version, boxed(io)),
                (Detected::Empty, _) => return Ok(()),
                (Detected::NotHttp | Detected::Timeout, io) => {
                    let to = plan.policy.opaque()?;
                    return tcp::forward(shared, &target, (to, ""), io, drain_tcp).await;
                }
            }
        }
    };
    // Requests read the plan of their time; this one may be old by then.
    drop(plan);
    let service = service_fn({
        let shared = shared.clone();
        move |request| {
            let (shared, target) = (shared.clone(), target.clone());
            async move { to_known(&shared, &target, request).await }
        }
    });
    http(shared, io, version, service, drain).await
}

/// The control plane did not answer. HTTP clients are told so, request by request: it may answer
/// the next one.
async fn undiscovered(
    shared: &Arc<Shared>,
    io: BoxIo,
    target: SocketAddr,
    error: Error,
    drain: &Drain,
) -> Result<(), Error> {
    match detect(io, shared.config.outbound.detect_timeout).await? {
        (Detected::Http(version), io) => {
            let service = service_fn({
                let shared = shared.clone();
                move |request| {
                    let shared = shared.clone();
                    async move { to_addr(&shared, target, request).await }
                }
            });
            http(shared, boxed(io), version, service, drain).await
        }
        _ => Err(error),
    }
}

/// Serves HTTP with any service of requests.
pub(super) async fn http<S>(
    shared: &Shared,
    io: BoxIo,
    version: Version,
    service: S,
    drain: &Drain,
) -> Result<(), Error>
where
    S: hyper::service::Service<Request<Body>, Response = Response<Body>, Error = Error>
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let outbound = &shared.config.outbound;
    let rescue = Rescue {
        informational: outbound.informational_headers,
    };
    // Boxed: a connection of another kind should not be as large as this one.
    let serving = serve_connection(io, version, &outbound.http, rescue, service, drain.clone());
    Box::pin(serving).await
}

/// Answers a request for an address that may not be known yet.
pub(super) async fn to_addr(
    shared: &Shared,
    addr: SocketAddr,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let target = shared.discovery.addr(addr).await;
    let target = target.inspect_err(|error| shared.metrics.outbound_http_error(addr, error))?;
    to_known(shared, &target, request).await
}

/// Answers a request for what was discovered, and counts what goes wrong.
pub(super) async fn to_known(
    shared: &Shared,
    target: &Discovered,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let answered = answer(shared, Origin::Workload, target, request).await;
    answered.inspect_err(|error| shared.metrics.outbound_http_error(target.addr(), error))
}

/// Reads as much of a ClientHello as it takes to know its name, and gives it back in front.
async fn read_sni(
    mut io: BoxIo,
    limit: Duration,
) -> Result<(Option<String>, Prefixed<BoxIo>), Error> {
    let mut bytes = BytesMut::with_capacity(1024);
    let read = async {
        loop {
            match sniff::sniff(&bytes) {
                Sniff::ClientHello { sni } => return Ok(sni),
                Sniff::NotTls => return Ok(None),
                Sniff::Incomplete if bytes.len() >= sniff::MAX => return Ok(None),
                Sniff::Incomplete => {}
            }
            if io.read_buf(&mut bytes).await? == 0 {
                return Ok::<_, io::Error>(None);
            }
        }
    };
    let sni = timeout(limit, read)
        .await
        .map_err(|_| Error::DetectTimeout("TLS", limit))??;
    Ok((sni, Prefixed::new(bytes.freeze(), io)))
}
