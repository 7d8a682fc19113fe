//! Who the sidecar is.

use std::path::PathBuf;

use super::{ControlAddr, vars::Vars};

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

impl Identity {
    pub(super) fn parse(vars: &Vars<'_>) -> Option<Self> {
        if vars.text("IDENTITY_DISABLED").is_some() {
            vars.mistake("IDENTITY_DISABLED", "a proxy without identity is no proxy");
        }
        let id = id(vars);
        let anchors = anchors(vars);
        let token_file = token_file(vars);
        let addr = ControlAddr::parse(vars, "IDENTITY");
        Some(Self {
            id: id?,
            anchors: anchors?,
            token_file: token_file?,
            addr: addr?,
        })
    }
}

fn id(vars: &Vars<'_>) -> Option<mesh_tls::Id> {
    let right = "an identity such as web.default.serviceaccount.identity.linkerd.cluster.local";
    let key = match vars.text("IDENTITY_LOCAL_NAME") {
        None if vars.text("IDENTITY_SERVER_ID").is_some() => "IDENTITY_SERVER_ID",
        _ => "IDENTITY_LOCAL_NAME",
    };
    vars.required(key, "the name to be certified")?;
    vars.parse(key, right, |text| {
        // A trailing dot would never be found in a certificate.
        text.parse().ok().filter(|_| !text.ends_with('.'))
    })
}

fn anchors(vars: &Vars<'_>) -> Option<String> {
    let key = "IDENTITY_TRUST_ANCHORS";
    let pem = vars.required(key, "trust anchors in PEM (contents, not a path)")?;
    if let Err(error) = mesh_tls::TrustAnchors::from_pem(&pem) {
        vars.mistake(key, error.to_string());
    }
    Some(pem)
}

fn token_file(vars: &Vars<'_>) -> Option<PathBuf> {
    let key = "IDENTITY_TOKEN_FILE";
    let path = PathBuf::from(vars.required(key, "path of the token for the issuer")?);
    match std::fs::metadata(&path) {
        Ok(file) if file.len() > 0 => {}
        Ok(_) => vars.mistake(key, format!("{} is empty", path.display())),
        Err(error) => vars.mistake(key, format!("{}: {error}", path.display())),
    }
    Some(path)
}
