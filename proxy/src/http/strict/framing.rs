//! Where requests of an HTTP/1 connection begin and end, and whether every reader would agree. Pure,
//! and total over any bytes in any pieces.

use std::fmt;

use super::{line::Head, tunnel::Tunnel};

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
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
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

#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// The size so far, and how many digits it had.
    Size(u64, u8),
    /// Behind this size.
    Extension(u64),
    /// A carriage return was seen after this size.
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEnded,
    /// At the end; whether the line has anything on it, and whether it just had its carriage
    /// return.
    Trailer(bool, bool),
}

impl Watch {
    /// At the beginning of a connection.
    pub fn new(tunnel: Tunnel) -> Self {
        Self {
            state: State::Head(Head::default()),
            line: Vec::new(),
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
            State::Head(head) if head.begun || !self.line.is_empty() => Phase::Head,
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
        let Some(feed) = memchr::memchr(b'\n', bytes) else {
            head.size += bytes.len();
            if head.size > MAX_HEAD {
                return Err(Fault::TooLong);
            }
            self.line.extend_from_slice(bytes);
            self.state = State::Head(head);
            return Ok(bytes.len());
        };
        head.size += feed + 1;
        if head.size > MAX_HEAD {
            return Err(Fault::TooLong);
        }
        let whole;
        let line = match self.line.is_empty() {
            true => &bytes[..feed],
            false => {
                self.line.extend_from_slice(&bytes[..feed]);
                whole = std::mem::take(&mut self.line);
                &whole[..]
            }
        };
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Fault::At(
                feed,
                "a line that ends without a carriage return",
            ));
        };
        if line.is_empty() && head.begun {
            self.requests += 1;
            self.state = self.body(head);
        } else {
            // Empty lines before a request are ignored by everybody.
            if !line.is_empty() {
                head.line(line).map_err(|what| Fault::At(feed, what))?;
            }
            self.state = State::Head(head);
        }
        Ok(feed + 1)
    }

    fn body(&self, head: Head) -> State {
        if head.leaves {
            self.tunnel.ask();
        }
        match (head.chunked, head.length.unwrap_or_default()) {
            (true, _) => State::Chunk(Chunk::Size(0, 0), head.leaves),
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
        if let Chunk::Data(left) = chunk {
            let n = left.min(bytes.len() as u64);
            let next = match left - n {
                0 => Chunk::DataEnd,
                left => Chunk::Data(left),
            };
            self.state = State::Chunk(next, leaves);
            // Not more than there is in `bytes`.
            return Ok(n as usize);
        }
        let Some(byte) = bytes.first() else {
            return Ok(0);
        };
        let broken = Fault::At(0, "a broken chunk");
        let next = step(chunk, *byte).ok_or(broken)?;
        self.state = match next {
            Step::To(chunk) => State::Chunk(chunk, leaves),
            Step::End => self.next(leaves),
        };
        Ok(1)
    }
}

enum Step {
    To(Chunk),
    /// The body has ended.
    End,
}

/// `None`: no chunked body goes on like this.
fn step(chunk: Chunk, byte: u8) -> Option<Step> {
    let next = match (chunk, byte) {
        (Chunk::Size(size, digits), b) if b.is_ascii_hexdigit() => {
            let digit = char::from(b).to_digit(16)?;
            let size = size.checked_mul(16)?.checked_add(digit.into())?;
            Chunk::Size(size, digits.checked_add(1)?)
        }
        (Chunk::Size(_, 0), _) => return None,
        (Chunk::Size(size, _), b'\r') => Chunk::SizeEnd(size),
        (Chunk::Size(size, _), b' ' | b'\t' | b';') => Chunk::Extension(size),
        (Chunk::Extension(size), b'\r') => Chunk::SizeEnd(size),
        (Chunk::Extension(_), b'\n' | 0) => return None,
        (Chunk::Extension(size), _) => Chunk::Extension(size),
        (Chunk::SizeEnd(0), b'\n') => Chunk::Trailer(false, false),
        (Chunk::SizeEnd(size), b'\n') => Chunk::Data(size),
        (Chunk::DataEnd, b'\r') => Chunk::DataEnded,
        (Chunk::DataEnded, b'\n') => Chunk::Size(0, 0),
        (Chunk::Trailer(false, true), b'\n') => return Some(Step::End),
        (Chunk::Trailer(true, true), b'\n') => Chunk::Trailer(false, false),
        (Chunk::Trailer(some, false), b'\r') => Chunk::Trailer(some, true),
        (Chunk::Trailer(_, false), b) if b != b'\n' => Chunk::Trailer(true, false),
        _ => return None,
    };
    Some(Step::To(next))
}

fn shift(fault: Fault, by: usize) -> Fault {
    match fault {
        Fault::At(at, what) => Fault::At(at + by, what),
        Fault::TooLong => Fault::TooLong,
    }
}
