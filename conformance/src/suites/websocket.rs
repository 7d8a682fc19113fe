//! A WebSocket client and server (tungstenite), through both sidecars.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use stage::Pair;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::report::{Case, Outcome, Report, Suite};

const ABOUT: &str = "tungstenite's client and server: what is sent comes back.";
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let (app, task) = echo().await?;
    let pair = Pair::start(&[]).await?;
    let service = pair.serve(app);
    let entrance = pair.entrance(service).await?;
    let mut cases = Vec::new();
    let large = Message::binary(vec![7; 8 * 1024 * 1024]);
    for (name, message) in [
        ("text", Message::text("hello")),
        ("nothing", Message::binary(Vec::new())),
        ("8 MiB", large),
    ] {
        let outcome = exchange(entrance.addr, message).await;
        cases.push(Case::new(
            format!("{name}, there and back"),
            Outcome::of(outcome),
        ));
    }
    let outcome = pinged(entrance.addr).await;
    cases.push(Case::new("a ping is answered", Outcome::of(outcome)));
    let outcome = closed(entrance.addr).await;
    cases.push(Case::new("a close is answered", Outcome::of(outcome)));
    task.abort();
    report.add(Suite {
        name: "WebSocket, pair".into(),
        about: ABOUT,
        list_all: true,
        cases,
    });
    Ok(())
}

async fn echo() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind((stage::SERVER_IP, 0)).await?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(io).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary())
                        && socket.send(message).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    Ok((addr, task))
}

async fn connect(addr: SocketAddr) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let io = TcpStream::connect(addr).await?;
    let (socket, _) = tokio_tungstenite::client_async("ws://app/chat", io).await?;
    Ok(socket)
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> anyhow::Result<Message> {
    let next = tokio::time::timeout(LIMIT, socket.next()).await;
    Ok(next
        .context("nothing came back")?
        .context("it was closed")??)
}

async fn exchange(addr: SocketAddr, message: Message) -> anyhow::Result<()> {
    let mut socket = connect(addr).await?;
    socket.send(message.clone()).await?;
    ensure!(
        next(&mut socket).await? == message,
        "something else came back"
    );
    Ok(())
}

async fn pinged(addr: SocketAddr) -> anyhow::Result<()> {
    let mut socket = connect(addr).await?;
    socket.send(Message::Ping("1".into())).await?;
    let pong = next(&mut socket).await?;
    ensure!(pong == Message::Pong("1".into()), "{pong:?} came back");
    Ok(())
}

async fn closed(addr: SocketAddr) -> anyhow::Result<()> {
    let mut socket = connect(addr).await?;
    socket.close(None).await?;
    let last = next(&mut socket).await?;
    ensure!(last.is_close(), "{last:?} came back");
    Ok(())
}
