//! The admin server, asked from inside the pod and from next door.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::sandbox::{Options, SERVER, Sandbox, dial, read_response};
use crate::io::boxed;

/// A request to the admin server from another pod.
async fn from_next_door(mesh: &Sandbox, request: &str) -> String {
    let mut io = boxed(dial(mesh.admin).await);
    io.write_all(request.as_bytes()).await.unwrap();
    read_response(&mut io).await
}

#[tokio::test]
async fn the_admin_server_tells_the_pod_more_than_its_neighbours() {
    let mesh = Sandbox::with(Options {
        loopback: true,
        ..Options::default()
    })
    .await;
    let live = mesh.admin("/live").await;
    assert!(live.ends_with("live\n"), "{live}");
    let metrics = mesh.admin("/metrics").await;
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let env = mesh.admin("/env.json?PATH&NO_SUCH_VARIABLE").await;
    assert!(env.contains("\"NO_SUCH_VARIABLE\": null"), "{env}");
    assert_eq!(env.matches("\": ").count(), 2, "no more than was asked for");
    let state = mesh.admin("/state").await;
    for part in ["\"identity\"", "\"outbound\"", "\"in_flight\": 0", SERVER] {
        assert!(state.contains(part), "{part} in {state}");
    }
    let shutdown = mesh.admin("/shutdown").await;
    assert!(shutdown.starts_with("HTTP/1.1 404"), "off: {shutdown}");

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = from_next_door(&mesh, &get("/live")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for path in ["/env.json", "/proxy-log-level"] {
        let answer = from_next_door(&mesh, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn questions_to_the_admin_server_and_their_connections_are_counted() {
    let mesh = Sandbox::start().await;
    let port = format!("target_port=\"{}\"", mesh.admin.port());
    let count = async |name: &str| mesh.metric(&[name, "direction=\"inbound\"", &port]).await;
    for name in [
        "request_total{",
        "response_total{",
        "tcp_open_total{",
        "tcp_close_total{",
        "tcp_read_bytes_total{",
        "tcp_write_bytes_total{",
    ] {
        let before = count(name).await;
        assert!(count(name).await > before, "{name} {before}");
    }
}

#[tokio::test]
async fn the_pod_may_stop_its_sidecar_where_that_is_enabled() {
    let options = Options {
        vars: vec![("SHUTDOWN_ENDPOINT_ENABLED", "true".into())],
        loopback: true,
        ..Options::default()
    };
    let mesh = Sandbox::with(options).await;
    let post = "POST /shutdown HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let answer = from_next_door(&mesh, post).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = mesh.admin("/shutdown").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let mut io = boxed(TcpStream::connect(mesh.admin).await.unwrap());
    io.write_all(post.as_bytes()).await.unwrap();
    let answer = read_response(&mut io).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    mesh.stopped.await.unwrap();
}

/// Logging of the tests' process stays off: the filters are.
#[tokio::test]
async fn the_log_level_is_read_and_set_from_inside_the_pod() {
    mesh_daemon::telemetry::init(&mesh_daemon::telemetry::LogArgs {
        filter: "off".into(),
        ..mesh_daemon::telemetry::LogArgs::from_proxy_env()
    })
    .unwrap();
    let mesh = Sandbox::with(Options {
        loopback: true,
        ..Options::default()
    })
    .await;
    let ask = |method: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} /proxy-log-level HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let admin = mesh.admin;
        async move {
            let mut io = boxed(TcpStream::connect(admin).await.unwrap());
            io.write_all(request.as_bytes()).await.unwrap();
            read_response(&mut io).await
        }
    };
    let level = ask("GET", "").await;
    assert!(
        level.starts_with("HTTP/1.1 200") && level.ends_with("off\n"),
        "{level}"
    );
    let set = ask("PUT", "off,mesh_proxy::nowhere=off\n").await;
    assert!(set.starts_with("HTTP/1.1 204"), "{set}");
    let level = ask("GET", "").await;
    assert!(level.ends_with("off,mesh_proxy::nowhere=off\n"), "{level}");
    for (method, body, status) in [
        ("PUT", "mesh=loud", "400"),
        ("POST", "off", "405"),
        ("DELETE", "", "405"),
    ] {
        let answer = ask(method, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {body}: {answer}"
        );
    }
    // What is refused changes nothing.
    let level = ask("GET", "").await;
    assert!(level.ends_with("off,mesh_proxy::nowhere=off\n"), "{level}");
}
