//! One question, one answer, within a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Question;
use crate::node::process::{self, Exit, Launch};

/// `Err` says what was wrong with the answer.
pub(in crate::node) async fn ask(question: &Question, timeout: Duration) -> Result<(), String> {
    let answer = async {
        match question {
            Question::Tcp { host, port } => {
                let connected = TcpStream::connect((host.as_str(), *port)).await;
                connected
                    .map(drop)
                    .map_err(|e| format!("connect to {host}:{port}: {e}"))
            }
            Question::Http {
                host,
                port,
                path,
                tls,
                headers,
            } => get(host, *port, path, *tls, headers).await,
            Question::Exec(launch) => run(launch).await,
        }
    };
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}

async fn get(
    host: &str,
    port: u16,
    path: &str,
    tls: bool,
    headers: &[(String, String)],
) -> Result<(), String> {
    let tcp = TcpStream::connect((host, port))
        .await
        .map_err(|e| format!("connect to {host}:{port}: {e}"))?;
    let mut request = http::Request::get(path)
        .header(http::header::USER_AGENT, "kube-probe/1.35")
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close");
    let own_host = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header(http::header::HOST, format!("{host}:{port}"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let status = if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let io = connector()?
            .connect(name, tcp)
            .await
            .map_err(|e| format!("TLS: {e}"))?;
        send(io, request).await?
    } else {
        send(tcp, request).await?
    };
    match status.as_u16() {
        200..=399 => Ok(()),
        code => Err(format!("HTTP probe failed with statuscode: {code}")),
    }
}

async fn send<I>(io: I, request: http::Request<Empty<Bytes>>) -> Result<http::StatusCode, String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |e: hyper::Error| format!("HTTP: {e}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .map_err(text)?;
    let _until_answered = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(text)?;
    Ok(response.status())
}

async fn run(launch: &Launch) -> Result<(), String> {
    let process = process::spawn(launch).map_err(|e| format!("cannot run the probe: {e}"))?;
    // Dropped by a timeout, it takes its process along.
    let guard = KillOnDrop(process);
    match guard.0.exited().await {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(format!("command exited with code {code}")),
        Exit::Signal(signal) => Err(format!("command was ended by signal {signal}")),
        Exit::Unknown => Err("command ended in an unknown way".to_owned()),
    }
}

struct KillOnDrop(process::Process);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
        self.0.reap();
    }
}

/// Kubernetes probes do not verify certificates: they ask whether somebody answers, not who.
fn connector() -> Result<tokio_rustls::TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
