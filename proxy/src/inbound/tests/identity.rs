//! A sidecar that has no certificate yet.

use std::pin::pin;

use linkerd2_proxy_api::identity::identity_server::IdentityServer;
use mesh_tls::control::Services;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::{
    REQUEST,
    sandbox::{Options, Sandbox, app, eventually},
};

#[tokio::test]
async fn before_the_first_certificate_it_is_not_ready_and_connections_wait() {
    // Takes connections and says nothing.
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = issuer.local_addr().unwrap().to_string();
    let options = Options {
        vars: vec![("IDENTITY_SVC_ADDR", addr)],
        ..Options::default()
    };
    let (mesh, app) = (Sandbox::starting(options).await, app().await);
    let mut early = pin!(mesh.get(app, REQUEST));
    let probes = async {
        for _ in 0..20 {
            let ready = mesh.admin("/ready").await;
            assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
            let live = mesh.admin("/live").await;
            assert!(live.starts_with("HTTP/1.1 200"), "{live}");
        }
    };
    tokio::select! {
        biased;
        answer = &mut early => panic!("without a certificate: {answer}"),
        () = probes => {}
    }
    let services = Services::new().add(IdentityServer::new(mesh.issuer.clone()));
    tokio::spawn(
        tonic::transport::Server::builder()
            .serve_with_incoming(services, TcpListenerStream::new(issuer)),
    );
    let answer = early.await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("ready", || async {
        mesh.admin("/ready").await.starts_with("HTTP/1.1 200")
    })
    .await;
}
