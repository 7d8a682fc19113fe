//! Who may use the kubelet's port. The embedded API server shows a bearer token, a real one a
//! certificate of the cluster's client CA; the API server is asked about both. Nobody else is
//! answered. Called by `serve.rs` for every request.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::model::{Stamp, now};
use crate::apiserver::NODE_CLIENT;

/// How long an answer about a token is believed.
const TRUST_MS: i64 = 60_000;

/// Whom a certificate names. Read from verified certificates alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    name: String,
    groups: Vec<String>,
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Verdict {
    Welcome,
    /// It did not say who it is, or nobody knows it.
    Stranger,
    Refused(String),
}

/// Judges callers.
pub(super) struct Callers {
    client: Client,
    node: String,
    /// The last token let in, and until when it need not be asked about again.
    known: Mutex<Option<(String, Stamp)>>,
}

impl Caller {
    /// As Kubernetes reads client certificates: the common name is the user, organisations are
    /// groups. The first certificate is the caller's own.
    pub(super) fn read(verified: &[CertificateDer<'static>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(verified.first()?).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        let groups = subject.iter_organization();
        let mut groups: Vec<String> = groups
            .filter_map(|group| Some(group.as_str().ok()?.to_owned()))
            .collect();
        groups.push("system:authenticated".to_owned());
        Some(Self {
            name: name.to_owned(),
            groups,
        })
    }
}

impl Callers {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self {
            client,
            node,
            known: Mutex::default(),
        }
    }

    /// Whether whoever has a certificate or a token may do `verb` with this node.
    pub(super) async fn judge(
        &self,
        certified: Option<&Caller>,
        token: Option<&str>,
        verb: &str,
    ) -> Verdict {
        match (certified, token) {
            (_, Some(token)) if self.is_api_server(token).await => Verdict::Welcome,
            (Some(caller), _) => self.authorise(caller, verb).await,
            _ => Verdict::Stranger,
        }
    }

    /// As kubelets do it: what is done with pods' insides is `nodes/proxy`.
    async fn authorise(&self, caller: &Caller, verb: &str) -> Verdict {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.name.clone()),
                groups: Some(caller.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some("proxy".to_owned()),
                    name: Some(self.node.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let about = format!(
            "user={:?}, verb={verb}, resource=nodes, subresource=proxy",
            caller.name
        );
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) if review.status.as_ref().is_some_and(|s| s.allowed) => Verdict::Welcome,
            Ok(_) => Verdict::Refused(format!("Forbidden ({about})")),
            Err(error) => {
                tracing::warn!(%error, caller = caller.name, "cannot ask what a caller may do");
                Verdict::Refused(format!("Authorization error ({about})"))
            }
        }
    }

    /// Asks the API server whether the token is its own.
    async fn is_api_server(&self, token: &str) -> bool {
        let known = self.known.lock().clone();
        if known.is_some_and(|(t, until)| now() < until && same(t.as_bytes(), token.as_bytes())) {
            return true;
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: None,
            },
            ..Default::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) => {
                let status = review.status.unwrap_or_default();
                let name = status.user.and_then(|u| u.username);
                let ok = status.authenticated == Some(true) && name.as_deref() == Some(NODE_CLIENT);
                if ok {
                    *self.known.lock() = Some((token.to_owned(), now() + TRUST_MS));
                }
                ok
            }
            Err(error) => {
                tracing::warn!(%error, "cannot ask whose token it is");
                false
            }
        }
    }
}

/// Takes as long for a good guess as for a bad one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn tokens_compare_by_all_their_bytes() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }

    #[test]
    fn a_certificate_names_a_user_and_groups() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "kube-apiserver-kubelet-client");
        name.push(DnType::OrganizationName, "system:masters");
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let caller = Caller::read(&[made.der().clone()]).unwrap();
        assert_eq!(caller.name, "kube-apiserver-kubelet-client");
        assert_eq!(caller.groups, ["system:masters", "system:authenticated"]);
        assert_eq!(Caller::read(&[]), None);
        assert_eq!(Caller::read(&[CertificateDer::from(vec![1, 2, 3])]), None);
    }
}
