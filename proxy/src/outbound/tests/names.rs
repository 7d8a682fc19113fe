//! Whether requests and connections are counted by the names they are for.

use ::http::HeaderValue;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::{
    hostile::passed_through,
    metrics::named,
    sandbox::{Mesh, Peer, plain, request},
};

const TO: &str = "10.0.0.1:80";
const LOCAL: &str = "web.default.svc.cluster.local:80";
const SWITCHED_ON: (&str, &str) = ("OUTBOUND_METRICS_HOSTNAME_LABELS", "true");

#[tokio::test]
async fn requests_are_counted_by_the_names_they_are_for_where_that_is_wanted() {
    let mesh = Mesh::with(&[SWITCHED_ON]).await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, named(|_| {}));
    mesh.control.endpoints(LOCAL, &[plain(app.addr)]);
    for host in ["web.shop", "WEB.shop.:80", "api.shop", "10.0.0.1:80"] {
        let mut request = request("GET", "");
        let host = HeaderValue::from_static(host);
        request.headers_mut().insert("host", host);
        mesh.send(TO, request).await.unwrap();
    }
    let text = mesh.metrics();
    // An address is no name.
    for (name, count) in [("web.shop", 2), ("api.shop", 1), ("", 1)] {
        let labels = format!("hostname=\"{name}\",http_status=\"200\",error=\"\"}} {count}");
        let counted = text.lines().any(|line| {
            line.starts_with("outbound_http_route_request_statuses_total{")
                && line.ends_with(&labels)
        });
        assert!(counted, "{labels} is not in {text}");
    }
}

/// The connections of TLS by their labels, after one for `other.example.com` has begun.
async fn tls_connection(vars: &[(&str, &str)]) -> String {
    let mesh = Mesh::with(vars).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let policy = passed_through(listener.local_addr().unwrap());
    mesh.control.policy(TO, policy);
    let target = mesh_tls::Target {
        server_id: "other.example.com".parse().unwrap(),
        server_name: None,
        transport_header: false,
    };
    let server = async {
        let (mut io, _) = listener.accept().await.unwrap();
        // Hears the hello and says nothing to it.
        assert!(io.read(&mut [0; 64]).await.unwrap() > 0);
    };
    let io = mesh.dial(TO).await;
    let (failed, ()) = tokio::join!(mesh_tls::connect(&mesh.store, &target, io), server);
    assert!(failed.is_err());
    let text = mesh.metrics();
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with("outbound_tls_route_open_total{"));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn connections_of_tls_are_counted_by_the_name_they_ask_for_where_that_is_wanted() {
    let wanted = tls_connection(&[SWITCHED_ON]).await;
    assert!(
        wanted.ends_with(",hostname=\"other.example.com\"} 1"),
        "{wanted}"
    );
    let by_default = tls_connection(&[]).await;
    assert!(by_default.ends_with(",hostname=\"\"} 1"), "{by_default}");
}
