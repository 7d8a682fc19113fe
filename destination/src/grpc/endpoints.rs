//! Endpoints as messages: what changed since the last one.

use super::{follow::Step, meta};
use crate::{
    index::Answer,
    view::{Audience, Endpoint, Endpoints, Hint},
};
use linkerd2_proxy_api::destination::{
    AddrSet, AuthorityOverride, Http2ClientParams, NoEndpoints, ProtocolHint, TlsIdentity, Update,
    WeightedAddr, WeightedAddrSet, http2_client_params, protocol_hint, tls_identity, update,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};
use tonic::Status;

/// Every endpoint weighs the same.
const WEIGHT: u32 = 10_000;
/// How a vanished peer of a long-lived HTTP/2 connection is noticed.
const KEEP_ALIVE: (i64, i64) = (10, 3);
/// Windows for connections to other clusters: the usual 64 KiB holds one stream to that much per
/// round trip, and round trips between clusters are long.
const WAN_WINDOWS: (u32, u32) = (16 << 20, 8 << 20);

/// What a stream has told its proxy.
pub(super) struct Diff {
    audience: Audience,
    told: Told,
}

enum Told {
    /// Nothing.
    Nothing,
    /// That there are no endpoints, and whether there is a Service.
    None { exists: bool },
    /// These.
    Some(Arc<Endpoints>),
}

impl Diff {
    /// Of a stream that has said nothing.
    pub(super) fn new(audience: Audience) -> Self {
        Self {
            audience,
            told: Told::Nothing,
        }
    }

    /// What to say now.
    ///
    /// The first message is an `add` of everything or `no_endpoints`, never the one before the
    /// other, as a proxy that reconnects drops what it had on that message. Additions go before
    /// removals, so that there is always an endpoint where there is one.
    pub(super) fn step(&mut self, answer: &Answer<Endpoints>) -> Step<Update> {
        let mut step = match answer {
            Some(endpoints) if !endpoints.addresses.is_empty() => self.some(endpoints),
            Some(_) => self.none(true),
            None => self.none(false),
        };
        if answer.is_none() && self.audience == Audience::Gateway {
            step.end = Some(Status::not_found("no such exported Service"));
        }
        step
    }

    fn none(&mut self, exists: bool) -> Step<Update> {
        let told = std::mem::replace(&mut self.told, Told::None { exists });
        match told {
            Told::None { exists: before } if before == exists => Step::send(None),
            _ => Step::send([update(update::Update::NoEndpoints(NoEndpoints { exists }))]),
        }
    }

    fn some(&mut self, now: &Arc<Endpoints>) -> Step<Update> {
        let before = match std::mem::replace(&mut self.told, Told::Some(now.clone())) {
            Told::Some(before) if before.labels == now.labels => before,
            // Labels of the whole set are only said with an addition, so all are added again.
            _ => return Step::send([add(now, now.addresses.iter())]),
        };
        let changed: Vec<_> = now
            .addresses
            .iter()
            .filter(|(address, endpoint)| before.addresses.get(address) != Some(endpoint))
            .collect();
        let gone: Vec<_> = before
            .addresses
            .keys()
            .filter(|address| !now.addresses.contains_key(address))
            .map(|address| (*address).into())
            .collect();
        let changed = (!changed.is_empty()).then(|| add(now, changed.into_iter()));
        let gone =
            (!gone.is_empty()).then(|| update(update::Update::Remove(AddrSet { addrs: gone })));
        Step::send(changed.into_iter().chain(gone))
    }
}

fn update(update: update::Update) -> Update {
    Update {
        update: Some(update),
    }
}

fn add<'a>(
    set: &Endpoints,
    endpoints: impl Iterator<Item = (&'a SocketAddr, &'a Endpoint)>,
) -> Update {
    let addrs = endpoints
        .map(|(address, endpoint)| weighted(*address, endpoint))
        .collect();
    update(update::Update::Add(WeightedAddrSet {
        addrs,
        metric_labels: labels(&set.labels),
    }))
}

/// One endpoint.
pub(super) fn weighted(address: SocketAddr, endpoint: &Endpoint) -> WeightedAddr {
    WeightedAddr {
        addr: Some(address.into()),
        weight: WEIGHT,
        metric_labels: labels(&endpoint.labels),
        tls_identity: endpoint.identity.as_deref().map(tls_identity),
        protocol_hint: protocol_hint(endpoint),
        authority_override: endpoint
            .authority
            .as_deref()
            .map(|authority| AuthorityOverride {
                authority_override: authority.to_owned(),
            }),
        http2: endpoint.identity.is_some().then(|| http2(endpoint)),
        resource_ref: endpoint
            .pod
            .as_ref()
            .map(|pod| meta::pod(pod, address.port())),
    }
}

fn tls_identity(name: &str) -> TlsIdentity {
    let dns = || tls_identity::DnsLikeIdentity {
        name: name.to_owned(),
    };
    TlsIdentity {
        strategy: Some(tls_identity::Strategy::DnsLikeIdentity(dns())),
        server_name: Some(dns()),
    }
}

fn protocol_hint(endpoint: &Endpoint) -> Option<ProtocolHint> {
    use protocol_hint::{H2, Opaque, OpaqueTransport, Protocol};
    let protocol = match endpoint.hint {
        Hint::Unknown => None,
        Hint::H2 => Some(Protocol::H2(H2 {})),
        Hint::Opaque => Some(Protocol::Opaque(Opaque {})),
    };
    let opaque_transport = endpoint.inbound_port.map(|port| OpaqueTransport {
        inbound_port: port.into(),
    });
    (protocol.is_some() || opaque_transport.is_some()).then_some(ProtocolHint {
        opaque_transport,
        protocol,
    })
}

fn http2(endpoint: &Endpoint) -> Http2ClientParams {
    let (interval, timeout) = KEEP_ALIVE;
    let (connection, stream) = WAN_WINDOWS;
    let wan = endpoint.authority.is_some();
    Http2ClientParams {
        flow_control: wan.then_some(http2_client_params::FlowControl {
            initial_connection_window_size: connection,
            initial_stream_window_size: stream,
            adaptive_flow_control: false,
        }),
        keep_alive: Some(http2_client_params::KeepAlive {
            interval: meta::seconds(interval),
            timeout: meta::seconds(timeout),
            while_idle: true,
        }),
        internals: None,
    }
}

fn labels(labels: &BTreeMap<Arc<str>, Arc<str>>) -> HashMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}
