//! Chunked bodies. Pure, and total over any bytes in any pieces.

use super::framing::Fault;

/// Where a chunked body stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
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

impl Chunk {
    /// Before the first chunk.
    pub(super) const START: Self = Self::Size(0, 0);

    /// Takes a part of a body: its length, and where that leads.
    pub(super) fn take(self, bytes: &[u8]) -> Result<(usize, Step), Fault> {
        if let Self::Data(left) = self {
            let n = left.min(bytes.len() as u64);
            let next = match left - n {
                0 => Self::DataEnd,
                left => Self::Data(left),
            };
            // Not more than there is in `bytes`.
            return Ok((n as usize, Step::To(next)));
        }
        let Some(byte) = bytes.first() else {
            return Ok((0, Step::To(self)));
        };
        let next = step(self, *byte).ok_or(Fault::At(0, "a broken chunk"))?;
        Ok((1, next))
    }
}

/// What came of a part of a body.
pub(super) enum Step {
    /// It goes on from here.
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
        (Chunk::DataEnded, b'\n') => Chunk::START,
        (Chunk::Trailer(false, true), b'\n') => return Some(Step::End),
        (Chunk::Trailer(true, true), b'\n') => Chunk::Trailer(false, false),
        (Chunk::Trailer(some, false), b'\r') => Chunk::Trailer(some, true),
        (Chunk::Trailer(_, false), b) if b != b'\n' => Chunk::Trailer(true, false),
        _ => return None,
    };
    Some(Step::To(next))
}
