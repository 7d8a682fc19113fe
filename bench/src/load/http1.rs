//! HTTP/1.1 clients. A request is written in one piece and its answer read into one buffer; only
//! what must be known of the answer is looked at.

use std::{io, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Notes, Route, dial};

const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nhost: app.bench.svc.cluster.local\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nhost: app.bench.svc.cluster.local\r\n\
    user-agent: bench\r\naccept: */*\r\nconnection: close\r\n\r\n";

/// A connection that is kept.
pub(super) struct Client {
    io: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    pub(super) async fn new(route: Route) -> io::Result<Self> {
        Ok(Self {
            io: dial(route).await?,
            bytes: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        self.exchange(REQUEST).await
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.io.write_all(request).await?;
        self.bytes.clear();
        loop {
            if self.io.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match answer(&self.bytes)? {
                Some((200, length)) if length <= self.bytes.len() => return Ok(()),
                Some((200, _)) | None => {}
                Some((status, _)) => return Err(io::Error::other(format!("status {status}"))),
            }
        }
    }
}

/// Status and whole length of the answer at the beginning of `bytes`, once its head is there.
fn answer(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(&error.to_string())),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| {
            std::str::from_utf8(header.value)
                .ok()?
                .parse::<usize>()
                .ok()
        })
        .ok_or_else(|| invalid("an answer without a length"))?;
    let status = response.code.unwrap_or_default();
    Ok(Some((status, head + length)))
}

/// One request after the other on one connection.
pub(super) async fn keep(route: Route, notes: &Notes) -> io::Result<()> {
    let mut client = Client::new(route).await?;
    while !notes.is_stopped() {
        let since = Instant::now();
        client.ask().await?;
        notes.answered(since);
    }
    Ok(())
}

/// A connection for one request.
pub(super) async fn close(route: Route, notes: &Notes) -> io::Result<()> {
    let since = Instant::now();
    let mut client = Client::new(route).await?;
    client.exchange(LAST_REQUEST).await?;
    notes.answered(since);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_head() {
        let whole = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\nabc";
        let head = whole.len() - 3;
        assert_eq!(answer(&whole[..head - 1]).unwrap(), None);
        assert_eq!(answer(&whole[..head]).unwrap(), Some((200, whole.len())));
        assert_eq!(answer(whole).unwrap(), Some((200, whole.len())));
        let empty_reason = b"HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n";
        assert_eq!(
            answer(empty_reason).unwrap(),
            Some((503, empty_reason.len()))
        );
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(answer(b"nonsense\r\n\r\n").is_err());
    }
}
