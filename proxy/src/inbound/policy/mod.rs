//! Who may reach a port, and what is spoken there.
//!
//! [`ServerPolicy`] is what the control plane (or, until it answers, the configured default) says
//! about one port. [`watch`] keeps it fresh; the connection and request paths only read it.
//! Deciding is pure: nothing here does I/O.

pub(in crate::inbound) mod ports;
mod proto;
pub mod rate;
pub mod watch;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    config::{DefaultPolicy, Inbound},
    http::route::{self, Found, Route},
    metrics::Meta,
};

/// The policy of one port.
#[derive(Debug)]
pub struct ServerPolicy {
    /// What is spoken.
    pub protocol: Protocol,
    /// Who may come, unless a route says more. Any one suffices; none means nobody.
    pub authorizations: Vec<Authorization>,
    /// How many requests it takes.
    pub rate_limit: Option<rate::RateLimit>,
    /// The object it was made from.
    pub meta: Meta,
}

/// What a port speaks.
#[derive(Debug)]
pub enum Protocol {
    /// Find out; silence for `timeout` means opaque.
    Detect {
        /// How long the first bytes may take.
        timeout: Duration,
        /// Routes, if it is HTTP.
        http: Routes,
    },
    /// HTTP/1 (from mesh clients possibly as HTTP/2).
    Http1(Routes),
    /// HTTP/2, gRPC included.
    Http2(Routes),
    /// Bytes; even mesh TLS is not looked at.
    Opaque,
    /// The workload's own TLS.
    Tls,
}

/// Routes of an HTTP port.
pub type Routes = Vec<Route<Permit>>;

/// What a rule of a route allows.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Who may use the route, besides those the server allows.
    pub authorizations: Arc<[Authorization]>,
    /// The object it was made from.
    pub meta: Meta,
    /// Whether its requests are calls of gRPC.
    pub grpc: bool,
}

/// One reason to let a client in.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Where it must come from: one of these.
    pub networks: Vec<Network>,
    /// Who it must be.
    pub authentication: Authentication,
    /// The object it was made from.
    pub meta: Meta,
}

/// A network with holes.
#[derive(Clone, Debug)]
pub struct Network {
    /// The network.
    pub net: IpNet,
    /// Parts of it that do not count.
    pub except: Vec<IpNet>,
}

/// Who a client must be.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Anyone.
    Unauthenticated,
    /// Anyone who speaks mesh TLS.
    MeshTls,
    /// One of these.
    Identities {
        /// Literally.
        names: Vec<String>,
        /// DNS identities that end so (labels joined by dots); an empty one is any identity.
        suffixes: Vec<String>,
    },
}

/// A client as authorisations see it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// `Some` if it spoke mesh TLS to us; inside, who it proved to be.
    pub mesh_tls: Option<Option<&'a mesh_tls::Id>>,
}

impl ServerPolicy {
    /// The configured default for `port`.
    pub fn default_for(port: u16, config: &Inbound) -> Self {
        let policy = config.default_policy;
        let meta = Meta::default_named(policy.as_str());
        let authorizations = match policy {
            DefaultPolicy::Deny => Vec::new(),
            DefaultPolicy::Audit => vec![Authorization::any(&meta)],
            DefaultPolicy::Allow {
                authenticated,
                cluster,
            } => vec![Authorization {
                networks: match cluster {
                    true => config.cluster_networks.iter().map(Network::whole).collect(),
                    false => Network::everywhere(),
                },
                authentication: match authenticated {
                    true => Authentication::any_identity(),
                    false => Authentication::Unauthenticated,
                },
                meta: meta.clone(),
            }],
        };
        let protocol = match config.opaque_ports.contains(port) {
            true => Protocol::Opaque,
            false => Protocol::Detect {
                timeout: config.detect_timeout,
                http: default_route(),
            },
        };
        Self {
            protocol,
            authorizations,
            rate_limit: None,
            meta,
        }
        .with_localhost()
    }

    /// Adds what holds for every port: the pod may talk to itself.
    fn with_localhost(mut self) -> Self {
        self.authorizations.push(Authorization {
            networks: [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .map(|ip: IpAddr| Network::whole(&ip.into()))
                .into(),
            authentication: Authentication::Unauthenticated,
            meta: Meta::default_named("localhost"),
        });
        self
    }

    /// What lets a client open a connection whose requests are not looked at. `None`: nothing.
    ///
    /// A port that speaks HTTP has only rules for requests, so nobody may bypass them.
    pub fn authorize_tcp(&self, client: Client<'_>) -> Option<&Authorization> {
        match self.protocol {
            Protocol::Detect { .. } | Protocol::Opaque | Protocol::Tls => {
                self.authorizations.iter().find(|a| a.allows(client))
            }
            Protocol::Http1(_) | Protocol::Http2(_) => None,
        }
    }

    /// Whether there is any request or connection that the client may make.
    pub fn allows_anything(&self, client: Client<'_>) -> bool {
        let routes: &[Route<Permit>] = match &self.protocol {
            Protocol::Detect { http, .. } | Protocol::Http1(http) | Protocol::Http2(http) => http,
            Protocol::Opaque | Protocol::Tls => &[],
        };
        let rules = routes.iter().flat_map(|route| &route.rules);
        let of_routes = rules.flat_map(|rule| rule.then.authorizations.iter());
        let mut all = self.authorizations.iter().chain(of_routes);
        all.any(|authorization| authorization.allows(client))
    }

    /// The rule a request takes. `None`: there is no route for it.
    pub fn find<B>(&self, request: &http::Request<B>) -> Option<Found<'_, Permit>> {
        match &self.protocol {
            Protocol::Detect { http, .. } | Protocol::Http1(http) | Protocol::Http2(http) => {
                route::find(http, request)
            }
            Protocol::Opaque | Protocol::Tls => None,
        }
    }

    /// What lets a client send a request that takes `permit`'s route. `None`: nothing.
    pub fn authorize_http<'p>(
        &'p self,
        permit: &'p Permit,
        client: Client<'_>,
    ) -> Option<&'p Authorization> {
        permit
            .authorizations
            .iter()
            .chain(&self.authorizations)
            .find(|a| a.allows(client))
    }
}

impl Authorization {
    fn any(meta: &Meta) -> Self {
        Self {
            networks: Network::everywhere(),
            authentication: Authentication::Unauthenticated,
            meta: meta.clone(),
        }
    }

    /// Whether this lets the client in.
    pub fn allows(&self, client: Client<'_>) -> bool {
        self.networks.iter().any(|n| n.contains(client.ip)) && self.authentication.allows(client)
    }
}

impl Authentication {
    fn any_identity() -> Self {
        Self::Identities {
            names: Vec::new(),
            suffixes: vec![String::new()],
        }
    }

    fn allows(&self, client: Client<'_>) -> bool {
        match self {
            Self::Unauthenticated => true,
            Self::MeshTls => client.mesh_tls.is_some(),
            Self::Identities { names, suffixes } => {
                let Some(Some(id)) = client.mesh_tls else {
                    return false;
                };
                names.iter().any(|name| name == id.as_str())
                    || suffixes.iter().any(|suffix| is_below(id, suffix))
            }
        }
    }
}

/// Whether an identity ends in `suffix`. Only DNS names have parts that mean something from the
/// right; a URI is matched by the empty suffix alone.
pub(crate) fn is_below(id: &mesh_tls::Id, suffix: &str) -> bool {
    if suffix.is_empty() {
        return true;
    }
    let mesh_tls::Id::Dns(name) = id else {
        return false;
    };
    name.strip_suffix(suffix)
        .is_some_and(|head| head.ends_with('.'))
}

impl Network {
    fn whole(net: &IpNet) -> Self {
        Self {
            net: *net,
            except: Vec::new(),
        }
    }

    fn everywhere() -> Vec<Self> {
        let zero: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        zero.into_iter()
            .filter_map(|ip| IpNet::new(ip, 0).ok())
            .map(|net| Self::whole(&net))
            .collect()
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(&ip) && !self.except.iter().any(|net| net.contains(&ip))
    }
}

/// The route of ports without routes: everything.
fn default_route() -> Routes {
    vec![Route::any(Permit {
        authorizations: Arc::default(),
        meta: Meta::default_named("default"),
        grpc: false,
    })]
}

#[cfg(test)]
mod tests;
