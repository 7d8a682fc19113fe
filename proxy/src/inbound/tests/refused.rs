//! Connections that are not served, and what is counted of them; and what clients are told of
//! errors.

use std::time::Duration;

use http::Request;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    REQUEST, redirected,
    sandbox::{
        CLIENT, Options, SERVER, Sandbox, app, detect, dial, eventually, h2, id, read_response,
        read_to_end, to_port,
    },
};
use crate::{http::Body, io::boxed, transport_header::Session};

#[tokio::test]
async fn whoever_says_nothing_is_cut_off_and_counted() {
    let options = Options {
        vars: vec![("INBOUND_DETECT_TIMEOUT", "100ms".into())],
        ..Options::default()
    };
    let (mesh, app) = (Sandbox::with(options).await, app().await);
    let mut silent = boxed(mesh.dial().await);
    assert_eq!(read_to_end(&mut silent).await, b"");
    let errors = ["inbound_tcp_errors_total{", "tls detection timeout"];
    eventually("counted", || async { mesh.metric(&errors).await == 1 }).await;
    // At a port of the workload, too.
    let at = redirected(&mesh, app).await;
    let mut silent = boxed(dial(at).await);
    assert_eq!(read_to_end(&mut silent).await, b"");
}

#[tokio::test]
async fn what_is_not_for_an_address_of_the_pod_is_refused_and_counted() {
    let options = Options {
        vars: vec![
            ("INBOUND_IPS", "127.77.0.1".into()),
            ("INBOUND_LISTEN_ADDR", "0.0.0.0:0".into()),
        ],
        ..Options::default()
    };
    let mut mesh = Sandbox::with(options).await;
    let app = app().await;
    let errors = ["inbound_tcp_errors_total{"];
    mesh.inbound.set_ip([127, 77, 0, 1].into());
    let answer = mesh.get(app, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(mesh.metric(&errors).await, 0, "nothing went wrong");

    mesh.inbound.set_ip([127, 77, 0, 9].into());
    let target = mesh_tls::Target {
        server_id: id(SERVER),
        server_name: None,
        transport_header: true,
    };
    let stranger = mesh_tls::connect(&mesh.client(), &target, mesh.dial().await).await;
    assert!(stranger.is_err(), "it was let in");
    let unexpected = [errors[0], "error=\"unexpected\""];
    eventually("counted", || async { mesh.metric(&unexpected).await == 1 }).await;
    assert_eq!(mesh.metric(&errors).await, 1);
}

/// An application whose queue of connections is full, and what fills it.
async fn full() -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.77.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), dial(addr)).await {
        queued.push(connected);
    }
    (listener, queued)
}

#[tokio::test]
async fn an_application_that_takes_no_connections_is_a_504() {
    let options = Options {
        vars: vec![("INBOUND_CONNECT_TIMEOUT", "100ms".into())],
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let (listener, _queued) = full().await;
    let port = listener.local_addr().unwrap().port();
    let answer = mesh.get(port, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

#[tokio::test]
async fn a_reason_is_given_to_clients_of_the_mesh_alone() {
    const REASON: &str = "l5d-proxy-error";
    let (mesh, app) = (Sandbox::start().await, app().await);
    mesh.policies.set(app, detect(&["somebody.else"]));
    let at = redirected(&mesh, app).await;
    for meshed in [true, false] {
        let connect = async |session| match meshed {
            true => mesh.direct(to_port(app, session)).await,
            false => boxed(dial(at).await),
        };
        let mut io = connect(Session::Http1).await;
        io.write_all(REQUEST.as_bytes()).await.unwrap();
        let answer = read_response(&mut io).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert_eq!(answer.contains(REASON), meshed, "{answer}");

        let mut send = h2(connect(Session::Http2).await).await;
        for (kind, status) in [("text/plain", 403), ("application/grpc", 200)] {
            let request = Request::post("http://web.default/svc/Method");
            let request = request.header("content-type", kind).body(Body::empty());
            let answer = send.send_request(request.unwrap()).await.unwrap();
            assert_eq!(answer.status(), status, "{kind}: {answer:?}");
            let told = answer.headers().contains_key(REASON);
            assert_eq!(told, meshed, "{kind}: {answer:?}");
            let grpc = answer.headers().get("grpc-status");
            let denied = (status == 200).then_some("7");
            assert_eq!(grpc.map(|code| code.to_str().unwrap()), denied);
        }
    }
    // Who may come gets the answer of the application, which is not ours to explain.
    mesh.policies.set(app, detect(&[CLIENT]));
    eventually("allowed", || async {
        mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200")
    })
    .await;
    let answer = mesh.get(app, REQUEST).await;
    assert!(!answer.contains(REASON), "{answer}");
}
