//! Is this TLS, and for whom? Read from the first bytes of a connection.
//!
//! Called by the proxy before it decides whether to terminate TLS, on bytes of anybody. It is
//! total: whatever the bytes, it answers without panicking, in time linear in at most [`MAX`]
//! bytes. It only looks; the handshake itself is rustls's.

use rustls_pki_types::DnsName;
use std::borrow::Cow;

/// The longest ClientHello looked at; what is longer is taken for something else.
pub const MAX: usize = 8192;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Not a TLS ClientHello.
    NotTls,
    /// May become one: read more. Never answered to [`MAX`] bytes or more.
    Incomplete,
    /// A whole ClientHello.
    ClientHello {
        /// The server name asked for, in lower case.
        sni: Option<String>,
    },
}

/// Why there is no ClientHello to see.
enum Stop {
    /// It cannot be one.
    Malformed,
    /// The bytes end before it does.
    Short,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// RFC 8446, 5.1: a plaintext record holds at most 2^14 bytes.
const MAX_RECORD: usize = 1 << 14;

/// Looks at the first bytes of a connection.
pub fn sniff(bytes: &[u8]) -> Sniff {
    let whole = bytes.len() >= MAX;
    let bytes = &bytes[..bytes.len().min(MAX)];
    match hello(bytes).and_then(|body| server_name(&body)) {
        Ok(sni) => Sniff::ClientHello { sni },
        Err(Stop::Short) if !whole => Sniff::Incomplete,
        Err(_) => Sniff::NotTls,
    }
}

/// The body of the ClientHello, put together where it spans several records.
fn hello(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Stop> {
    let mut input = Input(bytes);
    let mut gathered: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        let fragment = record(&mut input)?;
        if gathered.is_empty() {
            gathered = Cow::Borrowed(fragment.bytes);
        } else {
            gathered.to_mut().extend_from_slice(fragment.bytes);
        }
        if let Some(body) = complete(&gathered)? {
            // Anything behind it in the same record would be a second handshake message, which no
            // client sends before it was answered.
            if fragment.cut || body.end != gathered.len() {
                return Err(Stop::Malformed);
            }
            return Ok(slice(gathered, body));
        }
        if fragment.cut {
            return Err(Stop::Short);
        }
    }
}

struct Fragment<'a> {
    bytes: &'a [u8],
    /// The bytes end before the record does.
    cut: bool,
}

fn record<'a>(input: &mut Input<'a>) -> Result<Fragment<'a>, Stop> {
    // One byte at a time, so that "not TLS" is known as early as can be.
    if input.byte()? != HANDSHAKE || input.byte()? != 3 {
        return Err(Stop::Malformed);
    }
    if !(1..=4).contains(&input.byte()?) {
        return Err(Stop::Malformed);
    }
    let length = usize::from(input.short()?);
    if length == 0 || length > MAX_RECORD {
        return Err(Stop::Malformed);
    }
    let cut = input.0.len() < length;
    let bytes = input.take(length.min(input.0.len()))?;
    Ok(Fragment { bytes, cut })
}

/// Where the body lies in the handshake bytes, once they hold all of it.
fn complete(handshake: &[u8]) -> Result<Option<std::ops::Range<usize>>, Stop> {
    match handshake {
        [] => Ok(None),
        [kind, ..] if *kind != CLIENT_HELLO => Err(Stop::Malformed),
        [_, high, middle, low, rest @ ..] => {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            if length > MAX {
                return Err(Stop::Malformed);
            }
            Ok((rest.len() >= length).then_some(4..4 + length))
        }
        _ => Ok(None),
    }
}

fn slice(bytes: Cow<'_, [u8]>, range: std::ops::Range<usize>) -> Cow<'_, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(range.end);
            bytes.drain(..range.start);
            Cow::Owned(bytes)
        }
    }
}

/// Reads a whole ClientHello body (RFC 8446, 4.1.2); here an early end is a malformed length.
fn server_name(body: &[u8]) -> Result<Option<String>, Stop> {
    parse(body).map_err(|_| Stop::Malformed)
}

fn parse(body: &[u8]) -> Result<Option<String>, Stop> {
    let mut input = Input(body);
    if input.byte()? != 3 {
        return Err(Stop::Malformed);
    }
    input.take(1 + 32)?; // minor version, random
    let session = usize::from(input.byte()?);
    let _ = input.take(session)?;
    let suites = usize::from(input.short()?);
    let _ = input.take(suites)?;
    let compressions = usize::from(input.byte()?);
    let _ = input.take(compressions)?;
    if session > 32 || suites < 2 || suites % 2 == 1 || compressions == 0 {
        return Err(Stop::Malformed);
    }
    if input.0.is_empty() {
        return Ok(None); // before TLS 1.3 extensions are optional
    }
    let mut extensions = input.prefixed()?;
    input.end()?;
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let content = extensions.prefixed()?;
        if kind == SERVER_NAME && name.replace(host_name(content)?).is_some() {
            return Err(Stop::Malformed); // twice
        }
    }
    Ok(name)
}

/// RFC 6066, 3: a list, of which only one entry of one kind was ever defined.
fn host_name(mut extension: Input<'_>) -> Result<String, Stop> {
    let mut list = extension.prefixed()?;
    extension.end()?;
    if list.byte()? != HOST_NAME {
        return Err(Stop::Malformed);
    }
    let name = list.prefixed()?;
    list.end()?;
    let name = std::str::from_utf8(name.0).map_err(|_| Stop::Malformed)?;
    DnsName::try_from(name).map_err(|_| Stop::Malformed)?;
    Ok(name.to_ascii_lowercase())
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (byte, rest) = self.0.split_first().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn short(&mut self) -> Result<u16, Stop> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A part led by its length in two bytes.
    fn prefixed(&mut self) -> Result<Input<'a>, Stop> {
        let length = usize::from(self.short()?);
        self.take(length).map(Input)
    }

    fn end(&self) -> Result<(), Stop> {
        self.0.is_empty().then_some(()).ok_or(Stop::Malformed)
    }
}

#[cfg(test)]
mod tests;
