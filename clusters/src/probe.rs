//! One probe of a gateway, on the path that traffic takes: mTLS to the traffic port with the
//! gateway's identity demanded, a transport header, and a request that the gateway's own admin
//! server answers. A stock gateway answers it too.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_contract::transport::PREFACE;
use mesh_tls::{Id, Store, Target};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt as _;

const MAX_BODY: usize = 4096;

/// What to probe.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// Identity the gateway must prove.
    pub(crate) identity: Id,
    /// Port of the gateway's pods that answers.
    pub(crate) port: u16,
    /// Path that answers 200.
    pub(crate) path: String,
    /// Time the whole probe may take.
    pub(crate) timeout: Duration,
}

/// Probes `gateway`; how long the answer took, or why there was none.
pub(crate) async fn probe(
    store: &Store,
    gateway: SocketAddr,
    probe: &Probe,
) -> Result<Duration, String> {
    let started = Instant::now();
    match tokio::time::timeout(probe.timeout, exchange(store, gateway, probe)).await {
        Ok(Ok(StatusCode::OK)) => Ok(started.elapsed()),
        Ok(Ok(status)) => Err(format!("{gateway} answered the probe with {status}")),
        Ok(Err(error)) => Err(format!("{gateway}: {error}")),
        Err(_) => Err(format!(
            "{gateway} did not answer within {:?}",
            probe.timeout
        )),
    }
}

async fn exchange(
    store: &Store,
    gateway: SocketAddr,
    probe: &Probe,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let target = Target {
        server_id: probe.identity.clone(),
        server_name: None,
        transport_header: true,
    };
    let io = mesh_daemon::net::connect(gateway, probe.timeout).await?;
    let mut io = mesh_tls::connect(store, &target, io).await?;
    if !io.transport_header() {
        return Err("it is no gateway: it does not speak transport.l5d.io/v1".into());
    }
    io.write_all(&header(probe.port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(&probe.path)
        .header(hyper::header::HOST, gateway.to_string())
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let _ = Limited::new(response.into_body(), MAX_BODY).collect().await;
    connection.abort();
    Ok(status)
}

/// A transport header for `port` of the gateway itself, for HTTP/1.
///
/// As protobuf: field 1, varint `port`; field 3, a message holding an empty message as field 1.
fn header(port: u16) -> Vec<u8> {
    let mut message = vec![0x08];
    let mut rest = port;
    while rest >= 0x80 {
        message.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    message.push(rest as u8);
    message.extend([0x1a, 0x02, 0x0a, 0x00]);
    let mut header = PREFACE.to_vec();
    header.extend(
        u32::try_from(message.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    header.extend(message);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_contract::transport::ALPN;
    use mesh_tls::{Accept, testing::Ca};
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    #[test]
    fn the_header_names_the_port_and_http1() {
        let header = header(4191);
        assert_eq!(&header[..23], PREFACE);
        assert_eq!(&header[23..27], &[0, 0, 0, 7]);
        assert_eq!(&header[27..], &[0x08, 0xdf, 0x20, 0x1a, 0x02, 0x0a, 0x00]);
        assert!(ALPN.starts_with(b"transport"));
    }

    async fn gateway(store: Store, answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (io, _) = listener.accept().await.unwrap();
            let accept = Accept {
                transport_header: true,
                timeout: Duration::from_secs(5),
            };
            let mut io = mesh_tls::accept(&store, accept, io).await.unwrap().stream;
            let mut request = vec![0; 34];
            io.read_exact(&mut request).await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                text.push(io.read_u8().await.unwrap());
            }
            assert!(text.starts_with(b"GET /ready HTTP/1.1\r\n"));
            io.write_all(answer.as_bytes()).await.unwrap();
            io.shutdown().await.unwrap();
        });
        addr
    }

    fn id(name: &str) -> Id {
        name.parse().unwrap()
    }

    async fn probed(expected: &str, answer: &'static str) -> Result<Duration, String> {
        let issuer = Ca::new("root").issuer("issuer");
        let ttl = Duration::from_secs(600);
        let addr = gateway(issuer.issue(&id("gateway.example"), ttl), answer).await;
        let client = issuer.issue(&id("mirror.example"), ttl);
        let spec = Probe {
            identity: id(expected),
            port: 4191,
            path: "/ready".into(),
            timeout: Duration::from_secs(5),
        };
        probe(&client, addr, &spec).await
    }

    #[tokio::test]
    async fn a_gateway_that_proves_itself_and_answers_200_is_alive() {
        probed(
            "gateway.example",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        )
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn another_status_is_no_sign_of_life() {
        let answer = "HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n";
        let error = probed("gateway.example", answer).await.unwrap_err();
        assert!(error.contains("503"), "{error}");
    }

    #[tokio::test]
    async fn somebody_else_answering_is_no_sign_of_life() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert!(probed("other.example", answer).await.is_err());
    }
}
