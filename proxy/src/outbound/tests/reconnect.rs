//! What a control plane says after it was away counts, also if that is "nothing".

use super::sandbox::{Mesh, Peer, first_available, plain};
use crate::inbound::tests::sandbox::eventually;

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";

/// A mesh that serves, and whose control plane has gone away.
async fn alone() -> (Mesh, Peer) {
    let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")]).await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[PATH]));
    mesh.control.endpoints(PATH, &[plain(app.addr)]);
    assert_eq!(mesh.get(TO).await.unwrap().body, "app");
    let asked = mesh.control.asked().len();
    mesh.control.set_away(true);
    mesh.control.cut();
    eventually("it is asked again", || async {
        mesh.control.asked().len() >= asked + 2
    })
    .await;
    assert_eq!(
        mesh.get(TO).await.unwrap().body,
        "app",
        "the last answer holds"
    );
    (mesh, app)
}

/// How requests end, once the answer has arrived: with an error, and never at the address the
/// application connected to.
async fn nobody_is_left(mesh: &Mesh, app: &Peer) {
    eventually("heard", || async { mesh.get(TO).await.is_err() }).await;
    let seen = app.seen().len();
    let error = mesh.get(TO).await.unwrap_err();
    assert_eq!(crate::http::rescue::status(&error), 504, "{error}");
    assert_eq!(app.seen().len(), seen);
}

#[tokio::test]
async fn a_control_plane_that_comes_back_with_no_endpoints_is_believed() {
    let (mesh, app) = alone().await;
    mesh.control.endpoints(PATH, &[]);
    mesh.control.set_away(false);
    nobody_is_left(&mesh, &app).await;
    // And so it is when there are some again.
    mesh.control.endpoints(PATH, &[plain(app.addr)]);
    eventually("served", || async { mesh.get(TO).await.is_ok() }).await;
}

#[tokio::test]
async fn a_control_plane_that_comes_back_and_knows_nothing_is_believed() {
    let (mesh, app) = alone().await;
    mesh.control.deny(PATH);
    mesh.control.set_away(false);
    nobody_is_left(&mesh, &app).await;
}
