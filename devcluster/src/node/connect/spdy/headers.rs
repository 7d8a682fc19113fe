//! SPDY's header blocks: zlib with a dictionary both sides know. Ours are always empty and sent as
//! they are, so only inflating is needed.

use std::collections::BTreeMap;
use std::io;

use flate2::{Decompress, FlushDecompress};

const MAX_BLOCK: usize = 64 << 10;

/// The dictionary of the specification (2.6.10.1): words with their lengths, then text.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416\
    417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request\
    401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 \
    Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, \
    Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
/// Its checksum, which zlib's header names.
const DICTIONARY_ID: u32 = 0xe3c6_a7c2;

/// No headers: a stored block with the number of them, and the empty one that tells the reader
/// that what it has is whole (zlib's sync flush).
pub(super) const NO_HEADERS_AGAIN: &[u8] = &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// No headers, in the first block of a connection.
pub(super) fn no_headers_first() -> Vec<u8> {
    let mut block = vec![0x78, 0xbb];
    block.extend(DICTIONARY_ID.to_be_bytes());
    block.extend(NO_HEADERS_AGAIN);
    block
}

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split(' ') {
        let word = word.replace('_', " ");
        bytes.extend(u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(TEXT.as_bytes());
    bytes
}

/// Reads the blocks of one connection; each refers to those before.
pub(super) struct Headers(Decompress);

impl Default for Headers {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Headers {
    /// The headers of a block, their names in lower case.
    pub(super) fn read(&mut self, block: &[u8]) -> io::Result<BTreeMap<String, String>> {
        parse(&self.inflate(block)?).ok_or_else(|| io::Error::other("a broken header block"))
    }

    fn inflate(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let before = self.0.total_in();
        let mut out = Vec::with_capacity(1024);
        let mut taken = 0;
        while taken < block.len() || out.len() == out.capacity() {
            out.reserve(1024);
            let (was, had) = (taken, out.len());
            let inflated = self
                .0
                .decompress_vec(&block[taken..], &mut out, FlushDecompress::Sync);
            if let Err(error) = inflated {
                if error.needs_dictionary().is_none() {
                    return Err(io::Error::other(error));
                }
                self.0
                    .set_dictionary(&dictionary())
                    .map_err(io::Error::other)?;
            }
            taken = usize::try_from(self.0.total_in() - before).map_err(io::Error::other)?;
            if out.len() > MAX_BLOCK {
                return Err(io::Error::other("a header block that is too long"));
            }
            if (taken, out.len()) == (was, had) {
                break;
            }
        }
        Ok(out)
    }
}

fn parse(block: &[u8]) -> Option<BTreeMap<String, String>> {
    let (count, mut rest) = number(block)?;
    let mut headers = BTreeMap::new();
    for _ in 0..count {
        let (name, after) = text(rest)?;
        let (value, after) = text(after)?;
        headers.insert(name.to_ascii_lowercase(), value);
        rest = after;
    }
    Some(headers)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*first), rest))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [*name, *value]) {
            block.extend(length(text));
            block.extend(text.as_bytes());
        }
        block
    }

    fn compress(compress: &mut Compress, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        compress
            .compress_vec(plain, &mut out, FlushCompress::Sync)
            .unwrap();
        out
    }

    /// The first block of a connection, as clients send it.
    pub(in super::super) fn compressed(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        compress(&mut zlib, &block(headers))
    }

    #[test]
    fn the_dictionary_is_the_specifications() {
        let bytes = dictionary();
        assert_eq!(bytes.len(), 1423);
        let mut zlib = Compress::new(Compression::default(), true);
        assert_eq!(zlib.set_dictionary(&bytes).unwrap(), DICTIONARY_ID);
    }

    #[test]
    fn blocks_refer_to_those_before() {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        let long = "x".repeat(5000);
        let first = compress(
            &mut zlib,
            &block(&[("streamType", "data"), ("long", &long)]),
        );
        let second = compress(&mut zlib, &block(&[("streamtype", "error")]));
        let mut headers = Headers::default();
        let read = headers.read(&first).unwrap();
        assert_eq!(
            (read["streamtype"].as_str(), &read["long"]),
            ("data", &long)
        );
        assert_eq!(headers.read(&second).unwrap()["streamtype"], "error");
    }

    #[test]
    fn our_own_blocks_are_empty() {
        let mut headers = Headers::default();
        assert!(headers.read(&no_headers_first()).unwrap().is_empty());
        assert!(headers.read(NO_HEADERS_AGAIN).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_block_is_an_error() {
        assert!(Headers::default().read(b"nonsense").is_err());
        let cut = compressed(&[("a", "b")]);
        assert!(Headers::default().read(&cut[..6]).is_err());
        assert_eq!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']), None);
    }
}
