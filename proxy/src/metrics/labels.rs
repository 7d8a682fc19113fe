//! Labels: what series are told apart by, rendered once and escaped.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

/// Which half a series belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// What the workload receives.
    Inbound,
    /// What the workload sends.
    Outbound,
}

/// Which side of the proxy a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// It was accepted.
    Src,
    /// It was dialled.
    Dst,
}

/// The TLS labels of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsLabels {
    /// Mesh TLS; the client's identity as a server saw it.
    Client(Option<Arc<str>>),
    /// Mesh TLS; the server's identity as a client verified it.
    Server(Arc<str>),
    /// Somebody else's TLS, passed through.
    Opaque(Option<Arc<str>>),
    /// None, and why: `no_tls_from_remote`, `port_skipped`, `loopback`,
    /// `not_provided_by_service_discovery`.
    None(&'static str),
}

/// Labels of an outbound endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundLabels {
    /// The logical `name:port`.
    pub authority: Arc<str>,
    /// The endpoint.
    pub target: SocketAddr,
    /// How it is reached.
    pub tls: TlsLabels,
    /// Discovery's labels (`namespace`, `pod`, …), sorted; shown with the prefix `dst_`.
    pub dst: Arc<[(String, String)]>,
}

/// Which object of a policy a series is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// API group; empty for defaults.
    pub group: Arc<str>,
    /// Kind; `default` for defaults.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// An object of an outbound policy: a Service, a route, a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// API group; empty for defaults.
    pub group: Arc<str>,
    /// Kind; `default` for defaults.
    pub kind: Arc<str>,
    /// Namespace; empty for defaults.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The part of it that is meant, if it has parts with names.
    pub section: Arc<str>,
    /// The port that is meant.
    pub port: Option<u16>,
}

/// Labels of a port of the workload and one of its clients.
#[derive(Clone, Debug)]
pub struct InboundLabels<'a> {
    /// The port, at the address the client used.
    pub target: SocketAddr,
    /// How the client came.
    pub tls: &'a TlsLabels,
    /// The server whose policy holds.
    pub server: &'a Meta,
    /// The route, for HTTP.
    pub route: Option<&'a Meta>,
    /// What allowed it.
    pub authz: Option<&'a Meta>,
}

impl Meta {
    /// Whether it lets everybody in for the time being, and says who came. An object of a user's
    /// may have that name, too.
    pub fn is_audit(&self) -> bool {
        &*self.kind == "default" && &*self.name == "audit"
    }

    /// An implicit object.
    pub fn default_named(name: &str) -> Self {
        Self {
            group: "".into(),
            kind: "default".into(),
            name: name.into(),
        }
    }
}

impl Object {
    /// An implicit object.
    pub fn default_named(name: &str) -> Self {
        Self {
            group: "".into(),
            kind: "default".into(),
            namespace: "".into(),
            name: name.into(),
            section: "".into(),
            port: None,
        }
    }
}

/// `name="value",…`, without braces.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn of(direction: Direction) -> Self {
        let direction = match direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        Self::default().with("direction", direction)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    pub(super) fn peer(self, peer: Peer) -> Self {
        let peer = match peer {
            Peer::Src => "src",
            Peer::Dst => "dst",
        };
        self.with("peer", peer)
    }

    pub(super) fn target(self, target: SocketAddr) -> Self {
        self.with("target_addr", &target.to_string())
            .with("target_ip", &target.ip().to_string())
            .with("target_port", &target.port().to_string())
    }

    pub(super) fn tls(self, tls: &TlsLabels) -> Self {
        match tls {
            TlsLabels::Client(id) => self
                .with("tls", "true")
                .with("client_id", id.as_deref().unwrap_or_default()),
            TlsLabels::Server(id) => self.with("tls", "true").with("server_id", id),
            TlsLabels::Opaque(sni) => self
                .with("tls", "opaque")
                .with("sni", sni.as_deref().unwrap_or_default()),
            TlsLabels::None(reason) => self
                .with("tls", "no_identity")
                .with("no_tls_reason", reason),
        }
    }

    pub(super) fn meta(self, prefix: &str, meta: &Meta) -> Self {
        self.with(&format!("{prefix}_group"), &meta.group)
            .with(&format!("{prefix}_kind"), &meta.kind)
            .with(&format!("{prefix}_name"), &meta.name)
    }

    /// A route: what it is called, not which part of it.
    pub(super) fn route(self, route: &Object) -> Self {
        self.named("route", route)
    }

    /// A parent or backend: also the port.
    pub(super) fn service(self, prefix: &str, service: &Object) -> Self {
        let port = service.port.map(|port| port.to_string());
        self.named(prefix, service)
            .with(&format!("{prefix}_port"), &port.unwrap_or_default())
            .with(&format!("{prefix}_section_name"), &service.section)
    }

    fn named(self, prefix: &str, object: &Object) -> Self {
        self.with(&format!("{prefix}_group"), &object.group)
            .with(&format!("{prefix}_kind"), &object.kind)
            .with(&format!("{prefix}_namespace"), &object.namespace)
            .with(&format!("{prefix}_name"), &object.name)
    }

    pub(super) fn inbound(self, labels: &InboundLabels<'_>) -> Self {
        let mut all = self
            .target(labels.target)
            .tls(labels.tls)
            .meta("srv", labels.server)
            .with("srv_port", &labels.target.port().to_string());
        if let Some(route) = labels.route {
            all = all.meta("route", route);
        }
        if let Some(authz) = labels.authz {
            all = all.meta("authz", authz);
        }
        all
    }

    pub(super) fn outbound(self, labels: &OutboundLabels) -> Self {
        let mut all = self
            .with("authority", &labels.authority)
            .target(labels.target)
            .tls(&labels.tls);
        for (name, value) in labels.dst.iter() {
            all.push(&format!("dst_{}", label_name(name)), value);
        }
        all
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    pub(super) fn finish(self) -> Arc<str> {
        self.0.into()
    }
}

/// Writes `name{labels,more} value`.
pub(super) fn sample(
    out: &mut String,
    name: &str,
    labels: &str,
    more: &Labels,
    value: impl std::fmt::Display,
) {
    let comma = match labels.is_empty() || more.0.is_empty() {
        true => "",
        false => ",",
    };
    // Writing to a string cannot fail.
    let _ = match labels.is_empty() && more.0.is_empty() {
        true => writeln!(out, "{name} {value}"),
        false => writeln!(out, "{name}{{{labels}{comma}{}}} {value}", more.0),
    };
}

pub(super) fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Discovery's label names are foreign text too.
pub(super) fn label_name(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c,
            _ => '_',
        })
        .collect()
}
