//! WebSockets with Kubernetes' channels: every message begins with the number of its stream.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::super::serve::Body;
use super::{Heard, QUEUE, Said, Talk};

/// A connection that speaks WebSocket now.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

const MAX_MESSAGE: usize = 4 << 20;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERROR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the number of the stream that ends (v5).
const CLOSE: u8 = 255;

/// A client's wish to speak WebSocket that can be granted.
pub(super) struct Handshake {
    upgrade: OnUpgrade,
    accept: String,
    protocol: &'static str,
}

impl Handshake {
    /// `protocols`: ours, the best first.
    pub(super) fn read(
        request: &mut Request<Incoming>,
        protocols: &[&'static str],
    ) -> Result<Self, String> {
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        let wanted = header(UPGRADE).unwrap_or_default();
        if !wanted.eq_ignore_ascii_case("websocket") {
            return Err(format!(
                "a WebSocket is needed here, not {wanted:?}: or SPDY/3.1"
            ));
        }
        if header(SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err("Sec-WebSocket-Version must be 13".to_owned());
        }
        let key = header(SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing")?;
        let accept = derive_accept_key(key.as_bytes());
        let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offered: Vec<&str> = offered
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .collect();
        let common = protocols.iter().find(|ours| offered.contains(ours));
        let protocol = *common.ok_or_else(|| {
            format!(
                "no common protocol: the client offers {}, this node speaks {}",
                offered.join(", "),
                protocols.join(", ")
            )
        })?;
        Ok(Self {
            upgrade: hyper::upgrade::on(request),
            accept,
            protocol,
        })
    }

    /// The answer, and what becomes of the connection once it is sent.
    pub(super) fn accept(self) -> (Response<Body>, impl Future<Output = Option<Socket>>) {
        let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(self.protocol),
        );
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        let upgrade = self.upgrade;
        let socket = async move {
            match upgrade.await {
                Ok(io) => {
                    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
                    let io = TokioIo::new(io);
                    Some(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not upgraded");
                    None
                }
            }
        };
        (answer, socket)
    }
}

/// Makes a conversation of a socket. Each direction goes on by itself: a client that does not read
/// must not keep this from hearing it.
pub(super) fn talk(socket: Socket) -> Talk {
    let (mut sink, mut stream) = socket.split();
    let (heard_tx, heard) = mpsc::channel(QUEUE);
    let (say, mut said_rx) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let heard = match message {
                Message::Binary(bytes) => read(&bytes),
                Message::Close(_) => return,
                _ => None,
            };
            if let Some(heard) = heard
                && heard_tx.send(heard).await.is_err()
            {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(said) = said_rx.recv().await {
            if sink.send(write(&said)).await.is_err() {
                return;
            }
        }
        let _client_gone = sink.send(end()).await;
    });
    Talk { heard, say }
}

/// What a client says of its terminal.
pub(super) fn resized(json: &[u8]) -> Option<Heard> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let size: Size = serde_json::from_slice(json).ok()?;
    Some(Heard::Resized {
        columns: size.width,
        rows: size.height,
    })
}

fn read(bytes: &Bytes) -> Option<Heard> {
    match (*bytes.first()?, bytes.slice(1..)) {
        (INPUT, rest) if rest.is_empty() => None,
        (INPUT, rest) => Some(Heard::Input(rest)),
        (RESIZE, rest) => resized(&rest),
        (CLOSE, rest) if rest.first() == Some(&INPUT) => Some(Heard::InputEnded),
        _ => None,
    }
}

fn write(said: &Said) -> Message {
    match said {
        Said::Output(bytes) => channel(OUTPUT, bytes),
        Said::Error(bytes) => channel(ERROR, bytes),
        Said::Status(status) => channel(STATUS, status.to_string().as_bytes()),
    }
}

/// The orderly end. Without its code a client takes it for a failure.
pub(super) fn end() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: Default::default(),
    }))
}

/// A message on a channel.
pub(super) fn channel(number: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(number);
    message.put_slice(bytes);
    Message::Binary(message.freeze())
}

/// What a stream read; an end and an error are both its end.
pub(super) fn piece(read: io::Result<usize>, buffer: &[u8]) -> Option<Bytes> {
    match read {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(Bytes::copy_from_slice(&buffer[..length])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_byte() {
        let heard = |bytes: &'static [u8]| read(&Bytes::from_static(bytes));
        assert_eq!(
            heard(b"\0abc"),
            Some(Heard::Input(Bytes::from_static(b"abc")))
        );
        assert_eq!(heard(b"\xff\0"), Some(Heard::InputEnded));
        let resized = Heard::Resized {
            columns: 80,
            rows: 24,
        };
        assert_eq!(heard(b"\x04{\"Width\":80,\"Height\":24}"), Some(resized));
        for nothing in [
            &b""[..],
            b"\0",
            b"\x01x",
            b"\xff\x01",
            b"\x04{",
            b"\x04{\"Width\":-1}",
        ] {
            assert_eq!(read(&Bytes::copy_from_slice(nothing)), None, "{nothing:?}");
        }
        let said = write(&Said::Error(Bytes::from_static(b"x")));
        assert_eq!(said, Message::Binary(Bytes::from_static(b"\x02x")));
    }
}
