//! Connections into pods: `kubectl exec` and `kubectl port-forward`, as the kubelet's paths have
//! them. Called by `serve.rs` for requests that want to be something else than HTTP.
//!
//! ```text
//! websocket (frames) ── Talk (what is said) ── exec (a process, with or without a terminal)
//!                   └── forward (ports of a pod)
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::agent::Agent;
use super::serve::{Body, text};
use websocket::Handshake;

mod exec;
mod forward;
mod terminal;
mod websocket;

/// Pieces of a stream on their way; whoever is faster waits.
const QUEUE: usize = 16;
/// How many there may be at once.
const MAX_SESSIONS: usize = 128;

/// The two ends of a conversation with a process.
struct Talk {
    heard: mpsc::Receiver<Heard>,
    say: mpsc::Sender<Said>,
}

/// What comes from the client. When it ends the client is gone.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Input(Bytes),
    InputEnded,
    Resized { columns: u16, rows: u16 },
}

/// What goes to the client. When it ends all has been said.
#[derive(Debug, PartialEq)]
enum Said {
    Output(Bytes),
    Error(Bytes),
    /// How it ended, as a `Status`.
    Status(Value),
}

/// What a client wants to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    command: Vec<String>,
    input: bool,
    output: bool,
    error: bool,
    terminal: bool,
}

/// `/exec/<ns>/<pod>/<container>`.
pub(super) fn exec(
    agent: &Arc<Agent>,
    (namespace, pod, container): (&str, &str, &str),
    query: &str,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let asked = asked(query);
    if asked.command.is_empty() {
        let message = "you must specify at least 1 command for the container";
        return text(StatusCode::BAD_REQUEST, message);
    }
    let found = agent.board.find(namespace, pod);
    let spot = found.and_then(|(_, line)| line.containers.get(container).cloned());
    let Some(pid) = spot.and_then(|spot| spot.pid) else {
        let message = format!("container {container:?} of pod {pod:?} does not run on this node");
        return text(StatusCode::NOT_FOUND, &message);
    };
    let agent = agent.clone();
    upgrade(
        request,
        &["v5.channel.k8s.io", "v4.channel.k8s.io"],
        |handshake, slot| {
            let (answer, socket) = handshake.accept();
            tokio::spawn(async move {
                if let Some(socket) = socket.await {
                    exec::run(&agent, &asked, pid, websocket::talk(socket)).await;
                }
                drop(slot);
            });
            answer
        },
    )
}

/// `/portForward/<ns>/<pod>`.
pub(super) fn port_forward(
    agent: &Arc<Agent>,
    (namespace, pod): (&str, &str),
    query: &str,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let found = agent.board.find(namespace, pod);
    let Some(ip) = found.and_then(|(_, line)| line.ip) else {
        let message = format!("pod {pod:?} is not on this node");
        return text(StatusCode::NOT_FOUND, &message);
    };
    let ports = match ports(query) {
        Ok(ports) => ports,
        Err(message) => return text(StatusCode::BAD_REQUEST, &message),
    };
    let network = agent.network.clone();
    upgrade(
        request,
        &["v4.channel.k8s.io", "portforward.k8s.io"],
        |handshake, slot| {
            let (answer, socket) = handshake.accept();
            tokio::spawn(async move {
                if let Some(socket) = socket.await {
                    forward::run(network, ip as Ipv4Addr, ports, socket).await;
                }
                drop(slot);
            });
            answer
        },
    )
}

fn upgrade(
    request: &mut Request<Incoming>,
    protocols: &[&'static str],
    go_on: impl FnOnce(Handshake, OwnedSemaphorePermit) -> Response<Body>,
) -> Response<Body> {
    static SLOTS: std::sync::OnceLock<Arc<Semaphore>> = std::sync::OnceLock::new();
    let slots = SLOTS.get_or_init(|| Arc::new(Semaphore::new(MAX_SESSIONS)));
    let Ok(slot) = slots.clone().try_acquire_owned() else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many sessions on this node",
        );
    };
    match Handshake::read(request, protocols) {
        Ok(handshake) => go_on(handshake, slot),
        Err(message) => text(StatusCode::BAD_REQUEST, &message),
    }
}

/// The kubelet's parameters.
fn asked(query: &str) -> Asked {
    let mut asked = Asked::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let flag = matches!(&*value, "1" | "true");
        match &*key {
            "command" => asked.command.push(value.into_owned()),
            "input" => asked.input = flag,
            "output" => asked.output = flag,
            "error" => asked.error = flag,
            "tty" => asked.terminal = flag,
            _ => {}
        }
    }
    asked
}

fn ports(query: &str) -> Result<Vec<u16>, String> {
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "port");
    let mut ports = Vec::new();
    for (_, value) in pairs {
        for port in value.split(',') {
            match port.parse() {
                Ok(port) if port != 0 && ports.len() < 32 => ports.push(port),
                _ => return Err(format!("port: {port:?} is no port, or one too many")),
            }
        }
    }
    if ports.is_empty() {
        return Err("port: name at least one".to_owned());
    }
    Ok(ports)
}

/// A `Status` that says that all went well.
fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// A `Status` that says why nothing was run.
fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": message})
}

/// A `Status` with an exit code, which kubectl exits with too.
fn exited(code: i32) -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_word_by_word() {
        let read = asked("command=sh&command=-c&command=echo%20a%26b&input=1&output=1&tty=0");
        assert_eq!(read.command, ["sh", "-c", "echo a&b"]);
        assert!(read.input && read.output && !read.error && !read.terminal);
    }

    #[test]
    fn ports_are_a_list_of_ports() {
        assert_eq!(ports("port=80&port=8080,9090").unwrap(), [80, 8080, 9090]);
        for query in ["", "port=0", "port=x", "port=65536", "ports=80"] {
            assert!(ports(query).is_err(), "{query}");
        }
    }
}
