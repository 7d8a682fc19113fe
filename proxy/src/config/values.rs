//! Values that several sections share.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};

use super::vars::Vars;

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
    /// How long a client may take to send a request's head, and the preface of HTTP/2.
    pub header_timeout: Duration,
    /// How long a client may keep an HTTP/1 connection without a request.
    pub idle_timeout: Duration,
    /// The same for HTTP/2; `None`: as long as it answers pings.
    pub h2_idle_timeout: Option<Duration>,
    /// HTTP/2.
    pub h2: Http2,
}

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// DNS suffixes, without dots at either end, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixes(Arc<[String]>);

impl Backoff {
    /// From `<prefix>_EXP_BACKOFF_{MIN,MAX,JITTER}`.
    pub(super) fn parse(vars: &Vars<'_>, prefix: &str, max: Duration) -> Self {
        let key = |name: &str| format!("{prefix}_EXP_BACKOFF_{name}");
        let (min, longest) = (vars.duration(&key("MIN")), vars.duration(&key("MAX")));
        let right = "a number from 0 to 1";
        let jitter = vars.parse(&key("JITTER"), right, |text| {
            text.parse::<f64>()
                .ok()
                .filter(|jitter| (0.0..=1.0).contains(jitter))
        });
        let backoff = Self {
            min: min.unwrap_or(Duration::from_millis(100)),
            max: longest.unwrap_or(max),
            jitter: jitter.unwrap_or(0.1),
        };
        if backoff.min > backoff.max || (backoff.min.is_zero() && min.is_some()) {
            vars.mistake(
                &key("MIN"),
                "must be above 0 and not above the maximum pause",
            );
        }
        backoff
    }
}

impl Tcp {
    /// From `<prefix>_{KEEPALIVE,USER_TIMEOUT}`.
    pub(super) fn parse(vars: &Vars<'_>, prefix: &str) -> Self {
        Self {
            keepalive: vars.duration(&format!("{prefix}_KEEPALIVE")),
            user_timeout: vars.duration(&format!("{prefix}_USER_TIMEOUT")),
        }
    }
}

impl Http2 {
    /// Windows that keep a link of 50 ms busy at 100 Mbit/s a stream; the fixed 64 KiB of RFC 9113
    /// would allow a tenth of that. Between clusters it is [`Http2::across_clusters`].
    pub(crate) const DEFAULT: Self = Self {
        stream_window: 1024 * 1024,
        connection_window: 8 * 1024 * 1024,
        adaptive: false,
        // More than one peer has use for; without a limit one could take all requests in flight.
        max_concurrent_streams: Some(10_000),
        max_frame_size: None,
        max_header_list_size: 16 * 1024,
        max_send_buffer: 400 * 1024,
        // A gateway, whose connection to a pod carries the requests of many, gives up all of one
        // client's at once when that client goes. The library's 20 would end the connection, and
        // with it the requests of all others.
        max_pending_accept_reset_streams: Some(1_000),
        // Whoever is gone without a word is given up.
        keep_alive_interval: Some(Duration::from_secs(30)),
        keep_alive_timeout: Some(Duration::from_secs(20)),
    };

    /// For a connection to or from another cluster, unless windows were configured: 100 MB/s a
    /// stream at 50 ms take 5 MiB in flight, and windows open again when half of them was read.
    /// There are few such connections, and the window of each bounds what it can hold.
    pub(crate) fn across_clusters(self) -> Self {
        let windows = (self.stream_window, self.connection_window);
        let default = Self::DEFAULT;
        if self.adaptive || windows != (default.stream_window, default.connection_window) {
            return self;
        }
        Self {
            stream_window: 16 * 1024 * 1024,
            connection_window: 64 * 1024 * 1024,
            ..self
        }
    }

    /// From `HTTP2_INITIAL_*`.
    pub(super) fn parse_client(vars: &Vars<'_>) -> Self {
        Self {
            stream_window: window(vars, "HTTP2_INITIAL_STREAM_WINDOW_SIZE")
                .unwrap_or(Self::DEFAULT.stream_window),
            connection_window: window(vars, "HTTP2_INITIAL_CONNECTION_WINDOW_SIZE")
                .unwrap_or(Self::DEFAULT.connection_window),
            ..Self::DEFAULT
        }
    }

    /// From `<prefix>_SERVER_HTTP2_*`.
    fn parse_server(vars: &Vars<'_>, prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}_SERVER_HTTP2_{name}");
        let default = Self::DEFAULT;
        let frame = vars.parse(&key("MAX_FRAME_SIZE"), "from 16384 to 16777215", |text| {
            text.parse()
                .ok()
                .filter(|size| (16_384..=16_777_215).contains(size))
        });
        Self {
            stream_window: window(vars, &key("INITIAL_STREAM_WINDOW_SIZE"))
                .unwrap_or(default.stream_window),
            connection_window: window(vars, &key("INITIAL_CONNECTION_WINDOW_SIZE"))
                .unwrap_or(default.connection_window),
            adaptive: vars.flag(&key("ADAPTIVE_FLOW_CONTROL")),
            max_concurrent_streams: vars
                .number(&key("MAX_CONCURRENT_STREAMS"))
                .or(default.max_concurrent_streams),
            max_frame_size: frame,
            max_header_list_size: vars
                .number(&key("MAX_HEADER_LIST_SIZE"))
                .unwrap_or(default.max_header_list_size),
            max_send_buffer: vars
                .number::<u32>(&key("MAX_SEND_BUF_SIZE"))
                .map_or(default.max_send_buffer, |size| size as usize),
            max_pending_accept_reset_streams: vars
                .number(&key("MAX_PENDING_ACCEPT_RESET_STREAMS"))
                .or(default.max_pending_accept_reset_streams),
            keep_alive_interval: vars
                .duration(&key("KEEP_ALIVE_INTERVAL"))
                .or(default.keep_alive_interval),
            keep_alive_timeout: vars
                .duration(&key("KEEP_ALIVE_TIMEOUT"))
                .or(default.keep_alive_timeout),
        }
    }
}

impl HttpServer {
    pub(super) fn parse(vars: &Vars<'_>, prefix: &str) -> Self {
        Self {
            // Stock proxies wait forever, and so can be made to hold any number of connections.
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(5 * 60),
            h2_idle_timeout: Some(Duration::from_secs(5 * 60)),
            h2: Http2::parse_server(vars, prefix),
        }
    }
}

impl Ports {
    /// `80,443,8000-8080`.
    pub(super) fn parse(vars: &Vars<'_>, key: &str) -> Self {
        let right = "a list of ports and ranges such as 80,8000-8080";
        Self(vars.list(key, right, port_range).unwrap_or_default())
    }

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

impl FromIterator<u16> for Ports {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Self(ports.into_iter().map(|port| port..=port).collect())
    }
}

impl Suffixes {
    /// `svc.cluster.local.,example.com`; a lone dot means every name.
    pub(super) fn parse(vars: &Vars<'_>, key: &str) -> Option<Self> {
        let right = "a list of DNS suffixes such as svc.cluster.local.";
        vars.list(key, right, suffix).map(|list| Self(list.into()))
    }

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

impl<'a> FromIterator<&'a str> for Suffixes {
    /// Those that are DNS suffixes.
    fn from_iter<T: IntoIterator<Item = &'a str>>(suffixes: T) -> Self {
        Self(suffixes.into_iter().filter_map(suffix).collect())
    }
}

fn window(vars: &Vars<'_>, key: &str) -> Option<u32> {
    // RFC 9113: windows are 31 bits.
    vars.parse(key, "a size from 1 to 2147483647", |text| {
        text.parse::<u32>()
            .ok()
            .filter(|size| (1..=i32::MAX as u32).contains(size))
    })
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (port(from)?, port(to)?),
        None => (port(text)?, port(text)?),
    };
    (from <= to).then_some(from..=to)
}

fn suffix(text: &str) -> Option<String> {
    if text == "." {
        return Some(String::new());
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.split('.')
        .all(label)
        .then(|| name.to_ascii_lowercase())
}

/// IP networks, or addresses as networks of one.
pub(super) fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse()
        .ok()
        .or_else(|| Some(text.parse::<std::net::IpAddr>().ok()?.into()))
}
