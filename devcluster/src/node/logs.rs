//! Container logs: plain files the process appends to itself, so that they do not depend on the
//! agent being alive. Beside each lies an index of (time, size) samples, which gives lines their
//! time for `--timestamps` and `--since`, to the half second.
//!
//! A file that grows past its bound loses its oldest part in place (a hole is punched), because
//! the process keeps its descriptor and offsets must not move under a reader that follows.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use rustix::fs::FallocateFlags;
use tokio::sync::mpsc;

use super::model::{Stamp, now};

/// What a container may keep of one run.
const KEEP_BYTES: u64 = 10 << 20;
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
const CHUNK: usize = 64 << 10;

/// `PodLogOptions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) tail: Option<u64>,
    pub(super) timestamps: bool,
    pub(super) since: Option<Stamp>,
    pub(super) limit: Option<u64>,
}

/// The index beside a log.
pub(super) fn index_path(log: &Path) -> PathBuf {
    log.with_extension("idx")
}

/// Samples a log and keeps it within its bound until `done`, and once more then.
pub(super) async fn tend(log: PathBuf, done: impl Future<Output = ()>) {
    let mut keeper = Keeper {
        log,
        sampled: 0,
        start: 0,
        bound: KEEP_BYTES,
    };
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    tokio::pin!(done);
    loop {
        let ended = tokio::select! {
            () = &mut done => true,
            _ = ticks.tick() => false,
        };
        if let Err(error) = keeper.tick() {
            tracing::debug!(log = %keeper.log.display(), %error, "cannot tend a log");
        }
        if ended {
            return;
        }
    }
}

struct Keeper {
    log: PathBuf,
    sampled: u64,
    start: u64,
    bound: u64,
}

impl Keeper {
    fn tick(&mut self) -> io::Result<()> {
        let size = fs::metadata(&self.log)?.len();
        if size == self.sampled {
            return Ok(());
        }
        let index = index_path(&self.log);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&index)?;
        writeln!(file, "{} {size}", now())?;
        self.sampled = size;
        if size.saturating_sub(self.start) > self.bound {
            self.shorten(size, &index)?;
        }
        Ok(())
    }

    fn shorten(&mut self, size: u64, index: &Path) -> io::Result<()> {
        let start = (size - self.bound / 2) & !0xfff;
        let file = OpenOptions::new().write(true).open(&self.log)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&file, flags, 0, start).is_err() {
            // A file system without holes: the bound matters more than the history.
            file.set_len(0)?;
            self.sampled = 0;
            return fs::write(index, "");
        }
        self.start = start;
        let kept: Vec<String> = read_index(&self.log)
            .into_iter()
            .filter(|(_, end)| *end > start)
            .map(|(at, end)| format!("{at} {end}\n"))
            .collect();
        super::disk::write_atomic(index, kept.concat().as_bytes(), 0o600)
    }
}

/// Sends what `options` ask for; ends when it is sent, or, following, when `alive` says that the
/// container has ended and everything it wrote is sent.
pub(super) async fn stream(
    log: PathBuf,
    options: Options,
    alive: impl Fn() -> bool + Send,
    out: mpsc::Sender<io::Result<Bytes>>,
) {
    if let Err(error) = send(&log, &options, alive, &out).await {
        let _reader_gone = out.send(Err(error)).await;
    }
}

async fn send(
    log: &Path,
    options: &Options,
    alive: impl Fn() -> bool + Send,
    out: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let file = File::open(log)?;
    let index = read_index(log);
    let mut at = first_offset(&file, options, &index)?;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut lines = Lines {
        stamp: options.timestamps,
        mid_line: false,
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        // Asked before reading, so that a last word written just before the end is not missed.
        let was_alive = alive();
        let read = file.read_at(&mut buffer, at)?;
        if read > 0 {
            let text = lines.render(&buffer[..read], at, log);
            at += read as u64;
            let text = text.slice(..text.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= text.len() as u64;
            if out.send(Ok(text)).await.is_err() || left == 0 {
                return Ok(());
            }
        } else if options.follow && was_alive {
            if file.metadata()?.len() < at {
                at = 0;
            }
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
                () = out.closed() => return Ok(()),
            }
        } else {
            return Ok(());
        }
    }
}

struct Lines {
    stamp: bool,
    mid_line: bool,
}

impl Lines {
    /// Puts the time before each line that starts in `chunk`, which starts at `offset`.
    fn render(&mut self, chunk: &[u8], offset: u64, log: &Path) -> Bytes {
        if !self.stamp {
            return Bytes::copy_from_slice(chunk);
        }
        let index = read_index(log);
        let mut out = Vec::with_capacity(chunk.len() * 2);
        let mut at = offset;
        for line in chunk.split_inclusive(|b| *b == b'\n') {
            if !self.mid_line {
                let sample = index.partition_point(|(_, end)| *end <= at);
                let time = index.get(sample).map_or_else(now, |(time, _)| *time);
                let time = Timestamp::from_millisecond(time).unwrap_or_default();
                out.extend_from_slice(format!("{time:.9} ").as_bytes());
            }
            out.extend_from_slice(line);
            at += line.len() as u64;
            self.mid_line = !line.ends_with(b"\n");
        }
        Bytes::from(out)
    }
}

/// (time, size of the log at that time), ascending.
fn read_index(log: &Path) -> Vec<(Stamp, u64)> {
    let text = fs::read_to_string(index_path(log)).unwrap_or_default();
    let parse = |line: &str| {
        let (time, end) = line.split_once(' ')?;
        Some((time.parse().ok()?, end.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

fn first_offset(file: &File, options: &Options, index: &[(Stamp, u64)]) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut start = after_hole(file, size)?;
    if let Some(since) = options.since {
        // The last sample before `since` covers everything too old.
        let old = index.partition_point(|(time, _)| *time < since);
        let covered = old
            .checked_sub(1)
            .and_then(|i| index.get(i))
            .map_or(0, |(_, end)| *end);
        start = start.max(covered.min(size));
    }
    match options.tail {
        Some(lines) => tail_offset(file, start, size, lines),
        None => Ok(start),
    }
}

/// Where the data begins: 0, or the first whole line after a punched hole.
fn after_hole(file: &File, size: u64) -> io::Result<u64> {
    let mut data = 0;
    if size > 0 {
        data = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)).unwrap_or(0);
    }
    if data == 0 {
        return Ok(0);
    }
    let mut rest = file.try_clone()?;
    rest.seek(SeekFrom::Start(data))?;
    let mut buffer = vec![0; CHUNK];
    let read = rest.read(&mut buffer)?;
    let line = buffer[..read].iter().position(|b| *b == b'\n');
    Ok(line.map_or(data, |newline| data + newline as u64 + 1))
}

/// Where the last `lines` lines begin, not before `start`.
fn tail_offset(file: &File, start: u64, size: u64, lines: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(size);
    }
    let mut end = size;
    let mut left = lines;
    let mut buffer = vec![0; CHUNK];
    while end > start {
        let from = end.saturating_sub(CHUNK as u64).max(start);
        let chunk = &mut buffer[..usize::try_from(end - from).unwrap_or(CHUNK)];
        file.read_exact_at(chunk, from)?;
        for (i, byte) in chunk.iter().enumerate().rev() {
            let at = from + i as u64;
            if *byte == b'\n' && at + 1 < size {
                left = left.saturating_sub(1);
                if left == 0 {
                    return Ok(at + 1);
                }
            }
        }
        end = from;
    }
    Ok(start)
}

#[cfg(test)]
mod tests;
