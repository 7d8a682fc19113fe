//! Fingerprints, for annotations and for people; the TLS library's own hash, so that there is one.

use rustls::crypto::hash::HashAlgorithm;

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    crate::verify::provider()
        .cipher_suites
        .iter()
        .filter_map(|suite| suite.tls13())
        .map(|suite| suite.common.hash_provider)
        .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
        .map(|hash| {
            let digest = hash.hash(bytes);
            digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
        })
        .unwrap_or_default()
}
