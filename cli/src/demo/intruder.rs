//! Somebody who must not get through a gateway: without TLS, without an identity, or with one of
//! a foreign authority.
//!
//! It accepts any server, since what is tried here is whether the *gateway* refuses.

use crate::{gateway, http};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use mesh_contract::transport;
use mesh_tls::{Id, ca};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Speaks HTTP without TLS to the gateway's port; what came back.
pub(super) async fn plaintext(gateway: SocketAddr, host: &str) -> anyhow::Result<String> {
    let exchange = async {
        let mut io = TcpStream::connect(gateway).await?;
        io.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        // A reset is a refusal too.
        let _ = io.take(4096).read_to_end(&mut answer).await;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("the gateway kept a plaintext connection open")?
}

/// Sends a request for `name` through the gateway with TLS but no certificate.
pub(super) async fn anonymous(
    gateway: SocketAddr,
    gateway_identity: &str,
    name: &str,
) -> anyhow::Result<StatusCode> {
    let config = builder()?.with_no_client_auth();
    through(gateway, gateway_identity, config, name).await
}

/// Sends a request for `name` through the gateway as `id`, certified by a foreign authority.
pub(super) async fn foreign(
    gateway: SocketAddr,
    gateway_identity: &str,
    id: &Id,
    name: &str,
) -> anyhow::Result<StatusCode> {
    let issuer = ca::Anchor::generate("root.foreign", DAY)?.issuer("issuer.foreign", DAY)?;
    let key = rcgen::KeyPair::generate()?;
    let leaf = issuer.sign(
        id,
        &rcgen::PublicKeyData::subject_public_key_info(&key),
        DAY,
        TIMEOUT,
    )?;
    let chain = std::iter::once(leaf.leaf)
        .chain(leaf.intermediates)
        .collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder()?.with_client_auth_cert(chain, key)?;
    through(gateway, gateway_identity, config, name).await
}

/// A GET of `/` at `name`, once the header is written.
fn request(name: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    Ok(Request::get("/")
        .header(hyper::header::HOST, name)
        .body(Full::default())?)
}

async fn through(
    address: SocketAddr,
    gateway_identity: &str,
    mut config: ClientConfig,
    name: &str,
) -> anyhow::Result<StatusCode> {
    config.alpn_protocols = vec![transport::ALPN.to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let server_name = ServerName::try_from(gateway_identity.to_owned())?;
    let exchange = async {
        let io = TcpStream::connect(address).await?;
        let mut io = connector.connect(server_name, io).await?;
        io.write_all(&gateway::header(name, 80)).await?;
        http::exchange(io, request(name)?).await
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("the gateway neither answered nor closed")??;
    Ok(answer.status)
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder() -> anyhow::Result<Builder> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(provider))))
}

/// Accepts any server certificate.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
