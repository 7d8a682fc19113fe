//! Ports of a pod through a WebSocket: two channels for each port, one for bytes and one for what
//! went wrong, both beginning with the port's number.

use std::net::Ipv4Addr;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::network::Network;
use super::QUEUE;
use super::websocket::{Socket, channel, end, piece};

const PIECE: usize = 32 * 1024;

/// Forwards until the client leaves or every connection has ended.
pub(super) async fn run(network: Network, pod: Ipv4Addr, ports: Vec<u16>, socket: Socket) {
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

async fn one(
    network: Network,
    pod: Ipv4Addr,
    port: u16,
    number: u8,
    mut input: mpsc::Receiver<Bytes>,
    say: mpsc::Sender<Message>,
) {
    for number in [number, number + 1] {
        let _client_gone = say.send(channel(number, &port.to_le_bytes())).await;
    }
    let mut stream = match network.dial(pod, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!("cannot connect to port {port} of the pod: {error}");
            let _client_gone = say.send(channel(number + 1, message.as_bytes())).await;
            return;
        }
    };
    let (mut from, mut to) = stream.split();
    let mut buffer = vec![0; PIECE];
    let mut hears = true;
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => {
                let Some(bytes) = piece(read, &buffer) else { return };
                if say.send(channel(number, &bytes)).await.is_err() {
                    return;
                }
            }
            bytes = input.recv(), if hears => match bytes {
                Some(bytes) if to.write_all(&bytes).await.is_ok() => {}
                _ => hears = false,
            },
        }
    }
}
