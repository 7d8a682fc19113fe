//! Is this mesh TLS, and for us? Only then it is terminated.

use std::time::Duration;

use bytes::BytesMut;
use mesh_tls::{
    Accept, Store,
    sniff::{self, Sniff},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use super::client::Tls;
use crate::{
    Error,
    io::{BoxIo, Io, Prefixed, ReadAhead, boxed},
};

/// What the first bytes of a connection turned out to be.
pub(super) enum Hello<I> {
    /// TLS for this proxy.
    Ours(Prefixed<I>),
    /// TLS for somebody else.
    Foreign(Option<String>, Prefixed<I>),
    /// Not TLS.
    Plain(Prefixed<I>),
    /// The client closed without a byte.
    Closed,
}

/// A connection whose TLS was dealt with.
pub(super) struct Secured {
    /// Plaintext, or bytes that are none of our business.
    pub(super) io: BoxIo,
    /// What it was.
    pub(super) tls: Tls,
    /// Whether the client announced a transport header.
    pub(super) transport_header: bool,
}

/// Reads until it is clear whether the client speaks TLS and with whom.
pub(super) async fn hello<I: Io>(
    store: &Store,
    mut io: I,
    limit: Duration,
) -> Result<Hello<I>, Error> {
    let mut bytes = BytesMut::with_capacity(1024);
    let sniffed = timeout(limit, sniff(&mut io, &mut bytes))
        .await
        .map_err(|_| Error::DetectTimeout("TLS", limit))??;
    if bytes.is_empty() {
        return Ok(Hello::Closed);
    }
    let io = Prefixed::new(bytes.freeze(), io);
    Ok(match sniffed {
        Sniff::ClientHello { sni } if is_ours(store, sni.as_deref()) => Hello::Ours(io),
        Sniff::ClientHello { sni } => Hello::Foreign(sni, io),
        Sniff::NotTls | Sniff::Incomplete => Hello::Plain(io),
    })
}

/// Shakes hands with a client whose hello was for us.
pub(super) async fn terminate<I: Io>(
    store: &Store,
    transport_header: bool,
    io: Prefixed<I>,
    limit: Duration,
) -> Result<Secured, Error> {
    let accept = Accept {
        transport_header,
        timeout: limit,
    };
    // A handshake's state is large; boxed, it is gone once the connection carries data.
    let accepted = Box::pin(mesh_tls::accept(store, accept, ReadAhead::new(io))).await?;
    Ok(Secured {
        io: boxed(accepted.stream),
        tls: Tls::Mesh(accepted.peer),
        transport_header: accepted.transport_header,
    })
}

async fn sniff<I: AsyncRead + Unpin>(io: &mut I, bytes: &mut BytesMut) -> Result<Sniff, Error> {
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(sniff::MAX - bytes.len().min(sniff::MAX - 1));
        }
        if io.read_buf(bytes).await? == 0 {
            return Ok(Sniff::NotTls);
        }
        match sniff::sniff(bytes) {
            Sniff::Incomplete => {}
            decided => return Ok(decided),
        }
    }
}

fn is_ours(store: &Store, sni: Option<&str>) -> bool {
    let name = store.server_name();
    sni.is_some_and(|sni| sni.eq_ignore_ascii_case(name))
}
