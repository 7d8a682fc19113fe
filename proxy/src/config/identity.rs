//! Who the sidecar is.

use std::path::PathBuf;

use super::ControlAddr;

/// The identity section.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name to be certified.
    pub id: mesh_tls::Id,
    /// Trust anchors, PEM.
    pub anchors: String,
    /// The token that proves the name to the issuer; re-read for every request.
    pub token_file: PathBuf,
    /// The issuer.
    pub addr: ControlAddr,
}
