//! What holds in every form a request may have: HTTP/1.1 with a path or a whole address, and
//! HTTP/2.

use std::time::Duration;

use ::http::{Request, Version};
use linkerd2_proxy_api::{
    http_route::{HeaderMatch, HttpRouteMatch, PathMatch, header_match, path_match},
    outbound::{self as api, OutboundPolicy, http_route::Rule},
};
use mesh_contract::headers::{CLIENT_ID, REQUIRE_ID};

use super::{
    resilience::routes,
    sandbox::{Answer, CLIENT, Mesh, Peer, WEB, first_available, meshed, plain, request},
};
use crate::{Error, http::Body, http::rescue};

const TO: &str = "10.0.0.1:80";
const PATH: &str = "web.default.svc.cluster.local:80";
const PATIENCE: Duration = Duration::from_secs(20);

/// The same request for `path` in each form.
fn forms(path: &str) -> [Request<Body>; 3] {
    let whole = || format!("http://web.default{path}").parse().unwrap();
    let mut origin = request("GET", "");
    *origin.uri_mut() = path.parse().unwrap();
    let mut absolute = request("GET", "");
    *absolute.uri_mut() = whole();
    let mut http2 = request("GET", "");
    *http2.version_mut() = Version::HTTP_2;
    *http2.uri_mut() = whole();
    http2.headers_mut().remove("host");
    [origin, absolute, http2]
}

/// What becomes of a request, which must not take for ever.
async fn ask(mesh: &Mesh, to: &str, request: Request<Body>) -> Result<Answer, Error> {
    let asked = tokio::time::timeout(PATIENCE, mesh.send(to, request));
    asked.await.expect("it hangs")
}

#[tokio::test]
async fn the_default_route_serves_and_its_target_is_asked_about_once() {
    let mesh = Mesh::start().await;
    let app = Peer::start(None, "app").await;
    mesh.control.policy(TO, first_available(&[PATH]));
    mesh.control.endpoints(PATH, &[plain(app.addr)]);
    for request in forms("/path") {
        let version = request.version();
        let answer = ask(&mesh, TO, request).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "app"));
        assert_eq!(answer.version, version);
    }
    let asked = [format!("policy {TO}"), format!("endpoints {PATH}")];
    assert_eq!(mesh.control.asked(), asked);
}

#[tokio::test]
async fn a_policy_without_routes_answers_that_there_is_none() {
    let mesh = Mesh::start().await;
    let mut policy = first_available(&[PATH]);
    routes(&mut policy).into_iter().for_each(Vec::clear);
    mesh.control.policy(TO, policy);
    for request in forms("/path") {
        let error = ask(&mesh, TO, request).await.unwrap_err();
        assert!(matches!(error, Error::RouteNotFound), "{error}");
        assert_eq!(rescue::status(&error), 404);
    }
}

/// A policy that leaves it to the configuration how long a request may wait.
fn impatient() -> OutboundPolicy {
    use api::http_route::distribution::Kind;
    let mut policy = first_available(&[PATH]);
    for routes in routes(&mut policy) {
        let backends = routes[0].rules[0].backends.as_mut().unwrap();
        let Some(Kind::FirstAvailable(first)) = &mut backends.kind else {
            panic!("{backends:?}")
        };
        first.backends[0].backend.as_mut().unwrap().queue = None;
    }
    policy
}

/// Ways to say nothing of endpoints.
type Say = fn(&Mesh);

#[tokio::test]
async fn without_endpoints_it_is_a_504_and_never_sent_where_the_application_connected_to() {
    let none: Say = |mesh| mesh.control.endpoints(PATH, &[]);
    let unknown: Say = |mesh| mesh.control.deny(PATH);
    let silent: Say = |mesh| mesh.control.ignore(PATH);
    for (what, say) in [("none", none), ("unknown", unknown), ("silent", silent)] {
        let mesh = Mesh::with(&[("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")]).await;
        let original = Peer::start(None, "original").await;
        let to = original.addr.to_string();
        mesh.control.policy(&to, impatient());
        say(&mesh);
        for request in forms("/path") {
            let error = ask(&mesh, &to, request).await.unwrap_err();
            assert_eq!(rescue::status(&error), 504, "{what}: {error}");
        }
        assert!(original.seen().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_request_waits_until_its_only_endpoint_can_be_reached() {
    for form in 0..3 {
        let mesh = Mesh::start().await;
        let mut late = Peer::start(None, "late").await;
        late.kill().await;
        mesh.control.policy(TO, first_available(&[PATH]));
        mesh.control.endpoints(PATH, &[plain(late.addr)]);
        let [origin, absolute, http2] = forms("/path");
        let request = [origin, absolute, http2].into_iter().nth(form).unwrap();
        let starts = async {
            // Once it was tried in vain.
            let tried = || mesh.metrics().contains("outcome=\"connect\"");
            while !tried() {
                tokio::task::yield_now().await;
            }
            late.restart().await;
        };
        let (answer, ()) = tokio::join!(ask(&mesh, TO, request), starts);
        assert_eq!(answer.unwrap().body, "late", "form {form}");
    }
}

#[tokio::test]
async fn a_request_may_insist_on_who_answers_it_but_not_on_who_asks() {
    let mesh = Mesh::start().await;
    let peer = mesh.peer("web").await;
    mesh.control.policy(TO, first_available(&[PATH]));
    mesh.control.endpoints(PATH, &[meshed(peer.addr, WEB)]);
    for (required, answered) in [(WEB, true), (CLIENT, false)] {
        for mut request in forms("/path") {
            let headers = request.headers_mut();
            headers.insert(REQUIRE_ID, required.parse().unwrap());
            headers.insert(CLIENT_ID, "admin".parse().unwrap());
            match ask(&mesh, TO, request).await {
                Ok(answer) => assert!(answered, "{required}: {answer:?}"),
                Err(error) => {
                    assert_eq!(rescue::status(&error), 502, "{error}");
                    assert!(!answered, "{required}: {error}");
                }
            }
        }
    }
    assert_eq!(peer.seen().len(), 3);
    for seen in peer.seen() {
        for header in [REQUIRE_ID, CLIENT_ID] {
            assert!(!seen.headers.contains_key(header), "{seen:?}");
        }
    }
}

/// A rule for requests that match `one`, or for all, to the backend called `name`.
fn rule(name: &str, one: Option<HttpRouteMatch>) -> Rule {
    let mut policy = first_available(&[name]);
    let rule = routes(&mut policy)[0].remove(0).rules.remove(0);
    Rule {
        matches: one.into_iter().collect(),
        ..rule
    }
}

fn policy(rules: &[Rule]) -> OutboundPolicy {
    let mut policy = first_available(&[PATH]);
    for routes in routes(&mut policy) {
        routes[0].rules = rules.to_vec();
    }
    policy
}

/// A mesh with a policy of these rules, and a backend for each of `names`.
async fn chosen_among(names: [&'static str; 4], rules: &[Rule]) -> (Mesh, Vec<Peer>) {
    let mesh = Mesh::start().await;
    let mut peers = Vec::new();
    for name in names {
        let peer = Peer::start(None, name).await;
        mesh.control.endpoints(&backend(name), &[plain(peer.addr)]);
        peers.push(peer);
    }
    mesh.control.policy(TO, policy(rules));
    (mesh, peers)
}

fn backend(name: &str) -> String {
    format!("{name}.default.svc.cluster.local:80")
}

#[tokio::test]
async fn a_path_picks_the_backend_and_the_most_specific_wins() {
    use path_match::Kind;
    let on = |name: &str, kind| {
        let path = Some(PathMatch { kind: Some(kind) });
        let one = HttpRouteMatch {
            path,
            ..Default::default()
        };
        rule(&backend(name), Some(one))
    };
    let rules = [
        rule(&backend("all"), None),
        on("regex", Kind::Regex("/a/[0-9]+".into())),
        on("prefix", Kind::Prefix("/a".into())),
        on("exact", Kind::Exact("/a/1".into())),
    ];
    let names = ["all", "regex", "prefix", "exact"];
    let (mesh, _peers) = chosen_among(names, &rules).await;
    for (path, expected) in [
        ("/", "all"),
        ("/a/b", "prefix"),
        ("/a/2", "regex"),
        ("/a/1", "exact"),
    ] {
        for request in forms(path) {
            assert_eq!(ask(&mesh, TO, request).await.unwrap().body, expected);
        }
    }
}

#[tokio::test]
async fn headers_pick_the_backend_and_more_of_them_win() {
    use header_match::Value;
    let header = |name: &str, value| HeaderMatch {
        name: name.to_owned(),
        value: Some(value),
    };
    let on = |name: &str, headers: &[HeaderMatch]| {
        let one = HttpRouteMatch {
            headers: headers.to_vec(),
            ..Default::default()
        };
        rule(&backend(name), Some(one))
    };
    let exact = header("x-version", Value::Exact(b"one".to_vec()));
    let regex = header("x-version", Value::Regex("(two|three)".into()));
    let other = header("x-user", Value::Exact(b"tester".to_vec()));
    let rules = [
        rule(&backend("all"), None),
        on("exact", std::slice::from_ref(&exact)),
        on("regex", &[regex]),
        on("both", &[exact, other]),
    ];
    let names = ["all", "exact", "regex", "both"];
    let (mesh, _peers) = chosen_among(names, &rules).await;
    for (headers, expected) in [
        (&[][..], "all"),
        (&[("x-version", "one")], "exact"),
        (&[("x-version", "three")], "regex"),
        (&[("x-version", "threefold")], "all"),
        (&[("x-version", "one"), ("x-user", "tester")], "both"),
        (&[("x-user", "tester")], "all"),
    ] {
        for mut request in forms("/") {
            for (name, value) in headers {
                let value = value.parse().unwrap();
                request.headers_mut().insert(*name, value);
            }
            let answer = ask(&mesh, TO, request).await.unwrap();
            assert_eq!(answer.body, expected, "{headers:?}");
        }
    }
}
