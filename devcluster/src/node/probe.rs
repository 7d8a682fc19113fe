//! Probes: reading them from a container, asking, and counting answers until they mean something.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::process::Launch;

mod ask;

pub(super) use ask::ask;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

/// A probe, read.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) question: Question,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) thresholds: Thresholds,
    /// The probe's own grace, when its failure ends the container.
    pub(super) grace_ms: Option<i64>,
}

/// How to ask.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Http {
        host: String,
        port: u16,
        path: String,
        tls: bool,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    /// Boxed for its size.
    Exec(Box<Launch>),
}

/// How many answers in a row mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) success: u32,
    pub(super) failure: u32,
}

/// A probe that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("probe port {0} is neither a number from 1 to 65535 nor the name of a container port")]
    Port(String),
    #[error("grpc probes are not supported by this node; use httpGet, tcpSocket or exec")]
    Grpc,
    #[error("a probe needs one of httpGet, tcpSocket, exec")]
    Empty,
    #[error("a lifecycle hook needs one of exec, httpGet, tcpSocket, sleep")]
    Hook,
}

/// Reads a probe. `exec` makes the command line of an exec probe.
pub(super) fn read(
    kind: Kind,
    probe: &Probe,
    container: &Container,
    ip: IpAddr,
    exec: impl FnOnce(&[String]) -> Launch,
) -> Result<Check, ProbeError> {
    let ways = (&probe.http_get, &probe.tcp_socket, &probe.exec);
    let question = match question(ways, container, ip, exec)? {
        Some(question) => question,
        None if probe.grpc.is_some() => return Err(ProbeError::Grpc),
        None => return Err(ProbeError::Empty),
    };
    let seconds = |v: Option<i32>, default: i32, least: i32| {
        Duration::from_secs(u64::try_from(v.unwrap_or(default).max(least)).unwrap_or_default())
    };
    let count =
        |v: Option<i32>, default: i32| u32::try_from(v.unwrap_or(default).max(1)).unwrap_or(1);
    Ok(Check {
        kind,
        question,
        initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
        period: seconds(probe.period_seconds, 10, 1),
        timeout: seconds(probe.timeout_seconds, 1, 1),
        thresholds: Thresholds {
            success: count(probe.success_threshold, 1),
            failure: count(probe.failure_threshold, 3),
        },
        grace_ms: probe
            .termination_grace_period_seconds
            .map(|s| s.max(0).saturating_mul(1000)),
    })
}

/// How to ask, of the ways there are.
pub(super) fn question(
    (http_get, tcp, command): (
        &Option<HTTPGetAction>,
        &Option<TCPSocketAction>,
        &Option<ExecAction>,
    ),
    container: &Container,
    ip: IpAddr,
    exec: impl FnOnce(&[String]) -> Launch,
) -> Result<Option<Question>, ProbeError> {
    Ok(if let Some(get) = http_get {
        Some(http(get, container, ip)?)
    } else if let Some(tcp) = tcp {
        let host = tcp.host.clone().unwrap_or_else(|| ip.to_string());
        let port = port(&tcp.port, container)?;
        Some(Question::Tcp { host, port })
    } else {
        command.as_ref().map(|action| {
            let words = action.command.as_deref().unwrap_or_default();
            Question::Exec(Box::new(exec(words)))
        })
    })
}

/// Asks until the answer is final (startup, liveness) or for ever (readiness), which only the
/// caller ends by dropping this.
///
/// `tell` hears each verdict that differs from the one before, with the last failure's text, and
/// `fault` every failed answer.
pub(super) async fn watch<F: Future<Output = ()>>(
    check: Check,
    tell: impl Fn(bool, String) -> F,
    fault: impl Fn(&str),
) {
    tokio::time::sleep(check.initial_delay).await;
    let mut ticks = tokio::time::interval(check.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tally = Tally::default();
    let mut told = None;
    loop {
        ticks.tick().await;
        let answer = ask(&check.question, check.timeout).await;
        let message = answer.as_ref().err().cloned().unwrap_or_default();
        if answer.is_err() {
            fault(&message);
        }
        let verdict = tally.count(answer.is_ok(), check.thresholds);
        if let Some(verdict) = verdict.filter(|v| told != Some(*v)) {
            told = Some(verdict);
            tell(verdict, message).await;
            let is_final = match check.kind {
                Kind::Startup => true,
                Kind::Liveness => !verdict,
                Kind::Readiness => false,
            };
            if is_final {
                return;
            }
        }
    }
}

/// Answers in a row.
#[derive(Debug, Default)]
struct Tally {
    good: u32,
    bad: u32,
}

impl Tally {
    /// Counts an answer; the verdict once enough of them agree.
    fn count(&mut self, ok: bool, thresholds: Thresholds) -> Option<bool> {
        if ok {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
        if self.good >= thresholds.success {
            Some(true)
        } else if self.bad >= thresholds.failure {
            Some(false)
        } else {
            None
        }
    }
}

fn http(get: &HTTPGetAction, container: &Container, ip: IpAddr) -> Result<Question, ProbeError> {
    let path = get
        .path
        .clone()
        .filter(|p| !p.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    let headers = get.http_headers.iter().flatten();
    Ok(Question::Http {
        host: get
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| ip.to_string()),
        port: port(&get.port, container)?,
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        tls: get
            .scheme
            .as_deref()
            .is_some_and(|s| s.eq_ignore_ascii_case("https")),
        headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
    })
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, ProbeError> {
    let number = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports
                .find(|p| p.name.as_ref() == Some(name))
                .and_then(|p| u16::try_from(p.container_port).ok())
                .or_else(|| name.parse().ok())
        }
    };
    let text = || match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => format!("{name:?}"),
    };
    number
        .filter(|n| *n > 0)
        .ok_or_else(|| ProbeError::Port(text()))
}

/// An exec probe's command line: the container's own surroundings, its own words.
pub(super) fn exec_launch(base: &Launch, program: PathBuf, words: &[String]) -> Launch {
    Launch {
        program,
        called: words.first().cloned(),
        args: words.iter().skip(1).cloned().collect(),
        env: BTreeMap::clone(&base.env),
        cwd: base.cwd.clone(),
        log: None,
        room: base.room.clone(),
    }
}

#[cfg(test)]
mod tests;
