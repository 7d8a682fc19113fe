//! Who may watch: access log, taps, traces. All off unless configured.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mesh_contract::ports;

use super::{ControlAddr, attributes, vars::Vars};
use crate::witness::access_log::Format;

/// The section.
#[derive(Clone, Debug)]
pub struct Observe {
    /// How requests the workload received are logged.
    pub access_log: Option<Format>,
    /// Where taps are served.
    pub tap: Option<Tap>,
    /// Where spans go.
    pub trace: Option<Trace>,
}

/// Taps.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Where they are asked for.
    pub listen: SocketAddr,
    /// By whom.
    pub client: mesh_tls::Id,
}

/// Traces.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The collector.
    pub addr: ControlAddr,
    /// Attributes of the resource, `service.name` among them.
    pub attributes: Arc<[(String, String)]>,
}

impl Observe {
    pub(super) fn parse(vars: &Vars<'_>) -> Self {
        Self {
            access_log: vars
                .parse("ACCESS_LOG", "apache, json or none", |text| match text {
                    "apache" => Some(Some(Format::Apache)),
                    "json" => Some(Some(Format::Json)),
                    "none" => Some(None),
                    _ => None,
                })
                .flatten(),
            tap: Tap::parse(vars),
            trace: vars
                .text("TRACE_COLLECTOR_SVC_ADDR")
                .and_then(|_| Trace::parse(vars)),
        }
    }
}

impl Tap {
    fn parse(vars: &Vars<'_>) -> Option<Self> {
        let right = "an identity such as tap.linkerd-viz.serviceaccount…";
        let client = vars.parse("TAP_SVC_NAME", right, |text| text.parse().ok())?;
        let listen = vars.address("CONTROL_LISTEN_ADDR");
        Some(Self {
            listen: listen.unwrap_or((Ipv4Addr::UNSPECIFIED, ports::CONTROL).into()),
            client,
        })
    }
}

impl Trace {
    fn parse(vars: &Vars<'_>) -> Option<Self> {
        Some(Self {
            addr: ControlAddr::parse(vars, "TRACE_COLLECTOR")?,
            attributes: attributes::parse(vars),
        })
    }
}
