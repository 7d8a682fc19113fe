//! How a webhook is asked: where it is, whom to trust, how long to wait. Errors are worded as
//! kube-apiserver words them, as users search for them.

use crate::schema::json::{at, items, text};
use crate::store::{ResourceKey, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a webhook may take that does not say.
const TIMEOUT_SECONDS: u64 = 10;
/// How much of an answer is read; as much as an object may be long.
const MAX_ANSWER: usize = 3 << 20;
/// How much of a refusal is shown.
const MAX_SHOWN: usize = 2048;

/// Where a webhook is.
struct Target {
    /// Host and port as the URL has them.
    authority: String,
    /// The name its certificate must have.
    host: String,
    path: String,
    /// Where to connect to, or why nobody knows.
    address: Result<String, String>,
}

/// Asks a webhook; the error says why there is no answer.
pub(super) async fn post(store: &Store, hook: &Value, review: &Value) -> Result<Value, String> {
    let client = at(hook, &["clientConfig"]);
    let target = target(store, client)?;
    let tls = connector(text(client, &["caBundle"]))
        .map_err(|why| format!("could not get REST client: {why}"))?;
    let seconds = at(hook, &["timeoutSeconds"]).as_u64();
    let seconds = seconds.unwrap_or(TIMEOUT_SECONDS);
    let path = format!("{}?timeout={seconds}s", target.path);
    let sent = send(&target, tls, &path, review.to_string());
    let answered = match tokio::time::timeout(Duration::from_secs(seconds), sent).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(Broken::Sending(why))) => return Err(unsent(&target, &path, &why)),
        Ok(Err(Broken::Answer(why))) => return Err(format!("failed to call webhook: {why}")),
        Err(_) => return Err(unsent(&target, &path, "context deadline exceeded")),
    };
    let (code, body) = answered;
    if !code.is_success() {
        return Err(format!(
            "failed to call webhook: {}",
            unsuccessful(code, &body)
        ));
    }
    serde_json::from_slice(&body).map_err(|e| {
        format!("failed to call webhook: couldn't get version/kind; json parse error: {e}")
    })
}

fn unsent(target: &Target, path: &str, why: &str) -> String {
    let url = format!("https://{}{path}", target.authority);
    format!("failed to call webhook: Post {url:?}: {why}")
}

/// What went wrong: before there was an answer, or with it.
enum Broken {
    Sending(String),
    Answer(String),
}

fn target(store: &Store, client: &Value) -> Result<Target, String> {
    let service = at(client, &["service"]);
    if service.is_null() {
        return url_target(text(client, &["url"]));
    }
    let (name, namespace) = (text(service, &["name"]), text(service, &["namespace"]));
    let port = at(service, &["port"]).as_i64().unwrap_or(443);
    let host = format!("{name}.{namespace}.svc");
    let path = match text(service, &["path"]) {
        "" => "/",
        path => path,
    };
    Ok(Target {
        authority: format!("{host}:{port}"),
        path: path.to_owned(),
        address: endpoint(store, namespace, name, port),
        host,
    })
}

fn url_target(url: &str) -> Result<Target, String> {
    let wrong = |why: &str| format!("could not get REST client: Unparsable URL: {why}");
    let uri: Uri = url
        .parse()
        .map_err(|e: http::uri::InvalidUri| wrong(&e.to_string()))?;
    let host = uri.host().ok_or_else(|| wrong("no host"))?;
    let port = uri.port_u16().unwrap_or(443);
    Ok(Target {
        authority: uri
            .authority()
            .map_or_else(|| host.to_owned(), ToString::to_string),
        host: host.trim_matches(['[', ']']).to_owned(),
        path: uri.path().to_owned(),
        address: Ok(format!("{host}:{port}")),
    })
}

/// A ready endpoint of a Service. Cluster IPs mean nothing outside pods.
fn endpoint(store: &Store, namespace: &str, name: &str, port: i64) -> Result<String, String> {
    let service = store.get(&ResourceKey::core("services"), Some(namespace), name);
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
    if text(&service, &["spec", "type"]) == "ExternalName" {
        return Err("unsupported service type \"ExternalName\"".to_owned());
    }
    let ports = items(&service, &["spec", "ports"]);
    let wanted = ports
        .iter()
        .find(|p| p["port"] == port)
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let none = || format!("no endpoints available for service {name:?}");
    let key = ResourceKey::new("discovery.k8s.io", "endpointslices");
    let (slices, _) = store.list(&key, Some(namespace));
    let mut ready = Vec::new();
    for slice in &slices {
        let of = at(slice, &["metadata", "labels", "kubernetes.io/service-name"]);
        if of != name {
            continue;
        }
        let mut ports = items(slice, &["ports"]).iter();
        let same = |p: &&Value| text(p, &["name"]) == text(wanted, &["name"]);
        let Some(port) = ports.find(same).and_then(|p| p["port"].as_u64()) else {
            continue;
        };
        for endpoint in items(slice, &["endpoints"]) {
            let serves = at(endpoint, &["conditions", "ready"]) != false;
            if let Some(ip) = endpoint["addresses"][0].as_str().filter(|_| serves) {
                ready.push(format!("{ip}:{port}"));
            }
        }
    }
    if ready.is_empty() {
        return Err(none());
    }
    let chosen = usize::from(rand::random::<u16>()) % ready.len();
    Ok(ready.swap_remove(chosen))
}

/// Trusts the bundle, and without one nobody: there is no list of public authorities here.
fn connector(bundle: &str) -> Result<TlsConnector, String> {
    let wrong = |why: String| format!("unable to load root certificates: {why}");
    let pem = STANDARD.decode(bundle).map_err(|e| wrong(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() && !pem.is_empty() {
        return Err(wrong("unable to parse bytes as PEM block".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn send(
    target: &Target,
    tls: TlsConnector,
    path: &str,
    body: String,
) -> Result<(StatusCode, Bytes), Broken> {
    let sending = |why: String| Broken::Sending(why);
    let address = target.address.clone().map_err(Broken::Sending)?;
    let tcp = TcpStream::connect(&address)
        .await
        .map_err(|e| sending(undialled(&address, &e)))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|e| sending(e.to_string()))?;
    let stream = tls
        .connect(name, tcp)
        .await
        .map_err(|e| sending(untrusted(&e)))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| sending(e.to_string()))?;
    tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, "kube-apiserver-admission")
        .header(ACCEPT, "application/json, */*")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| sending(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(|e| {
        let eof = e.is_incomplete_message() || e.is_closed();
        sending(if eof { "EOF".to_owned() } else { e.to_string() })
    })?;
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|e| Broken::Answer(format!("reading the answer: {e}")))?;
    Ok((code, body.to_bytes()))
}

fn undialled(address: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: connect: {why}")
}

/// Why a certificate does not do, in the words of Go's `crypto/x509` where there are some.
fn untrusted(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(fault)) = inner else {
        return error.to_string();
    };
    let why = match fault {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// What a code that is no success says, in the words of Kubernetes' clients.
fn unsuccessful(code: StatusCode, body: &[u8]) -> String {
    let said = match code.as_u16() {
        401 => "the server has asked for the client to provide credentials",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        409 => "the server reported a conflict",
        503 => "the server is currently unable to handle the request",
        500.. => {
            let text = String::from_utf8_lossy(body.get(..MAX_SHOWN).unwrap_or(body));
            let text = text.trim();
            return format!(
                "an error on the server ({text:?}) has prevented the request from succeeding"
            );
        }
        _ => "the server rejected our request for an unknown reason",
    };
    said.to_owned()
}
