//! A gRPC service over mesh TLS, as the control plane serves and dials it.

use super::*;
use crate::{
    Certifier as _, GrpcCertifier, certify_loop,
    testing::{Ca, Issuer},
};
use futures::FutureExt;
use linkerd2_proxy_api::identity::{
    CertifyRequest, CertifyResponse,
    identity_client::IdentityClient,
    identity_server::{Identity, IdentityServer},
};
use std::time::SystemTime;
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};
use tonic::{Code, Request, Response, Status};

const HOUR: Duration = Duration::from_secs(3600);

/// Signs what it is asked to, and tells who asked.
struct Service {
    issuer: Issuer,
    callers: mpsc::UnboundedSender<(Option<Id>, Vec<u8>)>,
}

#[tonic::async_trait]
impl Identity for Service {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let ClientIdentity(peer) = request.extensions().get().cloned().unwrap();
        let caller = peer.map(|peer| peer.id().clone());
        let token = request.get_ref().token.clone();
        self.callers.send((caller, token)).unwrap();
        Identity::certify(&self.issuer, request).await
    }
}

fn id(name: &str) -> Id {
    format!("{name}.linkerd.serviceaccount.identity.linkerd.cluster.local")
        .parse()
        .unwrap()
}

fn dial() -> Dial {
    Arc::new(|host, port| TcpStream::connect((host, port)).boxed())
}

struct Server {
    addr: ControlAddr,
    issuer: Issuer,
    store: Store,
    callers: mpsc::UnboundedReceiver<(Option<Id>, Vec<u8>)>,
    port: u16,
}

impl Server {
    /// Certifies the store here, with a token that is there as long as the folder.
    fn certifier(&self, store: &Store) -> (GrpcCertifier, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "the token\n").unwrap();
        let certifier = GrpcCertifier::new(self.addr.clone(), store.clone(), token, dial());
        (certifier, dir)
    }
}

async fn start() -> Server {
    let issuer = Ca::new("anchor").issuer("west");
    let store = issuer.issue(&id("linkerd-identity"), HOUR);
    start_with(issuer, store).await
}

async fn start_with(issuer: Issuer, store: Store) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (callers_tx, callers) = mpsc::unbounded_channel();
    let service = Service {
        issuer: issuer.clone(),
        callers: callers_tx,
    };
    let services = Services::new().add(IdentityServer::new(service));
    tokio::spawn(super::serve(
        listener,
        store.clone(),
        services,
        std::future::pending(),
    ));
    let addr = ControlAddr::new(&format!("127.0.0.1:{port}"), id("linkerd-identity")).unwrap();
    Server {
        addr,
        issuer,
        store,
        callers,
        port,
    }
}

fn empty() -> CertifyRequest {
    CertifyRequest {
        identity: String::new(),
        token: vec![],
        certificate_signing_request: vec![],
    }
}

#[tokio::test]
async fn a_service_sees_who_calls() {
    let mut server = start().await;
    let client = server.issuer.issue(&id("linkerd-destination"), HOUR);
    let channel = channel(server.addr, client, dial());
    let answer = IdentityClient::new(channel).certify(empty()).await;
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    let (caller, _) = server.callers.recv().await.unwrap();
    assert_eq!(caller, Some(id("linkerd-destination")));
}

#[tokio::test]
async fn a_server_that_is_somebody_else_gets_no_request() {
    let mut server = start().await;
    let client = server.issuer.issue(&id("linkerd-destination"), HOUR);
    let mut addr = server.addr.clone();
    addr.identity = id("somebody-else");
    let answer = IdentityClient::new(channel(addr, client, dial()))
        .certify(empty())
        .await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(server.callers.try_recv().is_err());
}

#[tokio::test]
async fn the_token_alone_gets_the_first_certificate_and_every_other() {
    let mut server = start().await;
    let web = Store::new(id("web"), server.issuer.anchors.clone());
    let (certifier, _token) = server.certifier(&web);
    let task = tokio::spawn(certify_loop(
        web.clone(),
        certifier.clone(),
        std::future::pending(),
    ));
    web.ready().await;
    assert!(web.expiry().unwrap() > SystemTime::now());
    task.abort();
    let _ = certifier.certify(vec![]).await;
    for _ in 0..2 {
        let caller = server.callers.recv().await.unwrap();
        assert_eq!(caller, (None, b"the token".to_vec()));
    }
}

/// Somebody gave a cluster another anchor and issuer at once, without a time for both.
#[tokio::test]
async fn a_certificate_under_an_anchor_that_was_replaced_does_not_keep_out_the_next() {
    let server = start().await;
    let web = Ca::new("anchor").issuer("west").issue(&id("web"), HOUR);
    web.trust(server.issuer.anchors.clone()).unwrap();
    let (certifier, _token) = server.certifier(&web);
    let (_, csr) = crate::certify::request(web.id()).unwrap();
    certifier.certify(csr).await.unwrap();
}

#[tokio::test]
async fn a_missing_or_empty_token_is_named() {
    let server = start().await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let certifier =
        |token| GrpcCertifier::new(server.addr.clone(), server.store.clone(), token, dial());
    let error = certifier(token.clone()).certify(vec![]).await.unwrap_err();
    assert!(
        error.to_string().contains(&*token.to_string_lossy()),
        "{error}"
    );
    std::fs::write(&token, " \n").unwrap();
    let error = certifier(token).certify(vec![]).await.unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_named_with_the_cause() {
    let server = start().await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "token").unwrap();
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let addr = ControlAddr::new(&unused.to_string(), id("linkerd-identity")).unwrap();
    let certifier = GrpcCertifier::new(addr, server.store.clone(), token, dial());
    let error = certifier.certify(vec![]).await.unwrap_err().to_string();
    assert!(error.contains(&unused.to_string()), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_waits_for_its_own_certificate() {
    let issuer = Ca::new("anchor").issuer("west");
    let bare = Store::new(id("linkerd-identity"), issuer.anchors.clone());
    let mut server = start_with(issuer, bare).await;
    let client = server.issuer.issue(&id("web"), HOUR);
    let channel = channel(server.addr, client, dial());
    let call = tokio::spawn(async move { IdentityClient::new(channel).certify(empty()).await });
    server.issuer.renew(&server.store, HOUR);
    assert!(server.callers.recv().await.is_some());
    assert_eq!(
        call.await.unwrap().unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn silent_and_hostile_clients_do_not_disturb_others() {
    let mut server = start().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(
            TcpStream::connect(("127.0.0.1", server.port))
                .await
                .unwrap(),
        );
    }
    let mut hostile = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut hostile, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // An alert at most, then the end: nothing is served in the clear.
    let _ = hostile.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");

    let client = server.issuer.issue(&id("web"), HOUR);
    let _ = IdentityClient::new(channel(server.addr, client, dial()))
        .certify(empty())
        .await;
    assert!(server.callers.recv().await.is_some());
}

#[tokio::test]
async fn one_address_full_of_open_handshakes_does_not_keep_others_out() {
    let mut server = start().await;
    let mut slow = Vec::new();
    // More than all handshakes there may be, from one address, each with a first byte.
    for _ in 0..600 {
        let mut io = TcpStream::connect(("127.0.0.1", server.port))
            .await
            .unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut io, &[22]).await;
        slow.push(io);
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let other: Dial = {
        let socket = parking_lot::Mutex::new(Some(socket));
        Arc::new(move |_, port| {
            let socket = socket.lock().take().unwrap();
            socket.connect(([127, 0, 0, 1], port).into()).boxed()
        })
    };
    let client = server.issuer.issue(&id("web"), HOUR);
    let call = async move {
        IdentityClient::new(channel(server.addr, client, other))
            .certify(empty())
            .await
    };
    let soon = Duration::from_secs(5);
    let answer = tokio::time::timeout(soon, call).await.unwrap();
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    assert!(server.callers.recv().await.is_some());
}

#[tokio::test]
async fn a_channel_comes_back_after_its_server_did() {
    let mut server = start().await;
    let client = server.issuer.issue(&id("web"), HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap().port();
    drop(listener);
    // The first attempt finds nobody, the second a server at another port.
    let ports = Arc::new(parking([gone, server.port]));
    let dial: Dial = Arc::new(move |host, _| {
        let port = ports();
        TcpStream::connect((host, port)).boxed()
    });
    let mut identity = IdentityClient::new(channel(server.addr, client, dial));
    assert_eq!(
        identity.certify(empty()).await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        identity.certify(empty()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert!(server.callers.recv().await.is_some());
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented() {
    let mut services = Services::new();
    for path in ["/io.linkerd.proxy.identity.Identity/Certify", "/", "", "/x"] {
        let request = http::Request::builder().uri(format!("http://x{path}"));
        let request = request.body(tonic::body::Body::empty()).unwrap();
        let Ok(response) = tower::Service::call(&mut services, request).await;
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test]
async fn the_server_ends_with_its_shutdown_although_a_client_stays() {
    let issuer = Ca::new("anchor").issuer("west");
    let store = issuer.issue(&id("linkerd-identity"), HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let serving = tokio::spawn(super::serve(listener, store, Services::new(), shutdown));
    let client = issuer.issue(&id("web"), HOUR);
    let addr = ControlAddr::new(&addr, id("linkerd-identity")).unwrap();
    let mut identity = IdentityClient::new(channel(addr, client, dial()));
    assert_eq!(
        identity.certify(empty()).await.unwrap_err().code(),
        Code::Unimplemented
    );
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(
        identity.certify(empty()).await.unwrap_err().code(),
        Code::Unavailable
    );
}

/// Gives one port after the other, the last for ever.
fn parking(ports: [u16; 2]) -> impl Fn() -> u16 {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    move || {
        ports[calls
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst)
            .min(1)]
    }
}

#[test]
fn addresses_are_host_and_port() {
    let addr = |text: &str| ControlAddr::new(text, id("x"));
    let headless = addr("linkerd-identity-headless.linkerd.svc.cluster.local.:8080").unwrap();
    assert_eq!(
        headless.host,
        "linkerd-identity-headless.linkerd.svc.cluster.local."
    );
    assert_eq!(headless.port, 8080);
    assert_eq!(addr("[::1]:8086").unwrap().host, "::1");
    assert_eq!(addr("[::1]:8086").unwrap().to_string(), "[::1]:8086");
    assert_eq!(addr("127.0.0.1:1").unwrap().port, 1);
    for text in [
        "",
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "ho st:80",
        "a/b:80",
        "host:-1",
    ] {
        assert!(addr(text).is_err(), "{text}");
    }
}
