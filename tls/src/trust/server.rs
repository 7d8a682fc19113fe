//! Telling what a store trusts, to those who have an identity.

use crate::{Store, TrustAnchors, control::ClientIdentity};
use futures::StreamExt as _;
use mesh_federation::{Server, TrustBundle, WatchTrustBundle};
use tonic::Status;

/// The service `mesh.federation.v1.Federation` of a process with this store: tells what it trusts,
/// now and later.
pub fn federation(store: Store) -> Server<WatchTrustBundle> {
    Server::new(move |request| {
        let caller = request.extensions().get::<ClientIdentity>();
        if !caller.is_some_and(|ClientIdentity(peer)| peer.is_some()) {
            let reason = "trust bundles are told to those with an identity; get one first";
            return Err(Status::unauthenticated(reason));
        }
        Ok(futures::stream::unfold((store.clone(), None), next).boxed())
    })
}

/// What was told last.
type Told = Option<(TrustAnchors, Option<String>)>;

/// What is trusted and who signs, once that differs from what was `told`.
async fn next(
    (store, told): (Store, Told),
) -> Option<(Result<TrustBundle, Status>, (Store, Told))> {
    if let Some((anchors, issuer)) = &told {
        store.differs(anchors, issuer.as_deref()).await;
    }
    let (anchors, issuer) = (store.anchors(), store.issuer());
    let certificates = anchors.certificates().iter().map(|one| one.to_vec());
    let bundle = TrustBundle {
        certificates: certificates.collect(),
        issuer: issuer.clone().unwrap_or_default(),
    };
    Some((Ok(bundle), (store, Some((anchors, issuer)))))
}
