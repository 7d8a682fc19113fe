//! Asking nodes: for what only they know of their pods.
//!
//! The node is trusted by the certificate it published in its Node object; it is shown a token
//! that proves nothing but "this is the API server".

use super::Call;
use crate::status::ApiError;
use crate::store::ResourceKey;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Response, request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a node publishes the PEM of the certificate it serves with.
const SERVING_CERT: &str = "devcluster.mesh.io/serving-cert";
/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a node's error is read.
const MAX_ERROR: usize = 4096;
/// How nodes are spoken to.
#[derive(Clone)]
pub(in crate::apiserver) struct Nodes {
    token: Arc<str>,
}

impl Nodes {
    /// `token` authenticates as [`crate::apiserver::NODE_CLIENT`].
    pub(in crate::apiserver) fn new(token: &str) -> Self {
        Self {
            token: token.into(),
        }
    }
}

/// Sends a request to the node that runs the pod.
pub(super) async fn ask(
    call: &Call,
    pod: &Value,
    request: request::Builder,
) -> Result<Response<Incoming>, ApiError> {
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else {
        let message = format!("pod {} does not have a host assigned", call.name());
        return Err(ApiError::bad_request(message));
    };
    let node = call
        .api
        .store
        .get(&ResourceKey::core("nodes"), None, node)
        .ok_or_else(|| ApiError::not_found("", "nodes", node))?;
    let asked = send(&call.api.nodes, &node, request);
    tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| {
        ApiError::unavailable("the node did not answer in time; is its agent running?")
    })?
}

/// The container asked for, or the only one.
pub(super) fn container(call: &Call, pod: &Value) -> Result<String, ApiError> {
    let names = |key: &str| -> Vec<&str> {
        let list = pod["spec"][key].as_array();
        list.into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    if let Some(wanted) = call.query.text("container") {
        if containers.contains(&wanted) || init.contains(&wanted) {
            return Ok(wanted.to_owned());
        }
        let message = format!("container {wanted} is not valid for pod {}", call.name());
        return Err(ApiError::bad_request(message));
    }
    let default = &pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    match (containers.as_slice(), default.as_str()) {
        (_, Some(default)) if containers.contains(&default) => Ok(default.to_owned()),
        ([only], _) => Ok((*only).to_owned()),
        _ => {
            let mut message = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                call.name(),
                containers.join(" ")
            );
            if !init.is_empty() {
                message = format!(
                    "{message} or one of the init containers: [{}]",
                    init.join(" ")
                );
            }
            Err(ApiError::bad_request(message))
        }
    }
}

fn address(node: &Value) -> Option<SocketAddr> {
    let status = &node["status"];
    let addresses = status["addresses"].as_array()?;
    let internal = addresses.iter().find(|a| a["type"] == "InternalIP")?;
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?;
    let ip = internal["address"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

fn connector(node: &Value) -> Option<TlsConnector> {
    let pem = node["metadata"]["annotations"][SERVING_CERT].as_str()?;
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(cert.ok()?).ok()?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

async fn send(
    nodes: &Nodes,
    node: &Value,
    request: request::Builder,
) -> Result<Response<Incoming>, ApiError> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let unready = |what: &str| ApiError::unavailable(format!("node {name:?} {what}"));
    let address = address(node).ok_or_else(|| unready("has not published where it serves logs"))?;
    let connector =
        connector(node).ok_or_else(|| unready("has not published its serving certificate"))?;
    let failed =
        |error: std::io::Error| unready(&format!("cannot be reached at {address}: {error}"));
    let tcp = TcpStream::connect(address).await.map_err(failed)?;
    let tls = connector
        .connect(ServerName::from(address.ip()), tcp)
        .await
        .map_err(failed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|e| unready(&format!("does not speak HTTP: {e}")))?;
    tokio::spawn(connection.with_upgrades());
    let request = request
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, format!("Bearer {}", nodes.token))
        .body(Empty::<Bytes>::new())
        .map_err(ApiError::internal)?;
    sender
        .send_request(request)
        .await
        .map_err(|e| unready(&format!("broke off: {e}")))
}

/// A node's refusal, as a Status of the same code.
pub(super) async fn refused(response: Response<Incoming>) -> ApiError {
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ERROR)
        .collect()
        .await;
    let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned());
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        404 => "NotFound",
        _ => "InternalError",
    };
    ApiError::new(code, reason, text.unwrap_or_default())
}
