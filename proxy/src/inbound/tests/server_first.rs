//! Servers that speak first, to clients of the mesh.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::{
    opaque_header,
    sandbox::{CLIENT, Sandbox, detect, opaque, read_to_end},
};

const GREETING: &[u8] = b"220 hello";

/// A server that greets at once and closes when its client has.
async fn greeting() -> SocketAddr {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            io.write_all(GREETING).await.unwrap();
            io.read_to_end(&mut Vec::new()).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn a_client_of_the_mesh_may_wait_for_the_server_to_speak() {
    let mesh = Sandbox::start().await;
    for policy in [None, Some(opaque(&[CLIENT])), Some(detect(&[CLIENT]))] {
        let port = greeting().await.port();
        if let Some(policy) = policy {
            mesh.policies.set(port, policy);
        }
        let mut io = mesh.direct(opaque_header(port)).await;
        let mut heard = [0; GREETING.len()];
        let greeted = timeout(Duration::from_secs(20), io.read_exact(&mut heard)).await;
        greeted.expect("no greeting").unwrap();
        assert_eq!(heard, *GREETING);
        // Its end is the server's, too.
        io.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut io).await, b"");
    }
}
