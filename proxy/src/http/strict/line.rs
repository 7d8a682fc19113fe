//! What a line of a head says of the framing of its request. Pure.

/// What is known of a request's framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether its request line was seen.
    pub(super) begun: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// CONNECT, or an upgrade is asked for.
    pub(super) leaves: bool,
    /// Its bytes so far.
    pub(super) size: usize,
}

impl Head {
    /// Takes a line without its end. The error says what is wrong.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if !self.begun {
            self.begun = true;
            self.leaves = line.starts_with(b"CONNECT ");
            return Ok(());
        }
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
