//! The certificate changes while the server runs.

use super::material::{self, Data, Plan};
use crate::{args::Args, run};
use clap::Parser as _;
use devcluster::testing::{Cluster, eventually};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use mesh_contract::names;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: Args,
}

/// A connection of the API server's.
struct Connection(TlsStream<TcpStream>);

impl Connection {
    async fn to(addr: SocketAddr, ca: &str, name: &str) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(ca.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connected = async {
            let tcp = TcpStream::connect(addr).await?;
            let connector = TlsConnector::from(Arc::new(config));
            connector.connect(name, tcp).await
        };
        connected.await.map(Self).map_err(|error| error.to_string())
    }

    fn leaf(&self) -> CertificateDer<'static> {
        let (_, tls) = self.0.get_ref();
        tls.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Sends a review that is none; the status line of the answer.
    async fn asked(&mut self) -> std::io::Result<String> {
        let request = "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
        self.0.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.0.read_u8().await?));
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name == "content-length").then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or_default()];
        self.0.read_exact(&mut body).await?;
        Ok(head.lines().next().unwrap_or_default().to_owned())
    }
}

fn secret(data: &Data) -> Secret {
    let data = data.iter();
    let data = data.map(|(key, text)| (key.clone(), ByteString(text.clone().into_bytes())));
    Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(names::INJECTOR_TLS.to_owned()),
            ..Default::default()
        },
        data: Some(data.collect()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections_while_old_ones_go_on() {
    let cluster = Cluster::start("west").await;
    let namespace = names::CONTROL_PLANE_NS;
    let made: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces
        .create(&PostParams::default(), &made)
        .await
        .unwrap();
    // A leaf that was made 70 of its 90 days ago is due, its CA is not.
    let args = Flags::parse_from(["injector", "--admin-addr=127.0.0.1:0"]).args;
    let name = args.server_name();
    let then = SystemTime::now() - 70 * DAY;
    let Plan::Replace(aged) = material::plan(None, &name, then).unwrap() else {
        panic!("there was nothing to keep");
    };
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let (params, made) = (PostParams::default(), secret(&aged));
    secrets.create(&params, &made).await.unwrap();
    let aged_leaf = CertificateDer::from_pem_slice(aged[material::CERTIFICATE].as_bytes()).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_trigger, shutdown) = mesh_daemon::shutdown();
    let client = cluster.client.clone();
    let running = tokio::spawn(run::serve(client, listener, args, shutdown));
    let ca = aged[material::CA].clone();
    let connect = || Connection::to(addr, &ca, &name);
    let mut old = eventually(connect).await;
    let first = old.leaf();
    assert_ne!(first, aged_leaf, "it was due");
    let answer = "HTTP/1.1 400 Bad Request";
    assert_eq!(old.asked().await.unwrap(), answer);

    // It is due again.
    let patch = Patch::Merge(secret(&aged));
    secrets
        .patch(names::INJECTOR_TLS, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let mut new = eventually(async || {
        let new = connect().await?;
        let is_new = new.leaf() != first;
        is_new
            .then_some(new)
            .ok_or("another certificate".to_owned())
    })
    .await;
    assert_ne!(new.leaf(), aged_leaf);
    assert_eq!(new.asked().await.unwrap(), answer);
    // Nobody cut the old one off, and it has what it began with.
    assert_eq!(old.asked().await.unwrap(), answer);
    assert_eq!(old.leaf(), first);
    assert!(!running.is_finished());
}
