//! Credentials in memory, for tests and demos.
//!
//! A CA, issuers below it and certified stores, in three calls. It panics where making a
//! certificate fails, which on a working machine it does not; no daemon uses it.

mod agent;

pub use agent::Agent;

use crate::{Certified, Certifier, CertifyError, Id, Store, TrustAnchors, ca};
use linkerd2_proxy_api::identity::{CertifyRequest, CertifyResponse, identity_server::Identity};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// A trust anchor.
#[derive(Debug)]
pub struct Ca(pub ca::Anchor);

/// An issuer and what it chains to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What signs.
    pub issuer: Arc<ca::Issuer>,
    /// What its stores trust.
    pub anchors: TrustAnchors,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SKEW: Duration = Duration::from_secs(10);

impl Ca {
    /// A new one, valid for a day.
    pub fn new(name: &str) -> Self {
        Self(ca::Anchor::generate(name, DAY).expect("a trust anchor can be made"))
    }

    /// A new issuer below it, valid for a day.
    pub fn issuer(&self, name: &str) -> Issuer {
        let issuer = self.0.issuer(name, DAY).expect("an issuer can be made");
        Issuer {
            issuer: Arc::new(issuer),
            anchors: self.anchors(),
        }
    }

    /// As what to trust.
    pub fn anchors(&self) -> TrustAnchors {
        self.0.trust().expect("our own anchor can be trusted")
    }
}

impl Issuer {
    /// A certified store that trusts this issuer's anchor.
    pub fn issue(&self, id: &Id, ttl: Duration) -> Store {
        let store = Store::new(id.clone(), self.anchors.clone());
        self.renew(&store, ttl);
        store
    }

    /// Certifies a store anew, with a new key.
    pub fn renew(&self, store: &Store, ttl: Duration) {
        let (certified, key) = self.leaf(store.id(), ttl);
        store
            .install(certified, key)
            .expect("the store accepts the certificate");
    }

    /// A certificate and its key, for tests that put together what does not belong together.
    pub fn leaf(&self, id: &Id, ttl: Duration) -> (Certified, PrivateKeyDer<'static>) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key can be made");
        let certified = self
            .issuer
            .sign(id, &key.subject_public_key_info(), ttl, SKEW)
            .expect("a certificate can be signed");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certified, key.into())
    }
}

/// Signs whatever it is asked to, for an hour, under the name in the request.
impl Certifier for Issuer {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        let other = |error: &dyn std::fmt::Display| CertifyError::Other(error.to_string());
        let (_, csr) =
            X509CertificationRequest::from_der(&csr_der).map_err(|error| other(&error))?;
        let info = &csr.certification_request_info;
        let names = info.subject.iter_common_name();
        let name = names.filter_map(|name| name.as_str().ok()).next();
        let id: Id = name
            .unwrap_or_default()
            .parse()
            .map_err(|error| other(&error))?;
        let hour = Duration::from_secs(60 * 60);
        self.issuer
            .sign(&id, info.subject_pki.raw, hour, SKEW)
            .map_err(|error| other(&error))
    }
}

/// The same over gRPC, whatever the token.
#[tonic::async_trait]
impl Identity for Issuer {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let csr = request.into_inner().certificate_signing_request;
        match Certifier::certify(self, csr).await {
            Ok(certified) => Ok(Response::new(certified.into())),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        }
    }
}
