//! Connections into pods: `kubectl exec` and `kubectl port-forward`, as the kubelet's paths have
//! them. Called by `serve.rs` for requests that want to be something else than HTTP.
//!
//! ```text
//! websocket, spdy (frames) ── Talk (what is said) ── exec (a process, with or without a terminal)
//!                         └── forward (ports of a pod)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::agent::Agent;
use super::serve::{Body, text};
use websocket::Handshake;

mod exec;
mod forward;
mod spdy;
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
    let protocols = Protocols {
        websocket: &["v5.channel.k8s.io", "v4.channel.k8s.io"],
        spdy: "v4.channel.k8s.io",
    };
    upgrade(request, protocols, move |wire| async move {
        let talk = match wire {
            Wire::WebSocket(socket) => Some(websocket::talk(*socket)),
            Wire::Spdy(session) => spdy::talk(session, &asked).await,
        };
        if let Some(talk) = talk {
            exec::run(&agent, &asked, pid, talk).await;
        }
    })
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
    let wanted = match ports(query) {
        Ok(ports) => ports,
        // Over SPDY every connection names its own port.
        Err(_) if spdy::is_wanted(request) => Vec::new(),
        Err(message) => return text(StatusCode::BAD_REQUEST, &message),
    };
    let network = agent.network.clone();
    let protocols = Protocols {
        websocket: &["v4.channel.k8s.io", "portforward.k8s.io"],
        spdy: "portforward.k8s.io",
    };
    upgrade(request, protocols, move |wire| async move {
        match wire {
            Wire::WebSocket(socket) => forward::channels(network, ip, wanted, *socket).await,
            Wire::Spdy(session) => forward::streams(network, ip, session).await,
        }
    })
}

/// What a connection has become.
enum Wire {
    /// Boxed for its size.
    WebSocket(Box<websocket::Socket>),
    Spdy(spdy::Session),
}

/// What its streams mean, by what carries them; the best first.
struct Protocols {
    websocket: &'static [&'static str],
    spdy: &'static str,
}

fn upgrade<F>(
    request: &mut Request<Incoming>,
    protocols: Protocols,
    go_on: impl FnOnce(Wire) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    static SLOTS: std::sync::OnceLock<Arc<Semaphore>> = std::sync::OnceLock::new();
    let slots = SLOTS.get_or_init(|| Arc::new(Semaphore::new(MAX_SESSIONS)));
    let Ok(slot) = slots.clone().try_acquire_owned() else {
        let message = "too many sessions on this node";
        return text(StatusCode::SERVICE_UNAVAILABLE, message);
    };
    let accepted = if spdy::is_wanted(request) {
        let accepted = spdy::accept(request, protocols.spdy);
        accepted.map(|(answer, session)| (answer, session.map(|s| s.map(Wire::Spdy)).boxed()))
    } else {
        let accepted = Handshake::read(request, protocols.websocket).map(Handshake::accept);
        accepted.map(|(answer, socket)| (answer, boxed(socket)))
    };
    let (answer, wire) = match accepted {
        Ok(accepted) => accepted,
        Err(message) => return text(StatusCode::BAD_REQUEST, &message),
    };
    tokio::spawn(async move {
        if let Some(wire) = wire.await {
            go_on(wire).await;
        }
        drop(slot);
    });
    answer
}

fn boxed(
    socket: impl Future<Output = Option<websocket::Socket>> + Send + 'static,
) -> BoxFuture<'static, Option<Wire>> {
    let wire = |socket| Wire::WebSocket(Box::new(socket));
    socket.map(move |s| s.map(wire)).boxed()
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
