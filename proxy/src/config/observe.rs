//! Who may watch: access log, taps, traces. All off unless configured.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use mesh_contract::ports;

use super::{ControlAddr, vars::Vars};
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
        let service = vars.text("TRACE_SERVICE_NAME");
        let service = service.unwrap_or_else(|| "linkerd-proxy".to_owned());
        let mut attributes = vec![("service.name".to_owned(), service)];
        if let Some(extra) = vars.text("TRACE_EXTRA_ATTRIBUTES") {
            attributes.extend(
                extra
                    .lines()
                    .flat_map(|line| line.split(','))
                    .filter_map(pair),
            );
        }
        // Labels of the pod as the downward API writes them. A pod without any is none.
        if let Some(path) = vars.text("TRACE_ATTRIBUTES_PATH").map(PathBuf::from)
            && let Ok(labels) = std::fs::read_to_string(path)
        {
            attributes.extend(labels.lines().filter_map(pair));
        }
        Some(Self {
            addr: ControlAddr::parse(vars, "TRACE_COLLECTOR")?,
            attributes: attributes.into(),
        })
    }
}

/// `key=value`, in quotes or not.
fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.trim().split_once('=')?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    Some((key.trim().to_owned(), quoted.unwrap_or(value).to_owned()))
}
