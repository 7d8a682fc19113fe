//! The protobuf wire format: numbered items, one after another.

use super::malformed;
use crate::status::ApiError;

/// What follows a tag.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Nothing here is sent like this; it can only be skipped.
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    pub(super) fn varint(&self) -> Result<u64, ApiError> {
        match self {
            Self::Varint(n) => Ok(*n),
            _ => Err(malformed("a field should be an integer and is not")),
        }
    }

    pub(super) fn double(&self) -> Result<f64, ApiError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(*bits)),
            _ => Err(malformed("a field should be a double and is not")),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], ApiError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(malformed("a field should have a length and has none")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, ApiError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed("a text is not UTF-8"))
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
    pub(super) fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, ApiError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n != 0);
        let number = number.ok_or_else(|| malformed("a field has an impossible number"))?;
        let item = match tag & 7 {
            0 => Item::Varint(self.varint()?),
            1 => Item::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Item::Bytes(self.take(length)?)
            }
            5 => self.fixed::<4>().map(|_| Item::Fixed32)?,
            _ => return Err(malformed("an item is of no known type")),
        };
        Ok(Some((number, item)))
    }

    /// The next of integers that have no tags of their own.
    pub(super) fn packed(&mut self) -> Result<Option<Item<'a>>, ApiError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.varint().map(Item::Varint).map(Some)
    }

    fn varint(&mut self) -> Result<u64, ApiError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
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
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| malformed("it ends early"))?;
        self.rest = rest;
        Ok(*taken)
    }
}
