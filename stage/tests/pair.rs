//! The stage works: a program that knows nothing of proxies talks through both sidecars.

use std::time::Duration;

use stage::{Pair, SERVER_IP};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn a_request_arrives_with_the_clients_identity() {
    let pair = Pair::start(&[]).await.unwrap();
    let app = TcpListener::bind((SERVER_IP, 0)).await.unwrap();
    let service = pair.serve(app.local_addr().unwrap());
    let entrance = pair.entrance(service).await.unwrap();
    let talk = async {
        let mut client = TcpStream::connect(entrance.addr).await.unwrap();
        let request = b"GET /hello HTTP/1.1\r\nhost: app\r\n\r\n";
        client.write_all(request).await.unwrap();
        let (mut server, _) = app.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(server.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), talk).await;
    let seen = seen.expect("the request did not arrive");
    assert!(seen.starts_with("GET /hello HTTP/1.1"), "{seen}");
    let id = format!("l5d-client-id: {}\r\n", stage::CLIENT_ID);
    assert!(seen.contains(&id), "{seen}");
}
