//! Ports that clients name: anybody may name any, and nobody may keep others from theirs.

use tokio::io::AsyncWriteExt;

use super::{
    CLIENT, Options, REQUEST, Sandbox, Session, app, detect, id, opaque, opaque_header,
    read_to_end, to_port,
};
use crate::{
    inbound::{
        policy::ports::MAX_PORTS,
        tests::sandbox::{HOUR, echo, eventually},
    },
    io::BoxIo,
};

/// A client that names more ports than are watched, and holds on to every connection.
async fn name_many(mesh: &Sandbox) -> Vec<BoxIo> {
    let greedy = mesh.issuer.issue(&id("greedy.example"), HOUR);
    let mut held = Vec::new();
    for port in 1..=u16::try_from(MAX_PORTS).unwrap() + 20 {
        let mut io = mesh.tls(&greedy, true).await;
        let header = to_port(port, Session::Http1);
        io.write_all(&header.encode()).await.unwrap();
        held.push(io);
    }
    held
}

fn closed_by_default() -> Options {
    Options {
        vars: vec![("INBOUND_DEFAULT_POLICY", "deny".into())],
        ..Options::default()
    }
}

#[tokio::test]
async fn a_client_that_names_every_port_keeps_no_other_from_its_own() {
    let (mesh, app) = (Sandbox::with(closed_by_default()).await, app().await);
    mesh.policies.set(app, detect(&[CLIENT]));
    let _held = name_many(&mesh).await;
    // What the control plane says of this port is known, whoever asked for what before.
    let response = mesh.get(app, REQUEST).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[tokio::test]
async fn a_port_that_serves_stays_watched_however_many_others_are_named() {
    let (mesh, echo) = (Sandbox::with(closed_by_default()).await, echo().await);
    mesh.policies.set(echo, opaque(&[CLIENT]));
    let mut io = mesh.direct(opaque_header(echo)).await;
    io.write_all(b"x").await.unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut io, &mut [0])
        .await
        .unwrap();
    let held = name_many(&mesh).await;
    io.write_all(b"y").await.unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut io, &mut [0])
        .await
        .unwrap();
    // The policy is still followed: what it forbids ends.
    mesh.policies.set(echo, opaque(&["somebody.else"]));
    assert_eq!(read_to_end(&mut io).await, b"");
    let terminated = ["inbound_tcp_authz_terminate_total{"];
    eventually("counted", || async { mesh.metric(&terminated).await == 1 }).await;
    drop(held);
}
