//! The messages; the crate's page has them as proto.

/// The question about trust.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WatchTrustBundleRequest {}

/// All trust anchors.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TrustBundle {
    /// Certificates in DER.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub certificates: Vec<Vec<u8>>,
    /// Who signs now. Whoever was certified by another asks for a new certificate, so that the old
    /// issuer's root can be taken out without waiting for certificates to expire.
    #[prost(string, tag = "2")]
    pub issuer: String,
}

/// The question about directives. Who asks is proven by mesh TLS.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WatchDirectivesRequest {}

/// All directives for one proxy.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Directives {
    /// Which clients are restricted.
    #[prost(message, repeated, tag = "1")]
    pub restrictions: Vec<Restriction>,
    /// How long, after this message, a gateway may believe that what was exported still is; 0 for
    /// as long as nothing else is heard. The message is repeated in time.
    #[prost(uint32, tag = "2")]
    pub lease_seconds: u32,
    /// Whether a connection to another cluster ends when what it was made for is imported no more.
    #[prost(bool, tag = "3")]
    pub close_withdrawn: bool,
}

/// What holds for some clients.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Restriction {
    /// Name of the object it comes from, for people.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Identities, literally.
    #[prost(string, repeated, tag = "2")]
    pub identities: Vec<String>,
    /// Identities that end in one of these, by whole labels; an empty one is every identity.
    #[prost(string, repeated, tag = "3")]
    pub suffixes: Vec<String>,
    /// They are refused, and what they have open is closed.
    #[prost(bool, tag = "4")]
    pub deny: bool,
    /// Connections that each of them may have at once.
    #[prost(uint32, optional, tag = "5")]
    pub max_connections: Option<u32>,
    /// Requests that each of them may have in flight.
    #[prost(uint32, optional, tag = "6")]
    pub max_requests: Option<u32>,
}
