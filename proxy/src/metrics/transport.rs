//! `tcp_*`: connections and their bytes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::RwLock;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    family::{Family, Series, note, render_each},
    labels::{Labels, header, sample},
    zone::{Transfers, Zone},
};
use crate::io::{Io, Passed};

/// The TCP series of one target. Resolve once, keep, use for every connection.
#[derive(Clone)]
pub struct TransportMetrics {
    series: Arc<Series<TransportSeries>>,
    /// Where the other end is, and who wants to know what goes there.
    zone: Option<(Zone, Arc<Transfers>)>,
}

#[derive(Default)]
pub(super) struct TransportSeries {
    opened: AtomicU64,
    open: AtomicI64,
    read: AtomicU64,
    written: AtomicU64,
    /// A handful: one for each way to end.
    closed: RwLock<Vec<(&'static str, AtomicU64)>>,
}

/// A connection whose bytes are counted, and its end when it is dropped.
pub struct Counted<I> {
    io: I,
    series: Arc<Series<TransportSeries>>,
    zone: Option<(Zone, Arc<Transfers>)>,
    /// Bytes received and sent that the zone was not told of yet.
    untold: [u64; 2],
    errno: &'static str,
}

/// A counter everybody shares is not touched for each packet.
const TOLD_AT: u64 = 64 * 1024;

impl TransportMetrics {
    pub(super) fn new(series: Arc<Series<TransportSeries>>) -> Self {
        Self { series, zone: None }
    }

    /// The same for connections to a zone.
    pub(super) fn to(mut self, zone: Zone, transfers: &Arc<Transfers>) -> Self {
        self.zone = Some((zone, transfers.clone()));
        self
    }

    /// Counts an opened connection; the returned stream counts bytes and, dropped, the close.
    pub fn open<I: Io>(&self, io: I) -> Counted<I> {
        let series = &self.series;
        series.touch();
        series.opened.fetch_add(1, Ordering::Relaxed);
        series.open.fetch_add(1, Ordering::Relaxed);
        Counted {
            io,
            series: series.clone(),
            zone: self.zone.clone(),
            untold: [0; 2],
            errno: "",
        }
    }
}

impl<I> Counted<I> {
    fn moved(&mut self, which: usize, bytes: usize) {
        self.untold[which] += bytes as u64;
        if self.untold[which] >= TOLD_AT {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let [received, sent] = std::mem::take(&mut self.untold);
        if let Some((zone, transfers)) = &self.zone {
            transfers.add(*zone, received, sent);
        }
    }

    fn note<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.errno = errno(error);
        }
        polled
    }

    fn read(&mut self, n: usize) {
        self.series.read.fetch_add(n as u64, Ordering::Relaxed);
        self.moved(0, n);
    }

    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &polled {
            self.series.written.fetch_add(*n as u64, Ordering::Relaxed);
            self.moved(1, *n);
        }
        self.note(polled)
    }
}

impl<I: Io> Io for Counted<I> {
    fn socket(&self) -> Option<&TcpStream> {
        self.io.socket()
    }

    fn passed(&mut self, passed: Passed<'_>) {
        match passed {
            Passed::Read(n) => self.read(n),
            Passed::Written(n) => drop(self.wrote(Poll::Ready(Ok(n)))),
            Passed::Failed(error) => self.errno = errno(error),
        }
        self.io.passed(passed);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read(buf.filled().len() - before);
        self.note(polled)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.note(polled)
    }
}

impl<I> Drop for Counted<I> {
    fn drop(&mut self) {
        self.tell();
        self.series.touch();
        self.series.open.fetch_sub(1, Ordering::Relaxed);
        note(&self.series.closed, self.errno, |count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
}

fn errno(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::BrokenPipe => "EPIPE",
        io::ErrorKind::NotConnected => "ENOTCONN",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::UnexpectedEof => "UnexpectedEof",
        _ => "EIO",
    }
}

pub(super) fn render(
    out: &mut String,
    family: &Family<TransportSeries>,
    retain_idle: std::time::Duration,
) {
    let all = family.snapshot(retain_idle);
    let opened = "Total count of opened connections";
    render_each(out, "tcp_open_total", "counter", opened, &all, |s| {
        s.opened.load(Ordering::Relaxed)
    });
    let open = "Number of currently-open connections";
    render_each(out, "tcp_open_connections", "gauge", open, &all, |s| {
        s.open.load(Ordering::Relaxed)
    });
    let read = "Total count of bytes read from peers";
    render_each(out, "tcp_read_bytes_total", "counter", read, &all, |s| {
        s.read.load(Ordering::Relaxed)
    });
    let written = "Total count of bytes written to peers";
    render_each(
        out,
        "tcp_write_bytes_total",
        "counter",
        written,
        &all,
        |s| s.written.load(Ordering::Relaxed),
    );
    let name = "tcp_close_total";
    header(out, name, "counter", "Total count of closed connections");
    for (labels, series) in &all {
        for (errno, count) in series.closed.read().iter() {
            let errno = Labels::default().with("errno", errno);
            sample(out, name, labels, &errno, count.load(Ordering::Relaxed));
        }
    }
}
