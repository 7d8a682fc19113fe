//! `logs`, with a node that answers what it was asked.

use super::Claim;
use crate::sandbox::{Cluster, runtime};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const CLAIMS: &[Claim] = &[
    ("logs asks the pod's node and passes its answer on", asks),
    ("logs says what is missing", missing),
];

/// A node that answers each request with its own first line. Returns its port and certificate.
fn node() -> (u16, String) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime()
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                match tls.read(&mut buffer).await {
                    Ok(n) if n > 0 => head.extend(&buffer[..n]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let line = head.lines().next().unwrap_or_default();
            let known = head.to_lowercase().contains("authorization: bearer ");
            let body = format!("{line} {}\n", if known { "known" } else { "unknown" });
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = tls.write_all(answer.as_bytes()).await;
            let _ = tls.shutdown().await;
        }
    });
    (port, cert.pem())
}

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
    "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"},
        {"name": "b", "image": "i"}]}}"#;

fn asks(c: &Cluster) {
    let (port, pem) = node();
    let node = serde_json::json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "annotations": {"devcluster.mesh.io/serving-cert": pem}}});
    c.fed(&["create", "-f", "-"], &node.to_string());
    let status = serde_json::json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let patch = [
        "patch",
        "node",
        "n",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    c.ok(&[&patch[..], &[&status.to_string()]].concat());
    c.fed(&["create", "-f", "-"], POD);
    let said = c.ok(&["logs", "x", "-c", "b", "--tail=5", "--previous"]);
    let expected = "GET /containerLogs/default/x/b?previous=true&tailLines=5 HTTP/1.1 known\n";
    assert_eq!(said, expected);
    let followed = c.ok(&["logs", "x", "-c", "a", "-f"]);
    assert!(followed.contains("follow=true"), "{followed}");
}

fn missing(c: &Cluster) {
    let unknown = c.fails(&["logs", "x"]);
    assert!(unknown.contains("pods \"x\" not found"), "{unknown}");
    c.fed(&["create", "-f", "-"], POD);
    let container = c.fails(&["logs", "x", "-c", "z"]);
    assert!(
        container.contains("container z is not valid for pod x"),
        "{container}"
    );
    let node = c.fails(&["logs", "x", "-c", "a"]);
    assert!(node.contains("nodes \"n\" not found"), "{node}");
    let ambiguous = c.fails(&["get", "--raw", "/api/v1/namespaces/default/pods/x/log"]);
    assert!(
        ambiguous.contains("a container name must be specified for pod x"),
        "{ambiguous}"
    );
}
