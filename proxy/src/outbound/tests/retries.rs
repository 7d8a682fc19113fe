//! Retries that a route asks for, and the time all of them have together.

use linkerd2_proxy_api::{
    http_route::Timeouts,
    outbound::http_route::{Retry, retry::Conditions},
};

use super::{
    resilience::routes,
    sandbox::{Mesh, Peer, first_available, plain},
};
use crate::http::rescue;

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";

fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: 0,
        nanos: millis * 1_000_000,
    })
}

#[tokio::test]
async fn however_often_it_is_asked_for_a_request_has_the_time_its_route_says() {
    let mesh = Mesh::start().await;
    let silent = Peer::start(None, "silent").await;
    silent.hold(true);
    let mut policy = first_available(&[PATH]);
    for routes in routes(&mut policy) {
        let rule = &mut routes[0].rules[0];
        rule.retry = Some(Retry {
            max_retries: 1000,
            max_request_bytes: 1024,
            conditions: Some(Conditions::default()),
            timeout: millis(50),
            backoff: None,
        });
        rule.timeouts = Some(Timeouts {
            request: millis(500),
            ..Default::default()
        });
    }
    mesh.control.policy(TO, policy);
    mesh.control.endpoints(PATH, &[plain(silent.addr)]);
    let error = mesh.get(TO).await.unwrap_err();
    assert_eq!(error.to_string(), "request timed out after 500ms");
    assert_eq!(rescue::status(&error), 504);
    assert!(silent.seen().len() > 1, "{}", silent.seen().len());
}
