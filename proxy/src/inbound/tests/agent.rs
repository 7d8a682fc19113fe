//! A workload outside a cluster, certified by an agent on its machine.

use mesh_tls::{
    Id, Target,
    testing::{Agent, Ca},
};
use tokio::io::AsyncWriteExt;

use super::{HOUR, Options, REQUEST, Sandbox, Session, app, eventually, read_response, to_port};
use crate::io::boxed;

const ID: &str = "spiffe://example.org/vm/web";
const CLIENT: &str = "spiffe://example.org/vm/client";
const NAME: &str = "web.example.org";

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// One request of a client that `ca` certified; the response, or none.
async fn ask(mesh: &Sandbox, ca: &Ca, port: u16) -> Option<String> {
    let target = Target {
        server_id: id(ID),
        server_name: Some(NAME.into()),
        transport_header: true,
    };
    let store = ca.issuer("another issuer").issue(&id(CLIENT), HOUR);
    let io = mesh.dial().await;
    let mut io = boxed(mesh_tls::connect(&store, &target, io).await.ok()?);
    let header = to_port(port, Session::Http1).encode();
    io.write_all(&header).await.ok()?;
    io.write_all(REQUEST.as_bytes()).await.ok()?;
    Some(read_response(&mut io).await).filter(|response| !response.is_empty())
}

#[tokio::test]
async fn an_agent_certifies_a_workload_and_changes_whom_it_trusts_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let (agent, old) = (Agent::start(&socket), Ca::new("old"));
    agent.tell(&id(ID), &old.issuer("issuer"), &old.anchors());
    let address = format!("unix://{}", socket.display());
    let mesh = Sandbox::with(Options {
        vars: vec![
            ("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", address),
            ("IDENTITY_SERVER_ID", ID.into()),
            ("IDENTITY_SERVER_NAME", NAME.into()),
        ],
        ..Options::default()
    })
    .await;
    let app = app().await;
    let response = ask(&mesh, &old, app).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.contains(CLIENT), "{response}");

    // All at once: certificate, and whom to trust.
    let new = Ca::new("new");
    agent.tell(&id(ID), &new.issuer("issuer"), &new.anchors());
    eventually("clients under the new anchor are served", || async {
        ask(&mesh, &new, app).await.is_some()
    })
    .await;
    assert_eq!(ask(&mesh, &old, app).await, None);

    // Without the agent it goes on, and asks for it until it is back.
    drop(agent);
    std::fs::remove_file(&socket).unwrap();
    assert!(ask(&mesh, &new, app).await.is_some());
    let agent = Agent::start(&socket);
    agent.tell(&id(ID), &old.issuer("issuer"), &old.anchors());
    eventually("the agent is followed again", || async {
        ask(&mesh, &old, app).await.is_some()
    })
    .await;
}
