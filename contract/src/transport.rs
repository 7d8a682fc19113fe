//! The transport header's fixed words.

/// ALPN protocol that announces a transport header.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";
/// First bytes inside TLS.
pub const PREFACE: &[u8; 23] = b"transport.l5d.io/v1\r\n\r\n";
/// A header longer than this is refused (a DNS name is at most 253 bytes).
pub const MAX_HEADER: usize = 512;
