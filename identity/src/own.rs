//! Identity's own certificate: the same loop as everyone's, with the issuer in reach.
//!
//! Nobody has to vouch for a process that holds the issuer's key; only the form of the request is
//! checked, and that it is for our own name.

use crate::{Validity, csr::Csr, issuer::Issuers};
use mesh_tls::{Certified, CertifyError, Id, Store};

/// Signs for this process alone.
pub(crate) struct Certifier {
    issuers: Issuers,
    id: Id,
    validity: Validity,
}

impl Certifier {
    pub(crate) fn new(issuers: Issuers, id: Id, validity: Validity) -> Self {
        Self {
            issuers,
            id,
            validity,
        }
    }
}

impl mesh_tls::Certifier for Certifier {
    async fn certify(&self, csr_der: Vec<u8>) -> Result<Certified, CertifyError> {
        let other = |error: &dyn std::fmt::Display| CertifyError::Other(error.to_string());
        let csr = Csr::read(&csr_der).map_err(|error| other(&error))?;
        if csr.name() != self.id.as_str() {
            return Err(other(&"a request of another process came in"));
        }
        let loaded = self.issuers.current().map_err(|problem| other(&problem))?;
        let Validity { lifetime, skew } = self.validity;
        let signed = loaded.issuer.sign(&self.id, csr.spki_der(), lifetime, skew);
        signed.map_err(|error| other(&error))
    }
}

/// Keeps this process trusting the anchors its issuer was checked against, for ever. Any change makes
/// it certify itself anew, with the issuer of now, and everybody who follows it.
pub(crate) async fn follow_anchors(mut issuers: Issuers, store: Store) {
    loop {
        let loaded = issuers.ready().await;
        if let Err(error) = store.trust(loaded.anchors.clone()) {
            tracing::error!(%error, "cannot trust the changed anchors; clients are checked against those before");
        }
        issuers.changed().await;
        store.ask_renewal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::{
        Loaded, State,
        tests::{issuer_secret, names, roots},
    };
    use mesh_tls::testing::Ca;
    use std::{sync::Arc, time::Duration};
    use tokio::sync::watch;

    const HOUR: Duration = Duration::from_secs(3600);

    fn loaded(signs: &Ca, bundle: &[&Ca]) -> Loaded {
        let bundle: String = bundle.iter().map(|ca| ca.0.cert_pem()).collect();
        let secret = issuer_secret(signs, HOUR);
        crate::issuer::load(&names(), Some(&secret), Some(&roots(&bundle))).unwrap()
    }

    #[tokio::test]
    async fn a_rotation_of_roots_reaches_identity_itself_without_a_restart() {
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let state = |loaded| State {
            current: Some(Arc::new(loaded)),
            problem: None,
        };
        let (states, issuers) = watch::channel(state(loaded(&old, &[&old])));
        let issuers = Issuers::following(issuers);
        let id: Id = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"
            .parse()
            .unwrap();
        let store = Store::new(id.clone(), old.anchors());
        let validity = Validity {
            lifetime: HOUR,
            skew: Duration::from_secs(10),
        };
        let certifier = Certifier::new(issuers.clone(), id, validity);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(mesh_tls::certify_loop(
            store.clone(),
            certifier,
            std::future::pending(),
        ));
        tasks.spawn(follow_anchors(issuers, store.clone()));
        store.ready().await;

        // Both roots, then the new one alone, each as the Secret and the ConfigMap say it.
        for (signs, bundle) in [(&new, &[&old, &new][..]), (&new, &[&new][..])] {
            let renewed = store.renewed();
            let expected = loaded(signs, bundle).anchors;
            states.send_replace(state(loaded(signs, bundle)));
            tokio::time::timeout(Duration::from_secs(10), renewed)
                .await
                .expect("certified anew at once");
            assert_eq!(store.anchors(), expected);
        }
    }
}
