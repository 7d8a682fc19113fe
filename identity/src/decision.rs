//! Who gets which certificate. Pure: bytes and a review in, a [`Grant`] or a [`Refusal`] out.
//!
//! Called by `service` in two steps, as between them the API server is asked. A [`Grant`] is made
//! here only, by [`grant`], so that nothing can be signed that was not decided.

use crate::{
    Args,
    csr::{Csr, CsrError},
    token::{self, TokenError},
};
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use linkerd2_proxy_api::identity::CertifyRequest;
use mesh_contract::identity::WorkloadIdentity;
use mesh_tls::Id;

/// How identities are spelled here.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) control_plane_ns: String,
    pub(crate) trust_domain: String,
}

/// A well-formed request: a key, proven, and one name, the same wherever it is said. Whose it is
/// is not known yet.
#[derive(Debug)]
pub(crate) struct Asked {
    name: Id,
    csr: Csr,
    token: String,
}

/// A certificate that may be signed.
#[derive(Debug)]
pub(crate) struct Grant {
    name: Id,
    csr: Csr,
}

/// Why no certificate is issued. Each is the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the identity {0:?} is not a DNS name in lower case")]
    Identity(String),
    #[error("the token {0}")]
    Token(&'static str),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error("the signing request is for {csr:?} and the request for {requested}")]
    OtherName { requested: String, csr: String },
    #[error(transparent)]
    Unproven(#[from] TokenError),
    #[error(
        "the token proves {proven} and the request is for {requested}; does the proxy run as the ServiceAccount it was injected for?"
    )]
    NotTheirs { requested: String, proven: String },
}

const MAX_TOKEN: usize = 32 * 1024;

/// What is wrong with a request can be seen without asking anybody, and is.
pub(crate) fn read(request: CertifyRequest) -> Result<Asked, Refusal> {
    let requested = request.identity;
    let invalid = || Refusal::Identity(requested.chars().take(300).collect());
    let name = match requested.parse::<Id>() {
        // An Id is in lower case; a request must be too, as it is compared with what peers demand.
        Ok(name @ Id::Dns(_)) if name.as_str() == requested => name,
        _ => return Err(invalid()),
    };
    if request.token.len() > MAX_TOKEN {
        return Err(Refusal::Token("is too long"));
    }
    let token = String::from_utf8(request.token).map_err(|_| Refusal::Token("is not text"))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Refusal::Token("is missing"));
    }
    let csr = Csr::read(&request.certificate_signing_request)?;
    if csr.name() != name.as_str() {
        return Err(Refusal::OtherName {
            csr: csr.name().chars().take(300).collect(),
            requested,
        });
    }
    Ok(Asked {
        name,
        csr,
        token: token.to_owned(),
    })
}

/// Whether the name asked for is the one the token proves.
pub(crate) fn grant(
    policy: &Policy,
    asked: Asked,
    review: &TokenReviewStatus,
) -> Result<Grant, Refusal> {
    let account = token::proven(review)?;
    let proven = WorkloadIdentity {
        service_account: &account.name,
        namespace: &account.namespace,
        control_plane_ns: &policy.control_plane_ns,
        trust_domain: &policy.trust_domain,
    }
    .to_string();
    if proven != asked.name.as_str() {
        return Err(Refusal::NotTheirs {
            requested: asked.name.to_string(),
            proven,
        });
    }
    Ok(Grant {
        name: asked.name,
        csr: asked.csr,
    })
}

impl Asked {
    /// What the API server is to review.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The name asked for, not yet anybody's.
    pub(crate) fn name(&self) -> &Id {
        &self.name
    }
}

impl Grant {
    pub(crate) fn name(&self) -> &Id {
        &self.name
    }

    pub(crate) fn spki_der(&self) -> &[u8] {
        self.csr.spki_der()
    }
}

impl Refusal {
    /// Whether the request is malformed, rather than well-formed and not to be granted.
    pub(crate) fn is_malformed(&self) -> bool {
        match self {
            Self::Identity(_) | Self::Token(_) => true,
            Self::Csr(error) => matches!(
                error,
                CsrError::TooLong(_) | CsrError::Garbage | CsrError::Signature
            ),
            Self::OtherName { .. } | Self::Unproven(_) | Self::NotTheirs { .. } => false,
        }
    }

    /// For the metric.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Identity(_) => "identity",
            Self::Token(_) => "token",
            Self::Csr(_) | Self::OtherName { .. } => "csr",
            Self::Unproven(_) => "unauthenticated",
            Self::NotTheirs { .. } => "mismatch",
        }
    }
}

impl From<&Args> for Policy {
    fn from(args: &Args) -> Self {
        Self {
            control_plane_ns: args.controller_namespace.clone(),
            trust_domain: args.trust_domain.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
