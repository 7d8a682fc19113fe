use http::Request;
use linkerd2_proxy_api::{grpc_route as grpc_api, http_route as api};

use super::{matches::decoded, *};
use api::{header_match, host_match, path_match, query_param_match};

fn named(names: &[&str]) -> Vec<HostMatch> {
    let protos = names
        .iter()
        .map(|name| {
            let kind = match name.strip_prefix("*.") {
                None => host_match::Match::Exact(name.to_string()),
                Some(suffix) => host_match::Match::Suffix(host_match::Suffix {
                    reverse_labels: suffix.rsplit('.').map(str::to_owned).collect(),
                }),
            };
            api::HostMatch {
                r#match: Some(kind),
            }
        })
        .collect();
    hosts(protos).unwrap()
}

fn path(kind: path_match::Kind) -> api::HttpRouteMatch {
    api::HttpRouteMatch {
        path: Some(api::PathMatch { kind: Some(kind) }),
        ..Default::default()
    }
}

fn exact(p: &str) -> api::HttpRouteMatch {
    path(path_match::Kind::Exact(p.into()))
}

fn prefix(p: &str) -> api::HttpRouteMatch {
    path(path_match::Kind::Prefix(p.into()))
}

fn with_header(mut m: api::HttpRouteMatch, name: &str, value: &str) -> api::HttpRouteMatch {
    m.headers.push(api::HeaderMatch {
        name: name.into(),
        value: Some(header_match::Value::Regex(value.into())),
    });
    m
}

fn route(
    names: &[&str],
    rules: Vec<(Vec<api::HttpRouteMatch>, &'static str)>,
) -> Route<&'static str> {
    Route {
        hosts: named(names),
        rules: rules
            .into_iter()
            .map(|(matches, then)| Rule {
                matches: matches
                    .into_iter()
                    .map(|m| RequestMatch::http(m).unwrap())
                    .collect(),
                filters: Arc::default(),
                then,
            })
            .collect(),
    }
}

fn get(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn found(routes: &[Route<&'static str>], request: &Request<()>) -> Option<&'static str> {
    find(routes, request).map(|found| found.rule.then)
}

#[test]
fn the_most_specific_host_wins_over_any_path() {
    let routes = [
        route(&[], vec![(vec![exact("/a")], "any")]),
        route(&["*.example.com"], vec![(vec![exact("/a")], "suffix")]),
        route(&["web.example.com"], vec![(vec![], "exact")]),
    ];
    assert_eq!(
        found(&routes, &get("http://web.example.com/a", &[])),
        Some("exact")
    );
    assert_eq!(
        found(&routes, &get("/a", &[("host", "API.example.com:8080")])),
        Some("suffix")
    );
    assert_eq!(
        found(&routes, &get("http://example.com/a", &[])),
        Some("any")
    );
    assert_eq!(found(&routes, &get("/a", &[])), Some("any"));
    assert_eq!(found(&routes, &get("http://example.com/b", &[])), None);
}

#[test]
fn exact_paths_beat_prefixes_beat_nothing_and_more_headers_win() {
    let routes = [route(
        &[],
        vec![
            (vec![], "rest"),
            (vec![prefix("/a")], "prefix"),
            (vec![prefix("/a/b")], "longer"),
            (vec![exact("/a/b/c")], "exact"),
            (vec![with_header(prefix("/a"), "x", "[0-9]+")], "header"),
        ],
    )];
    for (uri, headers, expected) in [
        ("/x", &[][..], "rest"),
        ("/ab", &[], "rest"),
        ("/a", &[], "prefix"),
        ("/a/", &[], "prefix"),
        ("/a/b/d", &[], "longer"),
        ("/a/b/c", &[], "exact"),
        ("/a", &[("x", "12")], "header"),
        ("/a", &[("x", "12x")], "prefix"),
    ] {
        assert_eq!(found(&routes, &get(uri, headers)), Some(expected), "{uri}");
    }
}

#[test]
fn the_first_of_equals_wins() {
    let routes = [
        route(&[], vec![(vec![prefix("/")], "first")]),
        route(&[], vec![(vec![prefix("/")], "second")]),
    ];
    assert_eq!(found(&routes, &get("/", &[])), Some("first"));
}

#[test]
fn query_parameters_are_decoded() {
    let mut m = prefix("/");
    m.query_params.push(api::QueryParamMatch {
        name: "a b".into(),
        value: Some(query_param_match::Value::Exact("c&d".into())),
    });
    let routes = [route(&[], vec![(vec![m], "yes")])];
    assert_eq!(found(&routes, &get("/?x=1&a+b=c%26d", &[])), Some("yes"));
    assert_eq!(found(&routes, &get("/?a=b", &[])), None);
    // Broken escapes are themselves, and nothing panics on them.
    assert_eq!(decoded("%zz%4%é"), "%zz%4%é".as_bytes());
}

#[test]
fn grpc_calls_are_matched_by_service_then_method() {
    let rule = |service: &str, method: &str, then| Rule {
        matches: vec![
            RequestMatch::grpc(grpc_api::GrpcRouteMatch {
                rpc: Some(grpc_api::GrpcRpcMatch {
                    service: service.into(),
                    method: method.into(),
                }),
                headers: vec![],
            })
            .unwrap(),
        ],
        filters: Arc::default(),
        then,
    };
    let routes = [Route {
        hosts: Vec::new(),
        rules: vec![
            rule("", "LongMethodName", "method"),
            rule("pkg.S", "", "service"),
            rule("pkg.S", "M", "both"),
        ],
    }];
    let call = |path: &str| found(&routes, &Request::post(path).body(()).unwrap());
    assert_eq!(call("/pkg.S/M"), Some("both"));
    assert_eq!(call("/pkg.S/LongMethodName"), Some("service"));
    assert_eq!(call("/pkg.T/LongMethodName"), Some("method"));
    assert_eq!(call("/pkg.T/M"), None);
    // A gRPC call is a POST with two segments.
    assert_eq!(found(&routes, &get("/pkg.S/M", &[])), None);
    assert_eq!(call("/pkg.S"), None);
}

#[test]
fn the_prefix_that_matched_is_told_for_redirects() {
    let routes = [route(
        &[],
        vec![(vec![prefix("/a/")], "a"), (vec![exact("/b")], "b")],
    )];
    let prefix = |uri: &str| find(&routes, &get(uri, &[])).unwrap().prefix;
    assert_eq!(prefix("/a/x"), Some(2));
    assert_eq!(prefix("/b"), None);
}

#[test]
fn routes_that_cannot_be_followed_are_errors() {
    assert!(RequestMatch::http(path(path_match::Kind::Regex("(".into()))).is_err());
    assert!(RequestMatch::http(with_header(exact("/"), "a b", "x")).is_err());
    assert!(hosts(vec![api::HostMatch { r#match: None }]).is_err());
}
