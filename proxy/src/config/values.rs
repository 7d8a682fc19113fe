//! Values that several sections share.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};

/// Exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// First pause.
    pub min: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Share of the pause that may be added at random.
    pub jitter: f64,
}

/// Options of accepted or dialled sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Idle time before keep-alive probes.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// HTTP/2 settings of one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Window of a stream.
    pub stream_window: u32,
    /// Window of the connection.
    pub connection_window: u32,
    /// Let windows follow the measured bandwidth-delay product instead.
    pub adaptive: bool,
    /// Most concurrent streams of a client.
    pub max_concurrent_streams: Option<u32>,
    /// Largest frame.
    pub max_frame_size: Option<u32>,
    /// Largest header list.
    pub max_header_list_size: u32,
    /// Most bytes buffered for sending on a stream.
    pub max_send_buffer: usize,
    /// Most resets before they were accepted.
    pub max_pending_accept_reset_streams: Option<usize>,
    /// Pause between pings.
    pub keep_alive_interval: Option<Duration>,
    /// How long a ping may stay unanswered.
    pub keep_alive_timeout: Option<Duration>,
}

/// Settings of an HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// HTTP/2.
    pub h2: Http2,
}

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub(crate) Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// Each port once, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        let ports: BTreeSet<u16> = self.0.iter().flat_map(Clone::clone).collect();
        ports.into_iter()
    }
}

/// DNS suffixes, without dots at either end, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixes(pub(crate) Arc<[String]>);

impl Suffixes {
    /// Whether `name` is one of the suffixes or below one.
    pub fn contains(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|suffix| {
            suffix.is_empty()
                || name
                    .strip_suffix(suffix.as_str())
                    .is_some_and(|head| head.is_empty() || head.ends_with('.'))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
