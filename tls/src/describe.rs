//! What handshakes are made with, for people and dashboards.

/// The cryptography of every handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cryptography {
    /// Names of cipher suites, joined by commas, the preferred one first.
    pub suites: String,
    /// Names of key exchange groups, likewise.
    pub kx_groups: String,
    /// Where random numbers come from.
    pub rand: String,
    /// What holds private keys.
    pub key_provider: String,
    /// Whether all of it is validated by FIPS.
    pub fips: bool,
}

/// What handshakes of this process are made with.
pub fn describe() -> Cryptography {
    let provider = crate::verify::provider();
    let joined = |names: Vec<String>| names.join(",");
    let suites = provider.cipher_suites.iter();
    let groups = provider.kx_groups.iter();
    Cryptography {
        suites: joined(suites.map(|suite| format!("{:?}", suite.suite())).collect()),
        kx_groups: joined(groups.map(|group| format!("{:?}", group.name())).collect()),
        rand: format!("{:?}", provider.secure_random),
        key_provider: format!("{:?}", provider.key_provider),
        fips: provider.fips(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_suites_and_groups_in_the_order_of_preference() {
        let about = describe();
        assert!(
            about.suites.starts_with("TLS13_AES_128_GCM_SHA256,"),
            "{about:?}"
        );
        assert!(about.kx_groups.starts_with("X25519MLKEM768,"), "{about:?}");
        assert!(!about.rand.is_empty() && !about.key_provider.is_empty());
    }
}
