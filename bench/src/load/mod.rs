//! The load: clients in one thread of their own, which count what they got and how long it took.
//!
//! [`Load::start`] begins, [`Load::requests`] may be read at any time, [`Load::stop`] ends it and
//! gives the latencies of what was sent after [`Load::mark`].

pub(crate) mod bytes;
mod http1;
mod http2;
pub(crate) mod rate;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use hdrhistogram::Histogram;
use tokio::net::{TcpSocket, TcpStream};

/// How the load reaches somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// Whom it connects to.
    pub(crate) to: SocketAddr,
    /// From which address, if that says whom it means.
    pub(crate) from: Option<IpAddr>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `GET`, connections kept.
    Http1,
    /// `GET`, each on a connection of its own.
    Http1Close,
    /// `GET`, one stream at a time on each connection.
    Http2,
    /// A unary call, one at a time on each connection.
    Grpc,
    /// `GET` at a fixed rate, late or not.
    Http1Rate(u32),
    /// A connection, one byte there and back, the end.
    Connect,
}

/// Latencies in microseconds.
pub(crate) type Latencies = Histogram<u64>;

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<anyhow::Result<Latencies>>,
}

/// What the clients and their owner share.
#[derive(Default)]
pub(crate) struct Shared {
    requests: AtomicU64,
    failures: AtomicU64,
    measuring: AtomicBool,
    stopped: AtomicBool,
}

/// What one thread's clients note down.
pub(crate) struct Notes {
    shared: Arc<Shared>,
    latencies: std::cell::RefCell<Latencies>,
}

impl Load {
    /// Starts clients with as many connections.
    pub(crate) fn start(
        protocol: Protocol,
        route: Route,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let notes = shared.clone();
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || run(protocol, route, connections, notes))?;
        Ok(Self { shared, thread })
    }

    /// How many requests were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Latencies count from now on.
    pub(crate) fn mark(&self) {
        self.shared.measuring.store(true, Ordering::Relaxed);
    }

    /// Ends it. An error if more than one request in a thousand failed: what fails costs little.
    pub(crate) fn stop(self) -> anyhow::Result<Latencies> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let latencies = self
            .thread
            .join()
            .map_err(|_| anyhow!("the load panicked"))??;
        let requests = self.shared.requests.load(Ordering::Relaxed);
        let failures = self.shared.failures.load(Ordering::Relaxed);
        if requests == 0 || failures * 1000 > requests {
            bail!("{failures} of {} requests failed", requests + failures);
        }
        Ok(latencies)
    }
}

impl Notes {
    /// An answer.
    fn answered(&self, since: Instant) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if self.shared.measuring.load(Ordering::Relaxed) {
            let micros = since.elapsed().as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            self.latencies.borrow_mut().saturating_record(micros);
        }
    }

    /// Something else.
    fn failed(&self) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }
}

fn run(
    protocol: Protocol,
    route: Route,
    connections: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<Latencies> {
    let notes = std::rc::Rc::new(Notes {
        shared,
        latencies: Latencies::new_with_bounds(1, 60_000_000, 3)?.into(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let start = Instant::now();
    for index in 0..connections {
        let notes = notes.clone();
        local.spawn_local(async move {
            while !notes.is_stopped() {
                let served = serve(protocol, route, &notes, (start, connections, index));
                if served.await.is_err() && !notes.is_stopped() {
                    notes.failed();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    runtime.block_on(async {
        tokio::select! {
            () = local => {}
            // Whoever waits for an answer that does not come is not waited for.
            () = stopped(&notes) => {}
        }
    });
    Ok(notes.latencies.replace(Latencies::new(3)?))
}

/// One connection's requests, until it breaks or the load is stopped.
async fn serve(
    protocol: Protocol,
    route: Route,
    notes: &Notes,
    (start, clients, index): (Instant, usize, usize),
) -> anyhow::Result<()> {
    match protocol {
        Protocol::Http1 => http1::keep(route, notes).await?,
        Protocol::Http1Close => http1::close(route, notes).await?,
        Protocol::Http2 => http2::get(route, notes).await?,
        Protocol::Grpc => http2::call(route, notes).await?,
        Protocol::Http1Rate(rate) => {
            let schedule = rate::Schedule::new(start, rate, clients, index);
            rate::keep(route, notes, schedule).await?;
        }
        Protocol::Connect => bytes::connect(route, notes).await?,
    }
    Ok(())
}

async fn stopped(notes: &Notes) {
    while !notes.is_stopped() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

pub(crate) use http2::stream;

/// Connects as the route says.
pub(crate) async fn dial(route: Route) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = route.from {
        socket.bind(SocketAddr::new(neighbour(from), 0))?;
    }
    let io = socket.connect(route.to).await?;
    io.set_nodelay(true)?;
    Ok(io)
}

/// Addresses that say the same by their last octet (see `shim/original_dst.c`).
const NEIGHBOURS: u8 = 8;

/// One of them: each has ports of its own, which stay taken for a minute after a connection.
fn neighbour(ip: IpAddr) -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let IpAddr::V4(ip) = ip else { return ip };
    let [a, b, c, d] = ip.octets();
    let turn = NEXT.fetch_add(1, Ordering::Relaxed) % NEIGHBOURS;
    Ipv4Addr::new(a, b, c + turn, d).into()
}
