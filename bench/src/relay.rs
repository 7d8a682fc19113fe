//! A relay that makes the network as slow as a distance: every byte arrives half a round trip
//! after it was sent, however many are on their way.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Pieces on their way in one direction of one connection, and the size of a piece: more than a
/// gigabit a second needs at any round trip measured here.
const PIECES: usize = 1024;
const PIECE: usize = 64 * 1024;

/// Relays connections to `listen` on to `to` until the process ends, in a thread of its own.
pub(crate) fn start(
    listen: SocketAddr,
    to: SocketAddr,
    round_trip: Duration,
) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind(listen)
        .with_context(|| format!("the relay cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let delay = round_trip / 2;
    std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                while let Ok((io, _)) = listener.accept().await {
                    tokio::spawn(relay(io, to, delay));
                }
            });
        })?;
    Ok(())
}

async fn relay(near: TcpStream, to: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::try_join!(
        later(near_in, far_out, delay),
        later(far_in, near_out, delay)
    )?;
    Ok(())
}

/// Copies one direction, each piece late by `delay`.
async fn later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 {
                return io::Result::Ok(());
            }
            if sender.send((Instant::now() + delay, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = receiver.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_whole_and_late() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let listen = free.local_addr().unwrap();
            drop(free);
            let round_trip = Duration::from_millis(40);
            start(listen, far.local_addr().unwrap(), round_trip).unwrap();
            let mut near = TcpStream::connect(listen).await.unwrap();
            let (mut far, _) = far.accept().await.unwrap();
            let sent = Instant::now();
            near.write_all(b"ping").await.unwrap();
            let mut bytes = [0; 4];
            far.read_exact(&mut bytes).await.unwrap();
            far.write_all(&bytes).await.unwrap();
            near.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"ping");
            assert!(sent.elapsed() >= round_trip, "{:?}", sent.elapsed());
        });
    }
}
