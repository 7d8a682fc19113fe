//! An agent with a Workload API.

use std::path::Path;

use futures::{StreamExt as _, stream};
use mesh_federation::Server;
use rustls_pki_types::CertificateDer;
use tokio::{net::UnixListener, sync::watch, task::JoinHandle};
use tonic::{Status, transport};

use crate::{
    Id, TrustAnchors,
    control::Services,
    workload_api::{
        FetchX509Svid,
        messages::{X509Svid, X509SvidResponse},
    },
};

use super::Issuer;

/// Serves a Workload API at a socket until it is dropped, which ends the streams.
#[derive(Debug)]
pub struct Agent {
    answer: watch::Sender<X509SvidResponse>,
    serving: JoinHandle<()>,
}

impl Agent {
    /// Listens; it knows nobody yet.
    pub fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket can be made");
        let (answer, answers) = watch::channel(X509SvidResponse::default());
        let api = api(answers);
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(io, _)| io);
            Some((accepted, listener))
        });
        let serving = tokio::spawn(async move {
            let services = Services::new().add(api);
            let serving =
                transport::Server::builder().serve_with_incoming(services, incoming.boxed());
            serving.await.ok();
        });
        Self { answer, serving }
    }

    /// Tells whoever asks that it is `id`, certified by `issuer`, and whom to trust.
    pub fn tell(&self, id: &Id, issuer: &Issuer, anchors: &TrustAnchors) {
        let (certified, key) = issuer.leaf(id, super::DAY);
        let mut chain = certified.intermediates;
        chain.insert(0, certified.leaf);
        let svid = X509Svid {
            spiffe_id: id.to_string(),
            x509_svid: concat(&chain),
            x509_svid_key: key.secret_der().to_vec(),
            bundle: concat(anchors.certificates()),
        };
        let answer = X509SvidResponse { svids: vec![svid] };
        self.answer.send_replace(answer);
    }
}

fn concat(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    certificates.iter().flat_map(|der| der.to_vec()).collect()
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What is answered to whom.
fn api(answers: watch::Receiver<X509SvidResponse>) -> Server<FetchX509Svid> {
    Server::new(move |request| {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|header| header != "true") {
            let why = "security header missing from request";
            return Err(Status::invalid_argument(why));
        }
        if answers.borrow().svids.is_empty() {
            return Err(Status::permission_denied("no identity issued"));
        }
        let mut answers = answers.clone();
        answers.mark_changed();
        let answers = stream::unfold(answers, |mut answers| async {
            answers.changed().await.ok()?;
            let answer = answers.borrow_and_update().clone();
            Some((Ok(answer), answers))
        });
        Ok(answers.boxed())
    })
}
