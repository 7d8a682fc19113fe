//! Where requests of an HTTP/1 connection begin and end, and whether every reader would agree. Pure,
//! and total over any bytes in any pieces.

use std::fmt;

use super::{
    chunk::{Chunk, Step},
    line::{Head, Lines},
    tunnel::Tunnel,
};

/// More than any honest head needs; with it the library answers 431.
pub const MAX_HEAD: usize = 64 * 1024;

/// Why no more may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The byte at this place of what was seen last, and what is wrong with it.
    At(usize, &'static str),
    /// A head is longer than [`MAX_HEAD`].
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::At(_, what) => what,
            Self::TooLong => "a head that is too long",
        })
    }
}

/// Where a connection stands, for whoever measures its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The next request has not begun.
    #[default]
    Between,
    /// A head has begun.
    Head,
    /// In a body, or beyond HTTP.
    Elsewhere,
}

/// Follows a connection's bytes.
#[derive(Debug)]
pub struct Watch {
    state: State,
    lines: Lines,
    requests: u64,
    tunnel: Tunnel,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head(Head),
    /// So many bytes of a body are left. Then the connection may leave HTTP.
    Length(u64, bool),
    Chunk(Chunk, bool),
    /// An upgrade was asked for.
    Asked,
    /// Not HTTP any more.
    Raw,
}

impl Watch {
    /// At the beginning of a connection.
    pub fn new(tunnel: Tunnel) -> Self {
        Self {
            state: State::Head(Head::default()),
            lines: Lines::default(),
            requests: 0,
            tunnel,
        }
    }

    /// How many heads have ended.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Head(head) if head.begun || self.lines.is_within() => Phase::Head,
            State::Head(_) => Phase::Between,
            State::Length(..) | State::Chunk(..) | State::Asked | State::Raw => Phase::Elsewhere,
        }
    }

    /// Takes what came next.
    pub fn see(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match self.state {
                State::Raw => return Ok(()),
                State::Asked => {
                    self.state = match self.tunnel.is_raw() {
                        true => State::Raw,
                        false => State::Head(Head::default()),
                    };
                    0
                }
                State::Head(head) => self.head(head, rest).map_err(|fault| shift(fault, at))?,
                State::Length(left, leaves) => {
                    let n = left.min(rest.len() as u64);
                    self.state = match left - n {
                        0 => self.next(leaves),
                        left => State::Length(left, leaves),
                    };
                    // Not more than there is in `rest`.
                    n as usize
                }
                State::Chunk(chunk, leaves) => {
                    self.chunk(chunk, leaves, rest).map_err(|f| shift(f, at))?
                }
            };
        }
        Ok(())
    }

    /// One line, or the beginning of one. Returns its length.
    fn head(&mut self, mut head: Head, bytes: &[u8]) -> Result<usize, Fault> {
        let (n, line) = self.lines.take(bytes, &mut head.size)?;
        let Some(line) = line else {
            self.state = State::Head(head);
            return Ok(n);
        };
        if line.is_empty() && head.begun {
            self.requests += 1;
            self.state = self.body(head);
        } else {
            // Empty lines before a request are ignored by everybody.
            if !line.is_empty() {
                head.line(&line).map_err(|what| Fault::At(n - 1, what))?;
            }
            self.state = State::Head(head);
        }
        Ok(n)
    }

    fn body(&self, head: Head) -> State {
        if head.leaves {
            self.tunnel.ask();
        }
        match (head.chunked, head.length.unwrap_or_default()) {
            (true, _) => State::Chunk(Chunk::START, head.leaves),
            (false, 0) => self.next(head.leaves),
            (false, length) => State::Length(length, head.leaves),
        }
    }

    fn next(&self, leaves: bool) -> State {
        match leaves {
            true => State::Asked,
            false => State::Head(Head::default()),
        }
    }

    /// A part of a chunked body. Returns its length.
    fn chunk(&mut self, chunk: Chunk, leaves: bool, bytes: &[u8]) -> Result<usize, Fault> {
        let (n, step) = chunk.take(bytes)?;
        self.state = match step {
            Step::To(chunk) => State::Chunk(chunk, leaves),
            Step::End => self.next(leaves),
        };
        Ok(n)
    }
}

pub(super) fn shift(fault: Fault, by: usize) -> Fault {
    match fault {
        Fault::At(at, what) => Fault::At(at + by, what),
        Fault::TooLong => Fault::TooLong,
    }
}
