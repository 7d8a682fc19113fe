//! SPDY/3.1, as much of it as Kubernetes' clients speak: streams the client opens, bytes both ways,
//! ends, resets and pings. It is what `kubectl port-forward` and real API servers speak to nodes.
//!
//! Flow-control windows are left out, as the library on the other side leaves them out: a stream
//! nobody reads from makes the whole connection wait.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use self::headers::{Headers, NO_HEADERS_AGAIN, no_headers_first};
use super::super::serve::Body;
use super::{Asked, Heard, QUEUE, Said, Talk, websocket};

mod headers;

/// Which of the streams' meanings client and server agree on.
const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const NAME: &str = "SPDY/3.1";
const MAX_FRAME: usize = 4 << 20;
const MAX_STREAMS: usize = 256;
/// How long a client may take to open the streams it is to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const FIN: u8 = 1;
const REFUSED: u32 = 3;

/// A connection: the streams the client opens. It is closed when this is dropped.
pub(super) struct Session {
    opened: mpsc::Receiver<Stream>,
    /// True once the client is gone.
    gone: watch::Receiver<bool>,
    _reader: AbortOnDropHandle<()>,
}

/// A stream; what comes in ends when the client ends its half.
pub(super) struct Stream {
    pub(super) headers: BTreeMap<String, String>,
    pub(super) input: mpsc::Receiver<Bytes>,
    pub(super) output: Output,
}

/// Our half of a stream.
#[derive(Clone)]
pub(super) struct Output {
    id: u32,
    frames: mpsc::Sender<Bytes>,
}

impl Output {
    /// False if the client is gone.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        self.frames.send(data(self.id, 0, bytes)).await.is_ok()
    }

    /// Nothing more comes.
    pub(super) async fn end(&self) {
        let _client_gone = self.frames.send(data(self.id, FIN, b"")).await;
    }
}

/// Whether a request wants this protocol.
pub(super) fn is_wanted(request: &Request<Incoming>) -> bool {
    let upgrade = request.headers().get(UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|u| u.eq_ignore_ascii_case(NAME))
}

/// The answer, and what becomes of the connection once it is sent.
pub(super) fn accept(
    request: &mut Request<Incoming>,
    protocol: &'static str,
) -> Result<(Response<Body>, BoxFuture<'static, Option<Session>>), String> {
    let offered = request.headers().get_all(PROTOCOL).iter();
    let mut offered = offered
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    if !offered.any(|name| name.trim() == protocol) {
        return Err(format!("{PROTOCOL}: this node speaks {protocol}"));
    }
    let upgrade = hyper::upgrade::on(request);
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(NAME));
    headers.insert(PROTOCOL, HeaderValue::from_static(protocol));
    let session = async move {
        let upgraded = upgrade.await;
        let failed =
            |error: &hyper::Error| tracing::debug!(%error, "a connection was not upgraded");
        upgraded
            .inspect_err(failed)
            .ok()
            .map(|io| session(TokioIo::new(io)))
    };
    Ok((answer, Box::pin(session)))
}

fn session(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Session {
    let (from, to) = tokio::io::split(io);
    let (frames, queue) = mpsc::channel(QUEUE);
    let (open, opened) = mpsc::channel(QUEUE);
    let (leave, gone) = watch::channel(false);
    tokio::spawn(write(to, queue));
    let reader = tokio::spawn(async move {
        if let Err(error) = read(from, frames, open).await {
            tracing::debug!(%error, "a client's connection ended");
        }
        let _nobody_asks = leave.send(true);
    });
    Session {
        opened,
        gone,
        _reader: AbortOnDropHandle::new(reader),
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(frame) = queue.recv().await {
        let written = async {
            to.write_all(&frame).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    let _closed_already = to.shutdown().await;
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    frames: mpsc::Sender<Bytes>,
    open: mpsc::Sender<Stream>,
) -> io::Result<()> {
    let mut headers = Headers::default();
    let mut inputs: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let mut replied = false;
    loop {
        let mut head = [0; 8];
        from.read_exact(&mut head).await?;
        let [a, b, c, d, flags, length @ ..] = head;
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if length > MAX_FRAME {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        let word = number(&payload);
        if a & 0x80 == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            if let Some(input) = inputs.get(&id).filter(|_| !payload.is_empty()) {
                let _nobody_listens = input.send(payload.into()).await;
            }
            if flags & FIN != 0 {
                inputs.remove(&id);
            }
            continue;
        }
        match (u16::from_be_bytes([c, d]), word) {
            (SYN_STREAM, Some(id)) if payload.len() >= 10 => {
                let headers = headers.read(&payload[10..])?;
                if inputs.len() >= MAX_STREAMS {
                    let refusal = [id.to_be_bytes(), REFUSED.to_be_bytes()].concat();
                    let _client_gone = frames.send(control(RST_STREAM, 0, &refusal)).await;
                    continue;
                }
                let (sender, input) = mpsc::channel(QUEUE);
                if flags & FIN == 0 {
                    inputs.insert(id, sender);
                }
                let none = if replied {
                    NO_HEADERS_AGAIN.to_vec()
                } else {
                    no_headers_first()
                };
                replied = true;
                let reply = [id.to_be_bytes().to_vec(), none].concat();
                let _client_gone = frames.send(control(SYN_REPLY, 0, &reply)).await;
                let frames = frames.clone();
                let output = Output { id, frames };
                let stream = Stream {
                    headers,
                    input,
                    output,
                };
                if open.send(stream).await.is_err() {
                    return Ok(());
                }
            }
            (RST_STREAM, Some(id)) => {
                inputs.remove(&id);
            }
            (PING, _) => {
                let _client_gone = frames.send(control(PING, 0, &payload)).await;
            }
            // Settings, windows and farewells change nothing here.
            _ => {}
        }
    }
}

/// The stream's number most frames begin with.
fn number(payload: &[u8]) -> Option<u32> {
    let first = payload.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*first) & 0x7fff_ffff)
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    finish(frame, flags, payload)
}

fn data(id: u32, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u32(id);
    finish(frame, flags, payload)
}

fn finish(mut frame: BytesMut, flags: u8, payload: &[u8]) -> Bytes {
    frame.put_u8(flags);
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(payload);
    frame.freeze()
}

impl Session {
    /// The next stream; `None` once the client is gone.
    pub(super) async fn next(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }
}

/// Makes a conversation of a connection, once the client has opened every stream it needs.
pub(super) async fn talk(mut session: Session, asked: &Asked) -> Option<Talk> {
    let errors = asked.error && !asked.terminal;
    let mut wanted = vec!["error"];
    wanted.extend(asked.input.then_some("stdin"));
    wanted.extend(asked.output.then_some("stdout"));
    wanted.extend(errors.then_some("stderr"));
    wanted.extend(asked.terminal.then_some("resize"));
    let mut streams: HashMap<String, Stream> = HashMap::new();
    let open = async {
        while wanted.iter().any(|name| !streams.contains_key(*name)) {
            let Some(stream) = session.next().await else {
                return;
            };
            let name = stream
                .headers
                .get("streamtype")
                .cloned()
                .unwrap_or_default();
            streams.insert(name, stream);
        }
    };
    tokio::time::timeout(OPEN_TIMEOUT, open).await.ok()?;
    let output =
        |name: &str, streams: &HashMap<String, Stream>| streams.get(name).map(|s| s.output.clone());
    let status = output("error", &streams)?;
    let (stdout, stderr) = (output("stdout", &streams), output("stderr", &streams));
    let heard = listen(&mut streams, session.gone.clone());
    let (say, mut said) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(said) = said.recv().await {
            let sent = match (said, &stdout, &stderr) {
                (Said::Output(bytes), Some(to), _) | (Said::Error(bytes), _, Some(to)) => {
                    to.send(&bytes).await
                }
                (Said::Status(text), ..) => status.send(text.to_string().as_bytes()).await,
                _ => true,
            };
            if !sent {
                break;
            }
        }
        for output in [stdout, stderr, Some(status)].into_iter().flatten() {
            output.end().await;
        }
        // The client has everything once it closes the connection; it gets its time for that.
        let mut gone = session.gone.clone();
        let _closed = tokio::time::timeout(OPEN_TIMEOUT, gone.wait_for(|gone| *gone)).await;
        drop(session);
    });
    Some(Talk { heard, say })
}

fn listen(
    streams: &mut HashMap<String, Stream>,
    mut gone: watch::Receiver<bool>,
) -> mpsc::Receiver<Heard> {
    let (hear, heard) = mpsc::channel(QUEUE);
    if let Some(mut stdin) = streams.remove("stdin") {
        let hear = hear.clone();
        tokio::spawn(async move {
            while let Some(bytes) = stdin.input.recv().await {
                if hear.send(Heard::Input(bytes)).await.is_err() {
                    return;
                }
            }
            let _process_gone = hear.send(Heard::InputEnded).await;
        });
    }
    if let Some(mut resize) = streams.remove("resize") {
        let hear = hear.clone();
        tokio::spawn(async move {
            while let Some(bytes) = resize.input.recv().await {
                if let Some(resized) = websocket::resized(&bytes)
                    && hear.send(resized).await.is_err()
                {
                    return;
                }
            }
        });
    }
    // As long as somebody could still say something the conversation goes on.
    tokio::spawn(async move {
        let _gone = gone.wait_for(|gone| *gone).await;
        drop(hear);
    });
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_opened_answered_and_ended_by_both() {
        let (client, server) = tokio::io::duplex(1024);
        let mut session = session(server);
        let (mut from, mut to) = tokio::io::split(client);
        // One header, `streamtype: data`, as Go's library compresses it.
        let block = headers::tests::compressed(&[("streamtype", "data")]);
        let open = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &block].concat();
        to.write_all(&control(SYN_STREAM, 0, &open)).await.unwrap();
        to.write_all(&data(1, FIN, b"hello")).await.unwrap();
        to.write_all(&control(PING, 0, &[0, 0, 0, 9]))
            .await
            .unwrap();
        let mut stream = session.next().await.unwrap();
        assert_eq!(stream.headers["streamtype"], "data");
        assert_eq!(stream.input.recv().await.unwrap(), "hello");
        assert_eq!(stream.input.recv().await, None);
        assert!(stream.output.send(b"bye").await);
        stream.output.end().await;
        let mut wanted = control(
            SYN_REPLY,
            0,
            &[&[0, 0, 0, 1][..], &no_headers_first()].concat(),
        )
        .to_vec();
        wanted.extend(control(PING, 0, &[0, 0, 0, 9]));
        wanted.extend(data(1, 0, b"bye"));
        wanted.extend(data(1, FIN, b""));
        let mut got = vec![0; wanted.len()];
        from.read_exact(&mut got).await.unwrap();
        assert_eq!(got, wanted);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_ends_the_connection() {
        let (client, server) = tokio::io::duplex(1024);
        let mut session = session(server);
        let (_from, mut to) = tokio::io::split(client);
        to.write_all(&[0, 0, 0, 1, 0, 255, 255, 255]).await.unwrap();
        assert!(session.next().await.is_none());
    }
}
