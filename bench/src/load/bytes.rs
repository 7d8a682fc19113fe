//! Clients of the byte application: throughput, new connections, idle connections.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Notes, Route, dial};
use crate::app::{ECHO, SINK, SOURCE};

/// A connection, one byte there and back, the end.
pub(super) async fn connect(route: Route, notes: &Notes) -> io::Result<()> {
    let since = Instant::now();
    drop(open(route).await?);
    notes.answered(since);
    Ok(())
}

/// A connection that has been proven to lead to the application.
async fn open(route: Route) -> io::Result<TcpStream> {
    let mut io = dial(route).await?;
    io.write_all(&[ECHO, b'x']).await?;
    io.read_u8().await?;
    Ok(io)
}

/// Bytes in both directions at once, as fast as they go.
pub(crate) struct Flood {
    moved: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Flood {
    /// Starts with as many connections in each direction.
    pub(crate) fn start(route: Route, connections: usize) -> anyhow::Result<Self> {
        let (moved, stopped) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, stop) = (moved.clone(), stopped.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                runtime.block_on(async {
                    let mut all = tokio::task::JoinSet::new();
                    for _ in 0..connections {
                        all.spawn(upload(route, count.clone(), stop.clone()));
                        all.spawn(download(route, count.clone(), stop.clone()));
                    }
                    while let Some(ended) = all.join_next().await {
                        ended.context("the load panicked")??;
                    }
                    Ok(())
                })
            })?;
        Ok(Self {
            moved,
            stopped,
            thread,
        })
    }

    /// Bytes so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the load panicked"))?
    }
}

async fn upload(route: Route, count: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> io::Result<()> {
    let mut io = dial(route).await?;
    let bytes = vec![b'x'; 256 * 1024];
    io.write_all(&[SINK]).await?;
    while !stop.load(Ordering::Relaxed) {
        let n = io.write(&bytes).await?;
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
    Ok(())
}

async fn download(route: Route, count: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> io::Result<()> {
    let mut io = dial(route).await?;
    let mut bytes = vec![0; 256 * 1024];
    io.write_all(&[SOURCE]).await?;
    while !stop.load(Ordering::Relaxed) {
        let n = io.read(&mut bytes).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Connections that say nothing any more.
pub(crate) struct Idle {
    runtime: tokio::runtime::Runtime,
    open: Vec<TcpStream>,
}

/// How many are opened at once.
const AT_ONCE: usize = 32;

impl Idle {
    /// Opens as many, each proven to lead to the application.
    pub(crate) fn open(route: Route, connections: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let opening = async {
            let mut open = Vec::with_capacity(connections);
            while open.len() < connections {
                let some = AT_ONCE.min(connections - open.len());
                let some = futures::future::try_join_all((0..some).map(|_| one(route)));
                open.extend(some.await?);
            }
            anyhow::Ok(open)
        };
        let open = runtime.block_on(opening)?;
        Ok(Self { runtime, open })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Closes them all.
    pub(crate) fn close(self) {
        let _within = self.runtime.enter();
        drop(self.open);
    }
}

async fn one(route: Route) -> anyhow::Result<TcpStream> {
    const LIMIT: Duration = Duration::from_secs(10);
    let opened = tokio::time::timeout(LIMIT, open(route)).await;
    Ok(opened.context("a connection leads nowhere")??)
}
