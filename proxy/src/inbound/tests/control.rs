//! A control plane that does not answer, or answers too much.

use std::time::Duration;

use super::{CLIENT, Options, REQUEST, Sandbox, app, detect};
use crate::inbound::tests::sandbox::eventually;

#[tokio::test]
async fn while_the_control_plane_is_silent_the_default_holds_and_nobody_hangs() {
    for (default, status) in [("deny", "403"), ("all-authenticated", "200")] {
        let options = Options {
            vars: vec![("INBOUND_DEFAULT_POLICY", default.into())],
            ..Options::default()
        };
        let (mesh, app) = (Sandbox::with(options).await, app().await);
        mesh.policies.silence(app);
        let answer = tokio::time::timeout(Duration::from_secs(20), mesh.get(app, REQUEST)).await;
        let answer = answer.expect("it hangs");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{default}: {answer}"
        );
        // Once it is heard it counts.
        mesh.policies.set(app, detect(&["somebody.else"]));
        eventually("heard", || async {
            mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 403")
        })
        .await;
        mesh.policies.set(app, detect(&[CLIENT]));
        eventually("heard again", || async {
            mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200")
        })
        .await;
    }
}

#[tokio::test]
async fn a_policy_may_be_large_and_one_that_is_too_large_changes_nothing() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    let padded = |bytes: usize, identities: &[&str]| {
        let mut server = detect(identities);
        let label = ("padding".to_owned(), "x".repeat(bytes));
        server.labels = [label].into();
        server
    };
    mesh.policies.set(app, padded(16 << 20, &[CLIENT]));
    eventually("16 MB are heard", || async {
        mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 200")
    })
    .await;
    let asked = mesh.policies.asked(app);
    mesh.policies
        .set(app, padded(crate::control::MAX_MESSAGE, &["somebody.else"]));
    // Refused, and asked for again.
    eventually("asked again", || async { mesh.policies.asked(app) > asked }).await;
    let answer = mesh.get(app, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    mesh.policies.set(app, detect(&["somebody.else"]));
    eventually("heard again", || async {
        mesh.get(app, REQUEST).await.starts_with("HTTP/1.1 403")
    })
    .await;
}
