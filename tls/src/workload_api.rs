//! Credentials from a SPIFFE Workload API: certificate, key and trust bundle, pushed over a Unix
//! socket of the machine.
//!
//! For workloads outside a cluster, whose agent (SPIRE's, for one) vouches for them instead of a
//! service-account token. [`WorkloadApi::watch`] opens the stream, [`Svids::next`] gives what is for
//! us, [`Store::adopt`](crate::Store::adopt) takes it. Follows the SPIFFE Workload API (§4, X.509-SVID
//! profile); bundles of other trust domains are not used.

pub(crate) mod messages;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hyper_util::rt::TokioIo;
use mesh_federation::Method;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::UnixStream;
use tonic::{
    Request, Status, Streaming,
    codegen::http::Uri,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{AnchorsError, Certified, Id, TrustAnchors, ca::validity};
use messages::{X509Svid, X509SvidRequest, X509SvidResponse};

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadApi {
    socket: PathBuf,
}

/// The stream of what the API has for this process.
#[derive(Debug)]
pub struct Svids(Streaming<X509SvidResponse>);

/// An identity document that can be used.
#[derive(Debug)]
pub struct Svid {
    /// Certificate and issuers.
    pub certified: Certified,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Whom its trust domain trusts.
    pub anchors: TrustAnchors,
}

/// Why there is no usable document. All of it may pass.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiError {
    /// Nobody listens there, or not for us.
    #[error("cannot connect to the Workload API at {}: {source}; is its agent running, and the socket mounted?", socket.display())]
    Connect {
        /// Where it should be.
        socket: PathBuf,
        /// What connecting said.
        source: tonic::transport::Error,
    },
    /// It refused, or the stream broke.
    #[error("the Workload API answered {}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// It knows this process under other names only.
    #[error(
        "the Workload API has no SVID for {wanted}, only for {found:?}; is the workload registered?"
    )]
    Stranger {
        /// Who we are.
        wanted: Id,
        /// Whom it has something for.
        found: Vec<String>,
    },
    /// Its document is none.
    #[error("the Workload API's SVID is malformed: {0}")]
    Malformed(&'static str),
    /// Its bundle is none.
    #[error("the Workload API's trust bundle cannot be used: {0}")]
    Bundle(#[from] AnchorsError),
}

/// The method of the API that has X.509 documents.
pub(crate) enum FetchX509Svid {}

impl Method for FetchX509Svid {
    const SERVICE: &'static str = "SpiffeWorkloadAPI";
    const PATH: &'static str = "/SpiffeWorkloadAPI/FetchX509SVID";
    /// Certificates, and a bundle of a few more.
    const MAX_ANSWER: usize = 1024 * 1024;
    type Question = X509SvidRequest;
    type Answer = X509SvidResponse;
}

/// Without it the API refuses: it keeps requests out that a browser was made to send (§3).
const HEADER: &str = "workload.spiffe.io";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// In a chain, or in a bundle.
const MAX_CERTIFICATES: usize = 64;

impl WorkloadApi {
    /// At a path, with or without `unix:` or `unix://` before it.
    pub fn at(address: &str) -> Option<Self> {
        let path = address.strip_prefix("unix:").unwrap_or(address);
        let path = path.strip_prefix("//").unwrap_or(path);
        let socket = PathBuf::from(path);
        socket.is_absolute().then_some(Self { socket })
    }

    /// Where its socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for our documents; the API sends them again whenever they change.
    pub async fn watch(&self) -> Result<Svids, WorkloadApiError> {
        let channel = self.connect().await?;
        let mut request = Request::new(X509SvidRequest {});
        let yes = MetadataValue::from_static("true");
        request.metadata_mut().insert(HEADER, yes);
        let answer = mesh_federation::watch::<FetchX509Svid>(channel, request).await;
        Ok(Svids(answer.map_err(refused)?.into_inner()))
    }

    async fn connect(&self) -> Result<Channel, WorkloadApiError> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        Endpoint::from_static("http://workload-api")
            .connect_timeout(CONNECT_TIMEOUT)
            .connect_with_connector(connector)
            .await
            .map_err(|source| WorkloadApiError::Connect {
                socket: self.socket.clone(),
                source,
            })
    }
}

impl Svids {
    /// The next document for `id`; `None` at the end of the stream.
    pub async fn next(&mut self, id: &Id) -> Result<Option<Svid>, WorkloadApiError> {
        let next = self.0.message().await;
        match next.map_err(refused)? {
            Some(answer) => ours(answer, id).map(Some),
            None => Ok(None),
        }
    }
}

fn refused(status: Status) -> WorkloadApiError {
    WorkloadApiError::Refused(Box::new(status))
}

/// What of an answer is for us.
fn ours(answer: X509SvidResponse, id: &Id) -> Result<Svid, WorkloadApiError> {
    let mut found = Vec::new();
    for svid in answer.svids {
        if svid.spiffe_id == id.as_str() {
            return usable(svid);
        }
        found.push(svid.spiffe_id);
    }
    Err(WorkloadApiError::Stranger {
        wanted: id.clone(),
        found,
    })
}

fn usable(svid: X509Svid) -> Result<Svid, WorkloadApiError> {
    let malformed = WorkloadApiError::Malformed;
    let (mut chain, expiries) = certificates(&svid.x509_svid)
        .ok_or(malformed("its certificates are not DER"))?
        .into_iter()
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let valid_until = expiries.into_iter().min();
    let valid_until = valid_until.ok_or(malformed("it has no certificate"))?;
    if svid.x509_svid_key.is_empty() {
        return Err(malformed("it has no key"));
    }
    let anchors = certificates(&svid.bundle).ok_or(malformed("its bundle is not DER"))?;
    let anchors = anchors.into_iter().map(|(anchor, _)| anchor).collect();
    let leaf = chain.remove(0);
    Ok(Svid {
        certified: Certified {
            leaf,
            intermediates: chain,
            valid_until,
        },
        key: PrivatePkcs8KeyDer::from(svid.x509_svid_key).into(),
        anchors: TrustAnchors::from_der(anchors)?,
    })
}

/// Certificates that follow each other, and when each expires; `None` if anything else is there.
fn certificates(mut der: &[u8]) -> Option<Vec<(CertificateDer<'static>, SystemTime)>> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if all.len() == MAX_CERTIFICATES {
            return None;
        }
        let one = &der[..der.len() - rest.len()];
        all.push((one.to_vec().into(), validity(&certificate).1));
        der = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests;
