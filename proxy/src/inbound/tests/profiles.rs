//! ServiceProfiles as inbound counts by them.

use http::Request;
use linkerd2_proxy_api::destination::{
    DestinationProfile, PathMatch, RequestMatch, Route, request_match,
};

use super::sandbox::{Options, Sandbox, app, eventually};
use crate::inbound::profiles::Last;

const NAME: &str = "web.default.svc.cluster.local";

/// With one route, of paths that `regex` matches.
fn profile(regex: &str) -> DestinationProfile {
    DestinationProfile {
        routes: vec![Route {
            condition: Some(RequestMatch {
                r#match: Some(request_match::Match::Path(PathMatch {
                    regex: regex.to_owned(),
                })),
            }),
            metrics_labels: [("route".to_owned(), "GET /a".to_owned())].into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

#[tokio::test]
async fn requests_are_counted_by_the_routes_of_the_profile_of_the_name_they_are_for() {
    let (mesh, app) = (Sandbox::start().await, app().await);
    mesh.destination
        .profile(&format!("{NAME}:80"), profile("/a"));
    let labels = format!("{{direction=\"inbound\",dst=\"{NAME}:80\",rt_route=\"GET /a\"");
    let total = format!("route_request_total{labels}");
    eventually("the profile is known", || async {
        mesh.get(app, &get("/a", NAME)).await;
        mesh.metric(&[&total]).await > 0
    })
    .await;
    let before = mesh.metric(&[&total]).await;
    mesh.get(app, &get("/a", "WEB.default.svc.cluster.local.:80"))
        .await;
    assert_eq!(mesh.metric(&[&total]).await, before + 1);
    let answered =
        format!("route_response_total{labels},status_code=\"200\",classification=\"success\"}}");
    assert_eq!(mesh.metric(&[&answered]).await, before + 1);
    let rest = format!("route_request_total{{direction=\"inbound\",dst=\"{NAME}:80\"}}");
    assert_eq!(mesh.metric(&[&rest]).await, 0);
    mesh.get(app, &get("/b", NAME)).await;
    assert_eq!(mesh.metric(&[&rest]).await, 1);
    // Of other names, nothing is known.
    for host in ["web", "web.default.svc.cluster.local:81", "10.0.0.1"] {
        mesh.get(app, &get("/a", host)).await;
    }
    let all = ["route_request_total{direction=\"inbound\""];
    assert_eq!(mesh.metric(&all).await, before + 2);
}

#[tokio::test]
async fn one_connection_may_have_requests_for_several_names() {
    let mesh = Sandbox::start().await;
    let names = ["one", "two"].map(|name| format!("{name}.{NAME}"));
    for name in &names {
        mesh.destination
            .profile(&format!("{name}:80"), profile("/a"));
    }
    let (inbound, _drain) = mesh.half("all-unauthenticated");
    let last = Last::default();
    let series = |name: &str| {
        let request = Request::get("/a").header("host", name).body(()).unwrap();
        inbound.0.profiles.series(&last, &request)
    };
    for name in &names {
        eventually("the profile is known", || async { series(name).is_some() }).await;
    }
    for name in names.iter().chain(&names) {
        drop(series(name).unwrap().request(false));
    }
    let text = inbound.0.runtime.metrics.render();
    for name in &names {
        let dst = format!("dst=\"{name}:80\",rt_route=\"GET /a\"}} 2\n");
        assert!(text.contains(&dst), "{text}");
    }
}

#[tokio::test]
async fn names_that_clients_make_up_are_not_all_watched_and_none_for_ever() {
    let idle = ("INBOUND_DISCOVERY_IDLE_TIMEOUT", "200ms".to_owned());
    let mesh = Sandbox::with(Options {
        vars: vec![idle],
        ..Options::default()
    })
    .await;
    let (inbound, _drain) = mesh.half("all-unauthenticated");
    let profiles = &inbound.0.profiles;
    let last = Last::default();
    let ask = |host: String| {
        let request = Request::get("/").header("host", host).body(()).unwrap();
        assert!(profiles.series(&last, &request).is_none());
    };
    ask("elsewhere.example".to_owned());
    assert_eq!(profiles.count(), 0);
    (0..300).for_each(|n| ask(format!("{n}.{NAME}")));
    assert_eq!(profiles.count(), 100);
    eventually("nothing is watched", || async { profiles.count() == 0 }).await;
}
