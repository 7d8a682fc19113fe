//! A change of the trust anchors, told over mesh TLS.

use super::{client::Pauses, *};
use crate::{
    Id, Store, TrustAnchors,
    control::{self, ControlAddr, Dial, Services},
    testing::{Ca, Issuer},
};
use futures::FutureExt as _;
use mesh_federation::TrustBundle;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSES: Pauses = Pauses {
    retry: (Duration::from_millis(10), Duration::from_millis(50)),
    unimplemented: Duration::from_millis(50),
};

fn id(name: &str) -> Id {
    let name = format!("{name}.linkerd.serviceaccount.identity.linkerd.cluster.local");
    name.parse().unwrap()
}

fn both(one: &Ca, other: &Ca) -> TrustAnchors {
    let (one, other) = (one.anchors(), other.anchors());
    let all = one.certificates().iter().chain(other.certificates());
    TrustAnchors::from_der(all.cloned().collect()).unwrap()
}

struct Server {
    store: Store,
    addr: ControlAddr,
    _tasks: JoinSet<()>,
}

async fn start(issuer: &Issuer, serves: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let store = issuer.issue(&id("linkerd-identity"), HOUR);
    let mut services = Services::new();
    if serves {
        services = services.add(federation(store.clone()));
    }
    let mut tasks = JoinSet::new();
    let serving = control::serve(listener, store.clone(), services, pending());
    tasks.spawn(async move { serving.await.unwrap() });
    Server {
        store,
        addr: ControlAddr::new(&addr, id("linkerd-identity")).unwrap(),
        _tasks: tasks,
    }
}

fn follower(server: &Server, store: &Store) -> JoinSet<()> {
    let dial: Dial = Arc::new(|host, port| TcpStream::connect((host, port)).boxed());
    let channel = control::channel(server.addr.clone(), store.clone(), dial);
    let store = store.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { follow(&store, channel, PAUSES).await });
    tasks
}

async fn trusts(store: &Store, expected: &TrustAnchors) {
    let reached = async {
        while store.anchors() != *expected {
            let issuer = store.issuer();
            store.differs(&store.anchors(), issuer.as_deref()).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.expect("the change is heard of");
}

#[tokio::test]
async fn a_rotation_of_roots_reaches_whoever_follows_while_it_runs() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let (old_issuer, mut new_issuer) = (old.issuer("west"), new.issuer("west"));
    let server = start(&old_issuer, true).await;
    let web = old_issuer.issue(&id("web"), HOUR);
    let _following = follower(&server, &web);

    // Both roots; then certificates under the new one, which is asked for; then the new one alone.
    server.store.trust(both(&old, &new)).unwrap();
    trusts(&web, &both(&old, &new)).await;
    let asked = web.renewals_asked();
    new_issuer.anchors = both(&old, &new);
    new_issuer.renew(&server.store, HOUR);
    let trusted = both(&old, &new);
    let overtaken = web.overtaken(&trusted, asked);
    let overtaken = tokio::time::timeout(PATIENCE, overtaken).await;
    overtaken.expect("a certificate of the new issuer is asked for");
    new_issuer.renew(&web, HOUR);
    server.store.trust(new.anchors()).unwrap();
    trusts(&web, &new.anchors()).await;
    assert_eq!(web.issuer(), server.store.issuer());
}

#[tokio::test]
async fn a_control_plane_without_the_service_leaves_the_anchors_as_configured() {
    let issuer = Ca::new("anchor").issuer("west");
    let server = start(&issuer, false).await;
    let web = issuer.issue(&id("web"), HOUR);
    let dial: Dial = Arc::new(|host, port| TcpStream::connect((host, port)).boxed());
    let channel = control::channel(server.addr.clone(), web.clone(), dial);
    let refused = client::watch(&web, channel, &mut false).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert_eq!(web.anchors(), issuer.anchors);
}

#[tokio::test]
async fn whoever_has_no_identity_is_told_nothing() {
    let issuer = Ca::new("anchor").issuer("west");
    let server = start(&issuer, true).await;
    let nobody = Store::new(id("web"), issuer.anchors.clone());
    let dial: Dial = Arc::new(|host, port| TcpStream::connect((host, port)).boxed());
    let channel = control::bootstrap_channel(server.addr.clone(), nobody.clone(), dial);
    let refused = client::watch(&nobody, channel, &mut false).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[test]
fn an_empty_or_broken_bundle_changes_nothing() {
    let issuer = Ca::new("anchor").issuer("west");
    let web = issuer.issue(&id("web"), HOUR);
    for certificates in [vec![], vec![b"no certificate".to_vec()]] {
        let bundle = TrustBundle {
            certificates,
            issuer: String::new(),
        };
        assert!(client::take_over(&web, bundle).is_err());
        assert_eq!(web.anchors(), issuer.anchors);
    }
}
