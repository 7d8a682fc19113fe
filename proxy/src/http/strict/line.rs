//! Lines of a head, and what they say of the framing of its message. Pure.

use std::borrow::Cow;

use super::framing::{Fault, MAX_HEAD};

/// Lines, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of one whose end has not come.
    begun: Vec<u8>,
}

/// How many bytes, and the line that ended with them.
type Taken<'b> = (usize, Option<Cow<'b, [u8]>>);

impl Lines {
    /// Whether a line has begun.
    pub(super) fn is_within(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Takes a line, which is returned without its end, or the beginning of one. `size` is what the
    /// head has had so far.
    pub(super) fn take<'b>(
        &mut self,
        bytes: &'b [u8],
        size: &mut usize,
    ) -> Result<Taken<'b>, Fault> {
        let feed = memchr::memchr(b'\n', bytes);
        let n = feed.map_or(bytes.len(), |feed| feed + 1);
        *size += n;
        if *size > MAX_HEAD {
            return Err(Fault::TooLong);
        }
        let Some(feed) = feed else {
            self.begun.extend_from_slice(bytes);
            return Ok((n, None));
        };
        let mut line = match self.begun.is_empty() {
            true => Cow::Borrowed(&bytes[..feed]),
            false => {
                self.begun.extend_from_slice(&bytes[..feed]);
                Cow::Owned(std::mem::take(&mut self.begun))
            }
        };
        let bare = Fault::At(feed, "a line that ends without a carriage return");
        match &mut line {
            Cow::Borrowed(line) => *line = line.strip_suffix(b"\r").ok_or(bare)?,
            Cow::Owned(line) => match line.pop() {
                Some(b'\r') => {}
                _ => return Err(bare),
            },
        }
        Ok((n, Some(line)))
    }
}

/// What is known of a message's framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether its first line was seen.
    pub(super) begun: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// CONNECT, or an upgrade is asked for.
    pub(super) leaves: bool,
    /// Whether it is of HTTP/1.0; told of responses.
    pub(super) old: bool,
    /// Its bytes so far.
    pub(super) size: usize,
}

impl Head {
    /// Takes a line of a request without its end. The error says what is wrong.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if !self.begun {
            self.begun = true;
            self.leaves = line.starts_with(b"CONNECT ");
            return Ok(());
        }
        self.field(line)
    }

    /// Takes a line after the first, without its end.
    pub(super) fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        // A folded line is refused by the library, too; here it would hide a name.
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err("a folded header");
        }
        // Most names are told by their length and first letter.
        match (line.first().map(u8::to_ascii_lowercase), value(line)) {
            (Some(b'c'), Some((14, value))) if is(line, b"content-length") => self.length(value),
            (Some(b't'), Some((17, value))) if is(line, b"transfer-encoding") => {
                self.encoding(value)
            }
            (Some(b'u'), Some((7, _))) if is(line, b"upgrade") => {
                self.leaves = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.chunked {
            return Err("both a length and chunks");
        }
        let length = decimal(value).ok_or("a length that is no number")?;
        match self.length.replace(length) {
            Some(before) if before != length => Err("two lengths"),
            _ => Ok(()),
        }
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.length.is_some() {
            return Err("both a length and chunks");
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err("a transfer encoding other than chunked");
        }
        self.chunked = true;
        Ok(())
    }
}

/// The length of the name and the value of a header line.
fn value(line: &[u8]) -> Option<(usize, &[u8])> {
    // No name that matters here is longer.
    let colon = line.iter().take(18).position(|b| *b == b':')?;
    Some((colon, line[colon + 1..].trim_ascii()))
}

fn is(line: &[u8], name: &[u8]) -> bool {
    line[..name.len()].eq_ignore_ascii_case(name)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        n.checked_mul(10)?.checked_add(digit.into())
    })
}
