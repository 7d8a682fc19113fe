//! Ports of a pod, each connection as two streams: one for bytes and one for what went wrong.
//!
//! Through a WebSocket there is one connection for each port, and its channels begin with the port's
//! number. Over SPDY the client opens two streams for each connection, which name it and its port.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::network::Network;
use super::QUEUE;
use super::spdy::{Output, Session, Stream};
use super::websocket::{Socket, channel, end, piece};

const PIECE: usize = 32 * 1024;
/// Connections of which one stream of two is there.
const MAX_HALVES: usize = 64;

/// Forwards until the client leaves or every connection has ended.
pub(super) async fn channels(network: Network, pod: Ipv4Addr, ports: Vec<u16>, socket: Socket) {
    let (mut sink, mut stream) = socket.split();
    let (say, mut said) = mpsc::channel::<Message>(QUEUE);
    let mut inputs = Vec::new();
    let mut connections = JoinSet::new();
    for (number, port) in (0_u8..).step_by(2).zip(ports) {
        let (input, bytes) = mpsc::channel::<Bytes>(QUEUE);
        inputs.push(input);
        connections.spawn(one(network.clone(), pod, port, number, bytes, say.clone()));
    }
    drop(say);
    let writer = tokio::spawn(async move {
        while let Some(message) = said.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _client_gone = sink.send(end()).await;
    });
    let listen = async {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(bytes) = message else {
                continue;
            };
            let Some(number) = bytes.first() else {
                continue;
            };
            // What is not for a data channel is for nobody.
            let input = inputs
                .get(usize::from(*number / 2))
                .filter(|_| number % 2 == 0);
            if let Some(input) = input {
                let _ended = input.send(bytes.slice(1..)).await;
            }
        }
    };
    tokio::select! {
        () = listen => connections.abort_all(),
        () = async { while connections.join_next().await.is_some() {} } => {
            // All that was said is sent before the end.
            let _sent = writer.await;
        }
    }
}

/// One connection of a WebSocket.
async fn one(
    network: Network,
    pod: Ipv4Addr,
    port: u16,
    number: u8,
    input: mpsc::Receiver<Bytes>,
    say: mpsc::Sender<Message>,
) {
    for number in [number, number + 1] {
        let _client_gone = say.send(channel(number, &port.to_le_bytes())).await;
    }
    match network.dial(pod, port).await {
        Ok(stream) => carry(stream, input, &To::Channel(number, say)).await,
        Err(error) => {
            let message = refusal(port, &error);
            let _client_gone = say.send(channel(number + 1, message.as_bytes())).await;
        }
    }
}

/// Forwards every connection the client opens, until it leaves.
pub(super) async fn streams(network: Network, pod: Ipv4Addr, mut session: Session) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    let mut connections = JoinSet::new();
    while let Some(stream) = session.next().await {
        let id = stream.headers.get("requestid").cloned().unwrap_or_default();
        let Some(first) = halves.remove(&id) else {
            if halves.len() < MAX_HALVES {
                halves.insert(id, stream);
            }
            continue;
        };
        let is_data = |s: &Stream| s.headers.get("streamtype").is_some_and(|t| t == "data");
        let (data, error) = if is_data(&first) {
            (first, stream)
        } else {
            (stream, first)
        };
        let network = network.clone();
        connections.spawn(async move { pair(network, pod, data, error).await });
        while connections.try_join_next().is_some() {}
    }
    connections.abort_all();
}

/// One connection of SPDY.
async fn pair(network: Network, pod: Ipv4Addr, data: Stream, error: Stream) {
    let port = data.headers.get("port").and_then(|port| port.parse().ok());
    let dialled = match port {
        Some(port) => network.dial(pod, port).await.map_err(|e| refusal(port, &e)),
        None => Err("the stream names no port".to_owned()),
    };
    match dialled {
        Ok(stream) => carry(stream, data.input, &To::Stream(data.output.clone())).await,
        Err(message) => {
            let _client_gone = error.output.send(message.as_bytes()).await;
        }
    }
    data.output.end().await;
    error.output.end().await;
}

fn refusal(port: u16, error: &std::io::Error) -> String {
    format!("cannot connect to port {port} of the pod: {error}")
}

/// Where a connection's bytes go.
enum To {
    Channel(u8, mpsc::Sender<Message>),
    Stream(Output),
}

impl To {
    async fn send(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Channel(number, say) => say.send(channel(*number, bytes)).await.is_ok(),
            Self::Stream(output) => output.send(bytes).await,
        }
    }
}

/// Carries bytes both ways until the pod has said everything, or the client is gone.
async fn carry(mut stream: TcpStream, mut input: mpsc::Receiver<Bytes>, output: &To) {
    let (mut from, mut to) = stream.split();
    let mut buffer = vec![0; PIECE];
    let answer = async {
        while let Some(bytes) = piece(from.read(&mut buffer).await, &buffer) {
            if !output.send(&bytes).await {
                return;
            }
        }
    };
    let ask = async {
        while let Some(bytes) = input.recv().await {
            if to.write_all(&bytes).await.is_err() {
                break; // the answer says how it ended
            }
        }
        let _ended_already = to.shutdown().await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = answer => {}
        () = ask => {}
    }
}
