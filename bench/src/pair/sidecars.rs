//! Pairs of sidecars that ask a control plane: ours, behind a gateway or not, and stock ones.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use linkerd2_proxy_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use mesh_contract::env::PREFIX;
use stage::{ControlPlane, answers};

use super::{Pair, Routes, reach};
use crate::{
    app,
    child::Child,
    load::Route,
    place::{CLIENT, GATEWAY, Host, Place, SERVER},
    relay,
};

const OUTBOUND: u16 = 4140;
const INBOUND: u16 = 4143;
const ADMIN: u16 = 4191;
/// By its number the load says whom it means (see `shim/original_dst.c`).
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;
const BYTES: u8 = 3;
const ROUTES: u8 = 4;
const ENDPOINTS: u8 = 5;
const CLEAR: u8 = 6;
const FAR: u8 = 7;

/// What sidecars need besides their binary.
pub(crate) struct Stage<'a> {
    pub(crate) place: &'a Place,
    pub(crate) control: &'a ControlPlane,
    /// What answers SO_ORIGINAL_DST.
    pub(crate) shim: PathBuf,
}

/// Our pair, and gateways in front of the server, each behind its distance.
pub(crate) struct Sidecars {
    pub(crate) pair: Pair,
    gateway: Option<Child>,
}

fn path(number: u8) -> String {
    format!("service-{number}.bench.svc.cluster.local:80")
}

impl Stage<'_> {
    /// What the client calls: `number` is an application of the server's.
    fn script(&self) {
        let control = self.control;
        for (number, port) in [
            (HTTP1, app::HTTP1),
            (HTTP2, app::HTTP2),
            (BYTES, app::BYTES),
        ] {
            let path = path(number);
            let policy = match number {
                BYTES => answers::opaque_service(&path),
                _ => answers::service(&path),
            };
            control.inbound(port, answers::open_port());
            control.outbound(format!("10.200.0.{number}:80"), policy);
            let server = self.place.addr(Host::Server, port);
            control.endpoints(&path, vec![answers::meshed(server, SERVER, INBOUND)]);
        }
        let clear = path(CLEAR);
        let server = self.place.addr(Host::Server, app::BYTES);
        let policy = answers::opaque_service(&clear);
        control.outbound(format!("10.200.0.{CLEAR}:80"), policy);
        control.endpoints(&clear, vec![answers::plain(server)]);
    }

    fn route(&self, number: u8) -> Route {
        Route {
            to: self.place.addr(Host::Client, OUTBOUND),
            from: Some(self.place.ip(Host::Load(number))),
        }
    }

    fn routes(&self) -> Routes {
        Routes {
            http1: self.route(HTTP1),
            http2: self.route(HTTP2),
            bytes: self.route(BYTES),
            clear: self.route(CLEAR),
        }
    }

    /// A sidecar in the `loopback` network.
    fn sidecar(
        &self,
        name: &str,
        binary: &Path,
        (host, id): (Host, &str),
        more: &[(&str, &str)],
    ) -> anyhow::Result<Child> {
        let ip = self.place.ip(host);
        let token = self.place.dir().join("token");
        let mut command = Command::new(binary);
        command.envs(stage::vars(self.control, ip, id, &token));
        let ports = [
            ("OUTBOUND_LISTEN_ADDR", OUTBOUND),
            ("INBOUND_LISTEN_ADDR", INBOUND),
            ("ADMIN_LISTEN_ADDR", ADMIN),
        ];
        for (key, port) in ports {
            let addr = self.place.addr(host, port).to_string();
            command.env(format!("{PREFIX}{key}"), addr);
        }
        for (key, value) in more {
            command.env(format!("{PREFIX}{key}"), value);
        }
        command.env(format!("{PREFIX}CORES"), "1");
        command.env("LD_PRELOAD", &self.shim);
        let mut child = Child::start(name, self.place.dir(), &command)?;
        reach(ip, INBOUND, Duration::from_secs(20), &mut child)?;
        Ok(child)
    }
}

impl Sidecars {
    /// Ours.
    pub(crate) fn start(stage: &Stage<'_>, binary: &Path) -> anyhow::Result<Self> {
        stage.script();
        let server = stage.sidecar("mesh-server", binary, (Host::Server, SERVER), &[])?;
        let client = stage.sidecar("mesh-client", binary, (Host::Client, CLIENT), &[])?;
        let pair = Pair {
            name: "mesh".to_owned(),
            client,
            server,
            routes: stage.routes(),
        };
        Ok(Self {
            pair: pair.ready()?,
            gateway: None,
        })
    }

    /// The HTTP/2 application through a gateway that is `round_trip` away; `index` tells distances
    /// apart.
    pub(crate) fn far(
        &mut self,
        stage: &Stage<'_>,
        binary: &Path,
        (index, round_trip): (u8, Duration),
    ) -> anyhow::Result<Route> {
        if self.gateway.is_none() {
            let suffix = [("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.")];
            let gateway = (Host::Gateway, GATEWAY);
            self.gateway = Some(stage.sidecar("mesh-gateway", binary, gateway, &suffix)?);
        }
        let (near, there) = (FAR + index, path(HTTP2));
        let relay = stage.place.addr(Host::Relay, INBOUND + u16::from(index));
        let gateway = stage.place.addr(Host::Gateway, INBOUND);
        relay::start(relay, gateway, round_trip)?;
        // What the gateway asks for, and what the client does.
        stage.control.outbound(&there, answers::service(&there));
        let near_path = path(near);
        let target = format!("10.200.0.{near}:80");
        stage.control.outbound(target, answers::service(&near_path));
        let endpoint = answers::gateway(relay, GATEWAY, &there);
        stage.control.endpoints(&near_path, vec![endpoint]);
        Ok(stage.route(near))
    }
}

/// What grows.
pub(crate) mod growth {
    use super::*;

    /// A service with so many routes, of which a request takes the last.
    pub(crate) fn routes(stage: &Stage<'_>, count: usize) -> Route {
        let number = ROUTES + 16 * level(count);
        let path = path(number);
        let prefix = |n| HttpRouteMatch {
            path: Some(PathMatch {
                kind: Some(path_match::Kind::Prefix(format!("/route/{n}"))),
            }),
            ..HttpRouteMatch::default()
        };
        let mut all: Vec<_> = (1..count)
            .map(|n| answers::http_route(&path, vec![prefix(n)]))
            .collect();
        all.push(answers::http_route(&path, Vec::new()));
        let server = stage.place.addr(Host::Server, app::HTTP1);
        let endpoint = answers::meshed(server, SERVER, INBOUND);
        stage.control.endpoints(&path, vec![endpoint]);
        let target = format!("10.200.0.{number}:80");
        stage.control.outbound(target, answers::routes(&path, all));
        stage.route(number)
    }

    /// A service with so many endpoints, all of which are the server.
    pub(crate) fn endpoints(stage: &Stage<'_>, count: usize) -> Route {
        let number = ENDPOINTS + 16 * level(count);
        let path = path(number);
        let endpoint = |i: usize| {
            let host = Host::Endpoint(u16::try_from(i).unwrap_or(u16::MAX));
            answers::meshed(stage.place.addr(host, app::HTTP1), SERVER, INBOUND)
        };
        let all = (0..count).map(endpoint).collect();
        stage.control.endpoints(&path, all);
        let target = format!("10.200.0.{number}:80");
        stage.control.outbound(target, answers::service(&path));
        stage.route(number)
    }

    /// Tells 1, 10, 100, … apart.
    fn level(count: usize) -> u8 {
        u8::try_from(count.max(1).ilog10()).unwrap_or(u8::MAX)
    }
}

/// Stock sidecars. They never connect to loopback addresses, so the run must have been given one
/// that is not.
pub(crate) fn stock(stage: &Stage<'_>, binary: &Path) -> anyhow::Result<Pair> {
    stage.script();
    let start = |name: &str, host: Host, id: &str| {
        let identity = stage.place.stock_identity(id)?;
        let more = [("IDENTITY_DIR", identity.as_str())];
        stage.sidecar(name, binary, (host, id), &more)
    };
    let server = start("stock-server", Host::Server, SERVER)?;
    let client = start("stock-client", Host::Client, CLIENT)?;
    Pair {
        name: "linkerd2-proxy".to_owned(),
        client,
        server,
        routes: stage.routes(),
    }
    .ready()
}
