//! The application behind the server's side: answers HTTP/1 and HTTP/2 with 66 bytes, gRPC with
//! the message it got, and plays with bytes. As cheap as it can be, since it shares the machine
//! with what is measured.

use std::{net::SocketAddr, thread};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::place::{Host, Place};

/// HTTP/1.
pub(crate) const HTTP1: u16 = 8080;
/// HTTP/2, without TLS.
pub(crate) const HTTP2: u16 = 8081;
/// Bytes; the first one says what happens to those after it.
pub(crate) const BYTES: u16 = 8082;

/// They come back.
pub(crate) const ECHO: u8 = b'E';
/// They are forgotten.
pub(crate) const SINK: u8 = b'U';
/// Others come, without end.
pub(crate) const SOURCE: u8 = b'D';

/// What HTTP answers.
pub(crate) const BODY: &[u8; 66] =
    b"hello world hello world hello world hello world hello world hello\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 66\r\n\r\n";
/// A path whose answer does not end.
pub(crate) const ENDLESS: &str = "/endless";

/// Serves on a thread of its own until the process ends.
pub(crate) fn start(place: &Place) -> anyhow::Result<()> {
    let listen = |port| listener(place.addr(Host::Server, port));
    let listeners = [listen(HTTP1)?, listen(HTTP2)?, listen(BYTES)?];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new().name("app".into()).spawn(move || {
        runtime.block_on(async move {
            let [http1, http2, bytes] = listeners;
            let (Ok(http1), Ok(http2), Ok(bytes)) = (
                TcpListener::from_std(http1),
                TcpListener::from_std(http2),
                TcpListener::from_std(bytes),
            ) else {
                return;
            };
            tokio::join!(
                accept(http1, serve_http1),
                accept(http2, serve_http2),
                accept(bytes, serve_bytes)
            );
        });
    })?;
    Ok(())
}

/// Ten thousand connections may come at once.
fn listener(addr: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket
            .listen(4096)
            .with_context(|| format!("cannot listen on {addr}"))?;
        Ok(listener.into_std()?)
    })
}

async fn accept<F>(listener: TcpListener, serve: fn(TcpStream) -> F)
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    while let Ok((io, _)) = listener.accept().await {
        // Without it, small answers wait for acknowledgements.
        let _ = io.set_nodelay(true);
        tokio::spawn(serve(io));
    }
}

async fn serve_http1(mut io: TcpStream) -> Option<()> {
    let answer = [HEAD.as_bytes(), BODY].concat();
    let mut bytes = Vec::with_capacity(2048);
    loop {
        if io.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        // Requests have no bodies here.
        while let Some(end) = head_end(&bytes) {
            bytes.drain(..end);
            io.write_all(&answer).await.ok()?;
        }
    }
}

/// Where the first head in `bytes` ends.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

async fn serve_http2(io: TcpStream) -> Option<()> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake::<_, Bytes>(io)
        .await
        .ok()?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request.ok()?;
        tokio::spawn(answer(request, respond));
    }
    None
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Option<()> {
    let grpc = request.headers().contains_key(http::header::CONTENT_TYPE);
    if request.uri().path() == ENDLESS {
        let send = respond.send_response(Response::new(()), false).ok()?;
        return endless(send).await;
    }
    if !grpc {
        let mut send = respond.send_response(Response::new(()), false).ok()?;
        return send.send_data(Bytes::from_static(BODY), true).ok();
    }
    let mut body = request.into_body();
    let mut message = Bytes::new();
    while let Some(data) = body.data().await {
        message = data.ok()?;
        body.flow_control().release_capacity(message.len()).ok()?;
    }
    let response = Response::builder().header("content-type", "application/grpc");
    let mut send = respond.send_response(response.body(()).ok()?, false).ok()?;
    send.send_data(message, false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers).ok()
}

/// Sends until the client has enough.
async fn endless(mut send: h2::SendStream<Bytes>) -> Option<()> {
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    loop {
        send.reserve_capacity(piece.len());
        let granted = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?;
        send.send_data(piece.slice(..granted.ok()?), false).ok()?;
    }
}

async fn serve_bytes(mut io: TcpStream) -> Option<()> {
    match io.read_u8().await.ok()? {
        SINK => {
            let mut bytes = vec![0; 256 * 1024];
            while io.read(&mut bytes).await.ok()? > 0 {}
            None
        }
        SOURCE => {
            let bytes = vec![b'x'; 256 * 1024];
            loop {
                io.write_all(&bytes).await.ok()?;
            }
        }
        _ => {
            // Small: there may be ten thousand of them.
            let mut bytes = [0; 64];
            loop {
                let n = io.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
                io.write_all(&bytes[..n]).await.ok()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_behind_its_empty_line() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        assert!(HEAD.contains(&format!("content-length: {}\r\n", BODY.len())));
    }
}
