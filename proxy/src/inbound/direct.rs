//! Connections addressed to the proxy itself: mesh TLS, a proven identity and a transport header,
//! or nothing.

use tokio::time::timeout;

use super::{
    Inbound,
    accept::Addrs,
    client::{Client, Tls},
    gateway::NamedTarget,
    http,
    policy::Protocol,
    tcp,
    tls::{self, Hello, Secured},
};
use crate::{
    Drain, Error,
    http::Version,
    io::{BoxIo, Io},
    transport_header::{self, Header, Session},
};

pub(super) async fn serve(
    inbound: &Inbound,
    addrs: Addrs,
    io: impl Io,
    drain: Drain,
) -> Result<(), Error> {
    let runtime = &inbound.0.runtime;
    let limit = runtime.config.inbound.detect_timeout;
    let unproven = inbound.0.unproven.take(addrs.client.ip());
    let unproven = unproven.ok_or(Error::LoadShed(
        "too many connections have not said yet what they want",
    ))?;
    let Some(secured) = Box::pin(secure(inbound, io)).await? else {
        return Ok(());
    };
    let Tls::Mesh(Some(verified)) = &secured.tls else {
        let why = "it showed no certificate, or one without a name";
        return Err(Error::NoIdentity(why.into()));
    };
    if !secured.transport_header {
        return Err(transport_header::Error::NoPreface.into());
    }
    let verified = verified.clone();
    let mut io = secured.io;
    let header = timeout(limit, transport_header::read(&mut io))
        .await
        .map_err(|_| Error::DetectTimeout("transport header", limit))??;
    drop(unproven);
    runtime
        .metrics
        .transport_header(&header, verified.id().as_str());
    tracing::debug!(?header, client = %verified.id(), "direct connection");
    let client = Client::admit(inbound, addrs.original, addrs.client, secured.tls)?;
    let served = client.clone();
    let serving = async {
        match header.name {
            Some(name) => {
                let target = NamedTarget {
                    name,
                    port: header.port,
                    client: verified,
                };
                named(inbound, addrs, served, target, header.session, io, drain).await
            }
            None => local(inbound, addrs, served, header, io, drain).await,
        }
    };
    client.unless_denied(inbound, addrs.original, serving).await
}

/// Mesh TLS or an error; `None` if the client closed at once.
async fn secure(inbound: &Inbound, io: impl Io) -> Result<Option<Secured>, Error> {
    let store = &inbound.0.runtime.store;
    let limit = inbound.0.runtime.config.inbound.detect_timeout;
    match tls::hello(store, io, limit).await? {
        Hello::Ours(io) => tls::terminate(store, true, io, limit).await.map(Some),
        Hello::Closed => Ok(None),
        Hello::Plain(_) => Err(Error::NoIdentity("it does not speak TLS".into())),
        Hello::Foreign(None, _) => Err(Error::NoIdentity("its TLS names no server".into())),
        Hello::Foreign(Some(sni), _) => {
            let own = store.id();
            let why = format!("its TLS is for {sni}, and this is {own}");
            Err(Error::NoIdentity(why.into()))
        }
    }
}

/// For this pod: the policy of the port that was named decides.
async fn local(
    inbound: &Inbound,
    addrs: Addrs,
    client: Client,
    header: Header,
    io: BoxIo,
    drain: Drain,
) -> Result<(), Error> {
    let target = http::Target::local(inbound, (addrs.original.ip(), header.port).into())?;
    let policy = inbound.policy(header.port).await?;
    let opaque = matches!(policy.borrow().protocol, Protocol::Opaque | Protocol::Tls);
    match header.session {
        // The bytes are the same, and only rules for connections can be asked about them.
        Some(_) if opaque => tcp::forward(inbound, target.addr(), client, policy, io, drain).await,
        None => tcp::forward(inbound, target.addr(), client, policy, io, drain).await,
        Some(session) => {
            let version = version(session);
            Box::pin(http::serve(
                inbound, target, client, policy, version, io, drain,
            ))
            .await
        }
    }
}

/// For a name: the policy of the gateway's own port decides, then the gateway takes over.
async fn named(
    inbound: &Inbound,
    addrs: Addrs,
    client: Client,
    target: NamedTarget,
    session: Option<Session>,
    io: BoxIo,
    drain: Drain,
) -> Result<(), Error> {
    let policy = inbound.policy(inbound.0.ports.inbound).await?;
    match session {
        None => tcp::through_gateway(inbound, addrs.original, client, target, policy, io).await,
        Some(session) => {
            let version = version(session);
            let target = http::Target::Named(addrs.original, target);
            Box::pin(http::serve(
                inbound, target, client, policy, version, io, drain,
            ))
            .await
        }
    }
}

fn version(session: Session) -> Version {
    match session {
        Session::Http1 => Version::H1,
        Session::Http2 => Version::H2,
    }
}
