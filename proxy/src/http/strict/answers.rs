//! Where responses of an HTTP/1 connection begin and end, and whether every reader would agree. Pure,
//! and total over any bytes in any pieces.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use http::Method;

use super::{
    chunk::{Chunk, Step},
    framing::{Fault, shift},
    line::{Head, Lines},
};

/// What the request that is being answered was. Cloned freely: told by whoever sends it, asked by
/// [`Answers`].
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<AtomicU8>);

const NOTHING: u8 = 0;
const USUAL: u8 = 1;
const HEAD: u8 = 2;
const CONNECT: u8 = 3;
const UPGRADE: u8 = 4;

impl Asked {
    /// The next request is sent.
    pub fn ask(&self, method: &Method, upgrade: bool) {
        let kind = match *method {
            Method::HEAD => HEAD,
            Method::CONNECT => CONNECT,
            _ if upgrade => UPGRADE,
            _ => USUAL,
        };
        self.0.store(kind, Ordering::Release);
    }

    fn kind(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    fn answered(&self) {
        self.0.store(NOTHING, Ordering::Release);
    }
}

/// More heads that announce another one than any server sends for one request.
const MAX_INTERIM: u8 = 16;

/// Follows a connection's bytes.
#[derive(Debug)]
pub struct Answers {
    state: State,
    lines: Lines,
    asked: Asked,
    /// How many heads of the response announced another one.
    interim: u8,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head(Head, u16),
    /// So many bytes of a body are left.
    Length(u64),
    Chunk(Chunk),
    /// A body up to the end of the connection, or not HTTP any more.
    Rest,
}

impl Answers {
    /// At the beginning of a connection.
    pub fn new(asked: Asked) -> Self {
        Self {
            state: State::Head(Head::default(), 0),
            lines: Lines::default(),
            asked,
            interim: 0,
        }
    }

    /// Takes what came next. A fault comes with the end of the last response before it: so many of
    /// the bytes are beyond doubt.
    pub fn see(&mut self, bytes: &[u8]) -> Result<(), (usize, Fault)> {
        let (mut at, mut whole) = (0, 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let seen = match self.state {
                State::Rest => return Ok(()),
                State::Head(head, status) => self.head(head, status, rest),
                State::Length(left) => {
                    let n = left.min(rest.len() as u64);
                    match left - n {
                        0 => self.end(),
                        left => self.state = State::Length(left),
                    }
                    // Not more than there is in `rest`.
                    Ok(n as usize)
                }
                State::Chunk(chunk) => chunk.take(rest).map(|(n, step)| {
                    match step {
                        Step::To(chunk) => self.state = State::Chunk(chunk),
                        Step::End => self.end(),
                    }
                    n
                }),
            };
            at += seen.map_err(|fault| (whole, shift(fault, at)))?;
            if self.is_between() {
                whole = at;
            }
        }
        Ok(())
    }

    pub(super) fn is_between(&self) -> bool {
        matches!(&self.state, State::Head(head, _) if head.size == 0)
    }

    fn head(&mut self, mut head: Head, mut status: u16, bytes: &[u8]) -> Result<usize, Fault> {
        let (n, line) = self.lines.take(bytes, &mut head.size)?;
        let Some(line) = line else {
            self.state = State::Head(head, status);
            return Ok(n);
        };
        let at = |what| Fault::At(n - 1, what);
        match (head.begun, line.is_empty()) {
            // Ignored before a message by everybody.
            (false, true) => {}
            (false, false) => {
                head.begun = true;
                status = status_of(&line).ok_or(at("a status line that is none"))?;
                head.old = line.starts_with(b"HTTP/1.0");
            }
            (true, false) => head.field(&line).map_err(at)?,
            (true, true) => {
                self.body(head, status).map_err(at)?;
                return Ok(n);
            }
        }
        self.state = State::Head(head, status);
        Ok(n)
    }

    /// What follows a head.
    fn body(&mut self, head: Head, status: u16) -> Result<(), &'static str> {
        if head.old && head.chunked {
            return Err("chunks of a server that knows none");
        }
        match (self.asked.kind(), status) {
            (NOTHING, _) => return Err("a response that nobody asked for"),
            (UPGRADE, 101) | (CONNECT, 200..300) => self.state = State::Rest,
            (_, 101) => return Err("an upgrade that nobody asked for"),
            (_, 100..200) => {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err("too many heads that announce another one");
                }
                // All of them together are no longer than one may be.
                let size = head.size;
                self.state = State::Head(
                    Head {
                        size,
                        ..Head::default()
                    },
                    0,
                );
            }
            (HEAD, _) | (_, 204 | 304) => self.end(),
            _ if head.chunked => self.state = State::Chunk(Chunk::START),
            _ => match head.length {
                Some(0) => self.end(),
                Some(length) => self.state = State::Length(length),
                None => self.state = State::Rest,
            },
        }
        Ok(())
    }

    fn end(&mut self) {
        self.asked.answered();
        self.interim = 0;
        self.state = State::Head(Head::default(), 0);
    }
}

/// `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    if !matches!(reason.first(), None | Some(b' ')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    (status >= 100).then_some(status)
}
