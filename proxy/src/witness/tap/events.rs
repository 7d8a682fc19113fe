//! What a tap is told of a request. Pure.

use std::{collections::HashMap, net::SocketAddr, sync::OnceLock, time::Duration};

use http::{HeaderMap, Request, Response};
use linkerd2_proxy_api::{
    http_types::{Headers, headers::Header},
    tap::{
        Eos, TapEvent,
        tap_event::{
            self as api, EndpointMeta, Http, ProxyDirection, RouteMeta,
            http::{self as http_event, StreamId},
        },
    },
};

use super::{
    super::{Outcome, Subject},
    matches::authority,
};
use crate::metrics::{Direction, TlsLabels};

/// What all events of a request have in common.
pub(super) struct Event {
    source: SocketAddr,
    destination: SocketAddr,
    source_labels: HashMap<String, String>,
    destination_labels: HashMap<String, String>,
    direction: ProxyDirection,
    stream: u64,
    headers: bool,
}

impl Event {
    pub(super) fn new(subject: Subject<'_>, stream: u64, headers: bool) -> Self {
        let tls = tls(subject.tls);
        let (mut source, mut destination) = (HashMap::new(), HashMap::new());
        let direction = match subject.direction {
            Direction::Inbound => {
                source = tls;
                ProxyDirection::Inbound
            }
            Direction::Outbound => {
                destination = tls;
                ProxyDirection::Outbound
            }
        };
        destination.extend(subject.labels.iter().cloned());
        Self {
            source: subject.client,
            destination: subject.server,
            source_labels: source,
            destination_labels: destination,
            direction,
            stream,
            headers,
        }
    }

    pub(super) fn request<B>(&self, request: &Request<B>) -> TapEvent {
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        self.event(http_event::Event::RequestInit(http_event::RequestInit {
            id: Some(self.id()),
            method: Some(request.method().clone().into()),
            scheme: uri.scheme().map(Into::into),
            authority: authority(request).to_owned(),
            path: path.to_owned(),
            headers: self.headers(request.headers()),
        }))
    }

    pub(super) fn response<B>(&self, since: Duration, response: &Response<B>) -> TapEvent {
        self.event(http_event::Event::ResponseInit(http_event::ResponseInit {
            id: Some(self.id()),
            since_request_init: duration(since),
            http_status: response.status().as_u16().into(),
            headers: self.headers(response.headers()),
        }))
    }

    pub(super) fn end(&self, outcome: &Outcome<'_>) -> TapEvent {
        /// HTTP/2's code for an error of a proxy.
        const INTERNAL: u32 = 2;
        let eos = match (outcome.grpc, outcome.whole) {
            (Some(code), _) => Some(Eos::from_grpc_status(code.into())),
            (None, true) => None,
            (None, false) => Some(Eos {
                end: Some(linkerd2_proxy_api::tap::eos::End::ResetErrorCode(INTERNAL)),
            }),
        };
        self.event(http_event::Event::ResponseEnd(http_event::ResponseEnd {
            id: Some(self.id()),
            since_request_init: duration(outcome.begun.elapsed()),
            since_response_init: duration(outcome.answered.elapsed()),
            response_bytes: outcome.bytes,
            eos,
            trailers: outcome.trailers.and_then(|trailers| self.headers(trailers)),
        }))
    }

    fn event(&self, event: http_event::Event) -> TapEvent {
        TapEvent {
            source: Some(self.source.into()),
            source_meta: Some(EndpointMeta {
                labels: self.source_labels.clone(),
            }),
            route_meta: Some(RouteMeta::default()),
            destination: Some(self.destination.into()),
            destination_meta: Some(EndpointMeta {
                labels: self.destination_labels.clone(),
            }),
            proxy_direction: self.direction.into(),
            event: Some(api::Event::Http(Http { event: Some(event) })),
        }
    }

    fn id(&self) -> StreamId {
        static BASE: OnceLock<u32> = OnceLock::new();
        StreamId {
            base: *BASE.get_or_init(rand::random),
            stream: self.stream,
        }
    }

    fn headers(&self, headers: &HeaderMap) -> Option<Headers> {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
            name: name.to_string(),
            value: value.as_bytes().to_vec(),
        };
        self.headers.then(|| Headers {
            headers: headers.iter().map(header).collect(),
        })
    }
}

fn duration(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}

fn tls(tls: &TlsLabels) -> HashMap<String, String> {
    let pairs = match tls {
        TlsLabels::Client(id) => vec![("tls", "true"), ("client_id", id.as_deref().unwrap_or(""))],
        TlsLabels::Server(id) => vec![("tls", "true"), ("server_id", id)],
        TlsLabels::Opaque(_) => vec![("tls", "opaque")],
        TlsLabels::None(reason) => vec![("tls", "no_identity"), ("no_tls_reason", reason)],
    };
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    pairs.into_iter().map(owned).collect()
}
