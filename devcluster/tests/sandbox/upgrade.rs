//! `pods/exec` by a WebSocket made by hand, for what kubectl cannot be asked for in a test.

use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What the command of `path` prints; it must succeed.
pub async fn exec(client: &kube::Client, path: &str) -> String {
    let request = http::Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    let accept = &answer.headers()["sec-websocket-accept"];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    let (mut said, mut status) = (String::new(), String::new());
    while let Some(Ok(message)) = socket.next().await {
        let bytes = message.into_data();
        match bytes.first() {
            Some(1) => said.push_str(&String::from_utf8_lossy(&bytes[1..])),
            Some(3) => status.push_str(&String::from_utf8_lossy(&bytes[1..])),
            _ => {}
        }
    }
    assert!(status.contains("Success"), "{status}");
    said
}
