//! Connections whose name is withdrawn while they go on.

use std::{net::SocketAddr, time::Duration};

use linkerd2_proxy_api::destination::WeightedAddr;
use mesh_federation::Directives;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::sandbox::{Mesh, first_available, plain};

const TO: &str = "10.0.0.1:80";
const NAME: &str = "web-east.default.svc.cluster.local:80";

/// Sends back what it gets, at once.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = io.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

fn of_another_cluster(addr: SocketAddr) -> WeightedAddr {
    let labels = [("target_cluster".to_owned(), "east".to_owned())];
    WeightedAddr {
        metric_labels: labels.into(),
        ..plain(addr)
    }
}

async fn ping(io: &mut TcpStream) {
    io.write_all(b"!").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'!');
}

async fn told() -> Mesh {
    let mesh = Mesh::start().await;
    mesh.directives.told(&Directives {
        close_withdrawn: true,
        ..Directives::default()
    });
    mesh
}

/// An open connection to the endpoint of the name.
async fn open(mesh: &Mesh, endpoint: WeightedAddr) -> TcpStream {
    mesh.control.policy(TO, first_available(&[NAME]));
    mesh.control.endpoints(NAME, &[endpoint]);
    let mut io = mesh.dial(TO).await;
    ping(&mut io).await;
    io
}

#[tokio::test]
async fn a_connection_to_another_cluster_ends_when_its_name_is_imported_no_more() {
    let addr = mirror().await;
    let (mesh, local, stock, empty) = (
        told().await,
        told().await,
        Mesh::start().await,
        told().await,
    );
    let mut cut = open(&mesh, of_another_cluster(addr)).await;
    // Whoever deletes a Service of the own cluster does not mean its connections; a control plane
    // that says nothing of them means none; and having no endpoints now is not being withdrawn.
    let mut within = open(&local, plain(addr)).await;
    let mut untold = open(&stock, of_another_cluster(addr)).await;
    let mut drained = open(&empty, of_another_cluster(addr)).await;
    local.control.withdraw(NAME);
    stock.control.withdraw(NAME);
    empty.control.endpoints(NAME, &[]);
    mesh.control.withdraw(NAME);
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(20), cut.read_to_end(&mut rest)).await;
    let _ = ended.expect("it goes on");
    assert_eq!(rest, b"");
    for io in [&mut within, &mut untold, &mut drained] {
        ping(io).await;
    }
}
