//! Who the sidecar is.

use std::{path::PathBuf, time::Duration};

use mesh_tls::{Id, WorkloadApi};

use super::{Backoff, ControlAddr, vars::Vars};

/// The identity section.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name to be certified.
    pub id: Id,
    /// What clients name the sidecar by in their hello, where that is not `id`.
    pub server_name: Option<String>,
    /// Who certifies it.
    pub source: Source,
}

/// Who certifies the sidecar.
#[derive(Clone, Debug)]
pub enum Source {
    /// The mesh's issuer.
    Issuer(Issuer),
    /// An agent on this machine, for workloads outside a cluster.
    Agent {
        /// Its SPIFFE Workload API.
        api: WorkloadApi,
        /// Between attempts to reach it.
        pauses: Backoff,
    },
}

/// How the mesh's issuer is asked.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Trust anchors, PEM.
    pub anchors: String,
    /// The token that proves the name to the issuer; re-read for every request.
    pub token_file: PathBuf,
    /// Where it is.
    pub addr: ControlAddr,
}

const WORKLOAD_API: &str = "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS";
/// The longest pause before an agent is asked again, unless configured.
const AGENT_PAUSE: Duration = Duration::from_secs(1);

impl Identity {
    pub(super) fn parse(vars: &Vars<'_>) -> Option<Self> {
        if vars.text("IDENTITY_DISABLED").is_some() {
            vars.mistake("IDENTITY_DISABLED", "a proxy without identity is no proxy");
        }
        if vars.text(WORKLOAD_API).is_some() {
            return Self::from_agent(vars);
        }
        let id = id(vars);
        let anchors = anchors(vars);
        let token_file = token_file(vars);
        let addr = ControlAddr::parse(vars, "IDENTITY");
        Some(Self {
            id: id?,
            server_name: None,
            source: Source::Issuer(Issuer {
                anchors: anchors?,
                token_file: token_file?,
                addr: addr?,
            }),
        })
    }

    fn from_agent(vars: &Vars<'_>) -> Option<Self> {
        let right = "the path of a Unix socket, such as unix:///run/spire/agent.sock";
        let api = vars.parse(WORKLOAD_API, right, WorkloadApi::at);
        let pauses = Backoff::parse(vars, "IDENTITY_SPIRE", AGENT_PAUSE);
        let key = "IDENTITY_SERVER_ID";
        let id = vars.required(key, "the SPIFFE ID that the agent knows the workload by");
        let right = "a SPIFFE ID such as spiffe://example.org/web";
        let id = id.and_then(|_| {
            vars.parse(key, right, |text| {
                let id: Option<Id> = text.parse().ok();
                id.filter(|id| matches!(id, Id::Uri(_)))
            })
        });
        let key = "IDENTITY_SERVER_NAME";
        let name = vars.required(key, "the DNS name that clients ask for in TLS");
        let right = "a DNS name without a trailing dot, such as web.example.org";
        let name = name.and_then(|_| {
            vars.parse(key, right, |text| match text.parse() {
                Ok(Id::Dns(name)) if !text.ends_with('.') => Some(name.to_string()),
                _ => None,
            })
        });
        Some(Self {
            id: id?,
            server_name: Some(name?),
            source: Source::Agent { api: api?, pauses },
        })
    }
}

fn id(vars: &Vars<'_>) -> Option<Id> {
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
