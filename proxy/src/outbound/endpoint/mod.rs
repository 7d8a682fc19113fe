//! One endpoint: what discovery says of it, how to connect to it, how it is doing.
//!
//! [`Metadata`] and [`convert`] are plain data; [`plan`] decides how to connect (pure),
//! [`connect`] does it, [`live`] is the endpoint in use, [`exchange`] one request to it, [`judge`]
//! what its answers say of it. Balancers and forwards make
//! them; nothing here chooses between endpoints.

pub mod connect;
mod exchange;
pub mod judge;
mod kit;
pub mod live;
pub mod plan;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use linkerd2_proxy_api::destination::{
    self as api, WeightedAddr, protocol_hint::Protocol, tls_identity::Strategy,
};
use mesh_tls::Id;

pub use kit::Kit;
pub use live::Endpoint;

use super::policy::convert::duration;

/// What discovery says of an endpoint. The default is an endpoint outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The identity it must prove; `None`: it is not meshed.
    pub tls: Option<ServerTls>,
    /// What its proxy understands.
    pub hint: Hint,
    /// The port of its proxy that takes a transport header.
    pub inbound_port: Option<u16>,
    /// The name to ask a gateway for.
    pub authority: Option<Authority>,
    /// How fast a dead HTTP/2 connection to it must be noticed.
    pub keep_alive: Option<KeepAlive>,
    /// HTTP/2 windows for it.
    pub windows: Option<Windows>,
    /// For metrics; sorted.
    pub labels: Arc<[(String, String)]>,
    /// Its share of the traffic, compared with the other endpoints'.
    pub weight: u32,
}

/// The weight of an endpoint like any other.
const WEIGHT: u32 = 10_000;

/// Whom to expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The identity.
    pub id: Id,
    /// SNI, if it is not the identity.
    pub server_name: Option<String>,
}

/// What an endpoint's proxy understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known.
    #[default]
    Unknown,
    /// HTTP may be upgraded to HTTP/2.
    H2,
    /// Its bytes must not be looked at.
    Opaque,
}

/// A name a gateway routes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The name.
    pub host: String,
    /// The port, if it says one.
    pub port: Option<u16>,
    /// Both, for URIs.
    pub uri: http::uri::Authority,
}

/// HTTP/2 pings as the control plane wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Pause between pings.
    pub interval: Duration,
    /// How long one may stay unanswered.
    pub timeout: Duration,
    /// Also while no request is in flight.
    pub while_idle: bool,
}

/// HTTP/2 flow control as the control plane wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of a stream; 0: as configured.
    pub stream: u32,
    /// Of the connection; 0: as configured.
    pub connection: u32,
    /// Follow the measured product of bandwidth and delay.
    pub adaptive: bool,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            tls: None,
            hint: Hint::default(),
            inbound_port: None,
            authority: None,
            keep_alive: None,
            windows: None,
            labels: Arc::default(),
            weight: WEIGHT,
        }
    }
}

impl Metadata {
    /// Whether connections made for the one are good for the other.
    pub fn is_reached_as(&self, other: &Self) -> bool {
        let other = Self {
            weight: self.weight,
            ..other.clone()
        };
        *self == other
    }

    /// Whether it is in another cluster, or a gateway there.
    pub fn is_elsewhere(&self) -> bool {
        let cluster = |(name, _): &(String, String)| name == "target_cluster";
        self.is_gateway() || self.labels.iter().any(cluster)
    }

    /// Whether the endpoint is the gateway of another cluster.
    pub fn is_gateway(&self) -> bool {
        self.authority.is_some()
    }
}

/// An endpoint from the wire, with the labels of the set it came in. The error says what is wrong.
pub fn convert(
    set_labels: &HashMap<String, String>,
    addr: WeightedAddr,
) -> Result<(SocketAddr, Metadata), String> {
    let tcp = addr.addr.ok_or("an endpoint without an address")?;
    let port = match u16::try_from(tcp.port) {
        Ok(port) if port > 0 => port,
        _ => return Err(format!("an endpoint with port {}", tcp.port)),
    };
    let ip = tcp.ip.ok_or("an endpoint without an IP address")?;
    let ip = std::net::IpAddr::try_from(ip).map_err(|error| error.to_string())?;
    let http2 = addr.http2.unwrap_or_default();
    let hint = addr.protocol_hint.unwrap_or_default();
    let metadata = Metadata {
        tls: addr.tls_identity.map(server_tls).transpose()?.flatten(),
        hint: match hint.protocol {
            None => Hint::Unknown,
            Some(Protocol::H2(_)) => Hint::H2,
            Some(Protocol::Opaque(_)) => Hint::Opaque,
        },
        inbound_port: hint
            .opaque_transport
            .and_then(|t| u16::try_from(t.inbound_port).ok())
            .filter(|port| *port > 0),
        authority: addr
            .authority_override
            .map(|a| authority(&a.authority_override))
            .transpose()?,
        keep_alive: http2.keep_alive.and_then(|keep| {
            Some(KeepAlive {
                interval: duration(keep.interval)?,
                timeout: duration(keep.timeout)?,
                while_idle: keep.while_idle,
            })
        }),
        windows: http2.flow_control.map(|flow| Windows {
            stream: flow.initial_stream_window_size,
            connection: flow.initial_connection_window_size,
            adaptive: flow.adaptive_flow_control,
        }),
        labels: labels(set_labels, addr.metric_labels),
        weight: addr.weight,
    };
    Ok((SocketAddr::new(ip, port), metadata))
}

/// An identity that cannot be read is an error, never "not meshed": that would send plaintext.
fn server_tls(tls: api::TlsIdentity) -> Result<Option<ServerTls>, String> {
    let server_name = tls.server_name.map(|name| name.name);
    let id = match tls.strategy {
        None => return Ok(None),
        Some(Strategy::DnsLikeIdentity(dns)) => dns.name,
        Some(Strategy::UriLikeIdentity(uri)) => uri.uri,
    };
    let id: Id = id.parse().map_err(|error| format!("{error}"))?;
    if matches!(id, Id::Uri(_)) && server_name.is_none() {
        return Err(format!("an endpoint with identity {id} and no server name"));
    }
    Ok(Some(ServerTls { id, server_name }))
}

fn authority(text: &str) -> Result<Authority, String> {
    let uri: http::uri::Authority = text
        .parse()
        .map_err(|_| format!("an endpoint with authority {text:?}"))?;
    if uri.as_str().contains('@') || uri.host().is_empty() || uri.port_u16() == Some(0) {
        return Err(format!("an endpoint with authority {text:?}"));
    }
    Ok(Authority {
        host: uri.host().trim_end_matches('.').to_owned(),
        port: uri.port_u16(),
        uri,
    })
}

fn labels(set: &HashMap<String, String>, own: HashMap<String, String>) -> Arc<[(String, String)]> {
    let mut all: BTreeMap<String, String> = set.clone().into_iter().collect();
    all.extend(own);
    all.into_iter().collect()
}
