//! Connections to a port of the workload (redirected here), and to the admin port.

use std::time::Instant;

use super::{
    Inbound,
    accept::Addrs,
    client::{Client, Tls},
    http,
    policy::{Protocol, watch::Receiver},
    tcp,
    tls::{self, Hello, Secured},
};
use crate::{
    Drain, Error,
    detect::{Detected, detect},
    http::Version,
    io::{BoxIo, Io, boxed},
};

/// What to do with the bytes once TLS was dealt with.
enum Plan {
    Opaque,
    Http(Version),
    /// Look at the first bytes; if there are none in time, assume.
    Detect(std::time::Duration, Option<Version>),
}

pub(super) async fn serve(
    inbound: &Inbound,
    addrs: Addrs,
    io: impl Io,
    drain: Drain,
) -> Result<(), Error> {
    let target = http::Target::local(inbound, addrs.original)?;
    let policy = inbound.policy(addrs.original.port()).await?;
    let opaque = matches!(policy.borrow().protocol, Protocol::Opaque);
    let secured = match opaque {
        // Not even mesh TLS is looked at.
        true => Some(Secured {
            io: boxed(io),
            tls: Tls::None("port_skipped"),
            transport_header: false,
        }),
        false => Box::pin(secure(inbound, io)).await?,
    };
    let Some(secured) = secured else {
        return Ok(());
    };
    let at = target.addr();
    let client = Client::admit(inbound, at, addrs.client, secured.tls)?;
    let serving = admitted(inbound, target, client.clone(), policy, secured.io, drain);
    client.unless_denied(inbound, at, serving).await
}

/// Serves a client that may come at all.
async fn admitted(
    inbound: &Inbound,
    target: http::Target,
    client: Client,
    policy: Receiver,
    io: BoxIo,
    drain: Drain,
) -> Result<(), Error> {
    let plan = plan(inbound, &policy.borrow().protocol, &client);
    let (version, io) = match plan {
        Plan::Opaque => (None, io),
        Plan::Http(version) => (Some(version), io),
        Plan::Detect(timeout, silent) => {
            let started = Instant::now();
            let found = detect(io, timeout).await;
            let seen = found.as_ref().map(|(detected, _)| *detected);
            let server = policy.borrow().clone();
            let server = (&server.meta, target.addr().port());
            let metrics = &inbound.0.runtime.metrics;
            metrics.inbound_detected(server, seen, started.elapsed());
            let (detected, io) = found?;
            let version = match detected {
                Detected::Http(version) => Some(version),
                Detected::NotHttp => None,
                Detected::Timeout => silent,
                Detected::Empty => return Ok(()),
            };
            (version, boxed(io))
        }
    };
    match version {
        Some(version) => {
            Box::pin(http::serve(
                inbound, target, client, policy, version, io, drain,
            ))
            .await
        }
        None => tcp::forward(inbound, target.addr(), client, policy, io, drain).await,
    }
}

/// Terminates TLS that is for us; `None` if the client closed at once.
async fn secure(inbound: &Inbound, io: impl Io) -> Result<Option<Secured>, Error> {
    let store = &inbound.0.runtime.store;
    let limit = inbound.0.runtime.config.inbound.detect_timeout;
    let untouched = |io, tls| Secured {
        io,
        tls,
        transport_header: false,
    };
    Ok(match tls::hello(store, io, limit).await? {
        Hello::Ours(io) => Some(tls::terminate(store, false, io, limit).await?),
        Hello::Foreign(sni, io) => Some(untouched(boxed(io), Tls::Opaque(sni.map(Into::into)))),
        Hello::Plain(io) => Some(untouched(boxed(io), Tls::None("no_tls_from_remote"))),
        Hello::Closed => None,
    })
}

fn plan(inbound: &Inbound, protocol: &Protocol, client: &Client) -> Plan {
    if matches!(client.tls, Tls::Opaque(_)) {
        return Plan::Opaque;
    }
    let configured = inbound.0.runtime.config.inbound.detect_timeout;
    match protocol {
        Protocol::Opaque | Protocol::Tls => Plan::Opaque,
        Protocol::Detect { timeout, .. } => Plan::Detect(*timeout, None),
        // A mesh client may have upgraded its requests.
        Protocol::Http1(_) if client.is_meshed() => Plan::Detect(configured, Some(Version::H1)),
        Protocol::Http1(_) => Plan::Http(Version::H1),
        Protocol::Http2(_) => Plan::Http(Version::H2),
    }
}
