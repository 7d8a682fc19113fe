//! The messages of `FetchX509SVID`, as far as they are used.

/// Asks for this process's documents.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct X509SvidRequest {}

/// All that the API has for this process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct X509SvidResponse {
    /// The first is the default.
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
}

/// One identity.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    /// The leaf and its issuers, DER after DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    /// PKCS#8, DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    /// Trust anchors of its trust domain, DER after DER.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
}
