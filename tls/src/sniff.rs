//! Is this TLS, and for whom? Read from the first bytes of a connection.

/// The longest ClientHello looked at.
pub const MAX: usize = 8192;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Not a TLS ClientHello.
    NotTls,
    /// May become one: read more.
    Incomplete,
    /// A whole ClientHello.
    ClientHello {
        /// The server name asked for.
        sni: Option<String>,
    },
}

/// Looks at the first bytes of a connection. Total: never panics, never allocates beyond the name.
pub fn sniff(_bytes: &[u8]) -> Sniff {
    todo!()
}
