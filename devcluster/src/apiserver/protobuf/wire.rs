//! The protobuf wire format: numbered items, one after another.

use super::malformed;
use crate::status::ApiError;

/// What follows a tag.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    pub(super) fn number(&self) -> Result<u64, ApiError> {
        match self {
            Self::Number(n) => Ok(*n),
            Self::Bytes(_) => Err(malformed("a field is not a number")),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], ApiError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(malformed("a field is a number")),
        }
    }

    pub(super) fn text(&self) -> Result<String, ApiError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| malformed("a text is not UTF-8"))
    }
}

/// Reads items.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field number and item.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Item<'a>)>, ApiError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let item = match tag & 7 {
            0 => Item::Number(self.varint()?),
            1 => Item::Number(self.fixed::<8>().map(u64::from_le_bytes)?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Number(self.fixed::<4>().map(u32::from_le_bytes)?.into()),
            _ => return Err(malformed("an item is of no known type")),
        };
        Ok(Some((tag >> 3, item)))
    }

    fn varint(&mut self) -> Result<u64, ApiError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number is too long"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ApiError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| malformed("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ApiError> {
        self.take(N)?
            .try_into()
            .map_err(|_| malformed("it ends early"))
    }
}
