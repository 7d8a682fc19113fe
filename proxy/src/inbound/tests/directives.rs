//! What holds for clients whatever the policies allow.

use mesh_federation::{Directives, Restriction};

use super::*;

const OTHER: &str = "other.default.serviceaccount.identity.linkerd.cluster.local";

fn restriction() -> Restriction {
    Restriction {
        name: "compromised".into(),
        identities: vec![CLIENT.into()],
        ..Default::default()
    }
}

impl Sandbox {
    fn restrict(&self, restriction: Restriction) {
        self.directives.send_replace(Directives {
            restrictions: vec![restriction],
            ..Default::default()
        });
    }

    fn deny(&self) {
        self.restrict(Restriction {
            deny: true,
            ..restriction()
        });
    }

    async fn knows_of_the_restriction(&self) {
        eventually("the cap is known", || async {
            self.admin("/state").await.contains("\"compromised\"")
        })
        .await;
    }

    async fn is_let_in(&self, echo: u16) -> bool {
        let mut io = self.direct(opaque_header(echo)).await;
        io.write_all(b"!").await.is_ok() && io.read_u8().await.is_ok()
    }

    /// An open tunnel to `port`, proven to work.
    async fn tunnel(&self, client: &str, port: u16) -> BoxIo {
        let mut io = self.direct_as(client, opaque_header(port)).await;
        ping(&mut io).await;
        io
    }
}

async fn ping(io: &mut BoxIo) {
    io.write_all(b"!").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'!');
}

#[tokio::test]
async fn a_client_that_is_denied_loses_what_it_has_open_and_others_do_not() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let mut denied = mesh.tunnel(CLIENT, echo).await;
    let mut other = mesh.tunnel(OTHER, echo).await;
    mesh.deny();
    assert_eq!(read_to_end(&mut denied).await, b"");
    ping(&mut other).await;
    let by = ["srv_kind=\"clientrestriction\"", "srv_name=\"compromised\""];
    let counted = async |name| mesh.metric(&[name, by[0], by[1]]).await;
    assert_eq!(counted("inbound_tcp_authz_terminate_total{").await, 1);

    // It is not let in again, whatever it speaks.
    let mut again = mesh.direct(opaque_header(echo)).await;
    let _ = again.write_all(b"!").await;
    assert_eq!(read_to_end(&mut again).await, b"");
    assert_eq!(mesh.get(app().await, REQUEST).await, "");
    assert_eq!(counted("inbound_tcp_authz_deny_total{").await, 2);

    let state = mesh.admin("/state").await;
    assert!(state.contains("\"compromised\""), "{state}");
    // Until that is lifted.
    mesh.directives.send_replace(Directives::default());
    eventually("it comes again", || mesh.is_let_in(echo)).await;
}

#[tokio::test]
async fn what_a_denied_client_has_in_flight_ends_at_once() {
    let mesh = Sandbox::start().await;
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let (mut client, endless) = mesh.begin(&listener, 1000).await;
    mesh.deny();
    read_to_end(&mut client).await;
    drop(endless);
}

#[tokio::test]
async fn an_upgraded_connection_of_a_denied_client_ends() {
    let mesh = Sandbox::start().await;
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = mesh.direct(to_port(port, Session::Http1)).await;
    let request = "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut chat, _) = listener.accept().await.unwrap();
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    chat.write_all(head.as_bytes()).await.unwrap();
    let response = read_response(&mut client).await;
    assert!(response.contains("upgrade: chat"), "{response}");
    mesh.deny();
    assert_eq!(read_to_end(&mut client).await, b"");
    drop(chat);
}

#[tokio::test]
async fn a_client_has_as_many_connections_as_it_may_and_no_more() {
    let (mesh, echo) = (Sandbox::start().await, echo().await);
    let first = mesh.tunnel(CLIENT, echo).await;
    mesh.restrict(Restriction {
        max_connections: Some(2),
        ..restriction()
    });
    mesh.knows_of_the_restriction().await;
    // Those it had before count.
    let mut second = mesh.tunnel(CLIENT, echo).await;
    let mut third = mesh.direct(opaque_header(echo)).await;
    let _ = third.write_all(b"!").await;
    assert_eq!(read_to_end(&mut third).await, b"");
    assert_eq!(
        mesh.metric(&["inbound_tcp_errors_total{", "error=\"loadshed\""])
            .await,
        1
    );
    ping(&mut second).await;
    // Another client has a share of its own.
    drop(mesh.tunnel(OTHER, echo).await);
    drop(first);
    eventually("there is room again", || mesh.is_let_in(echo)).await;
}

#[tokio::test]
async fn a_request_beyond_what_a_client_may_have_in_flight_is_answered_with_429() {
    let mesh = Sandbox::start().await;
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    mesh.restrict(Restriction {
        max_requests: Some(1),
        ..restriction()
    });
    mesh.knows_of_the_restriction().await;
    let (mut first, mut slow) = mesh.begin(&listener, 6).await;
    // Its response has begun and not ended.
    let refused = mesh.get(port, REQUEST).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    slow.write_all(b"!").await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'!');
    let app = app().await;
    eventually("its turn is over", || async {
        mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200")
    })
    .await;
}
