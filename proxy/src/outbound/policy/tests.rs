use http::{Method, Request};
use linkerd2_proxy_api::{
    destination::WeightedAddr,
    http_route as wire, http_types, meta,
    outbound::{
        self as api,
        http_route::{Distribution as WireDistribution, distribution},
    },
};

use super::{convert, *};
use crate::{
    Error,
    http::{
        filter,
        route::{Found, find},
    },
};

fn metadata() -> Option<meta::Metadata> {
    Some(meta::Metadata {
        kind: Some(meta::metadata::Kind::Default("test".to_owned())),
    })
}

/// A backend that is told apart by its path.
fn backend(path: &str) -> api::Backend {
    api::Backend {
        metadata: metadata(),
        queue: None,
        kind: Some(api::backend::Kind::Balancer(api::backend::BalanceP2c {
            discovery: Some(api::backend::EndpointDiscovery {
                kind: Some(api::backend::endpoint_discovery::Kind::Dst(
                    api::backend::endpoint_discovery::DestinationGet {
                        path: path.to_owned(),
                    },
                )),
            }),
            load: None,
        })),
    }
}

fn first(path: &str) -> Option<WireDistribution> {
    Some(WireDistribution {
        kind: Some(distribution::Kind::FirstAvailable(
            distribution::FirstAvailable {
                backends: vec![api::http_route::RouteBackend {
                    backend: Some(backend(path)),
                    ..Default::default()
                }],
            },
        )),
    })
}

fn rule(path: &str, matches: Vec<wire::HttpRouteMatch>) -> api::http_route::Rule {
    api::http_route::Rule {
        matches,
        backends: first(path),
        ..Default::default()
    }
}

fn http1(routes: Vec<api::HttpRoute>) -> api::OutboundPolicy {
    api::OutboundPolicy {
        metadata: metadata(),
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Http1(
                api::proxy_protocol::Http1 {
                    routes,
                    failure_accrual: None,
                },
            )),
        }),
    }
}

fn routes(rules: Vec<api::http_route::Rule>) -> Policy {
    let policy = convert::policy(http1(vec![api::HttpRoute {
        metadata: metadata(),
        hosts: Vec::new(),
        rules,
    }]));
    assert!(!is_invalid(&policy), "{policy:?}");
    policy
}

fn is_invalid(policy: &Policy) -> bool {
    matches!(policy.protocol, Protocol::Invalid(_))
}

fn path_match(kind: wire::path_match::Kind) -> wire::HttpRouteMatch {
    wire::HttpRouteMatch {
        path: Some(wire::PathMatch { kind: Some(kind) }),
        ..Default::default()
    }
}

fn chosen<T>(policy: &Policy, request: &Request<T>) -> Option<String> {
    let http = policy.http(request.version()).unwrap();
    let found: Found<'_, Action> = find(&http.routes, request)?;
    let Distribution::FirstAvailable(backends) = &found.rule.then.distribution else {
        panic!("{found:?}")
    };
    match &backends[0].backend {
        BackendSpec::Balancer(spec) => Some(spec.path.to_string()),
        other => panic!("{other:?}"),
    }
}

fn get(uri: &str) -> Request<()> {
    Request::builder()
        .uri(uri)
        .header("host", "Web.default:80")
        .body(())
        .unwrap()
}

#[test]
fn the_most_specific_path_wins_whatever_the_order() {
    use wire::path_match::Kind;
    let policy = routes(vec![
        rule("all:1", Vec::new()),
        rule("prefix:1", vec![path_match(Kind::Prefix("/a/".into()))]),
        rule("regex:1", vec![path_match(Kind::Regex("/a/[0-9]+".into()))]),
        rule("exact:1", vec![path_match(Kind::Exact("/a/1".into()))]),
    ]);
    for (uri, expected) in [
        ("/", "all:1"),
        ("/ab", "all:1"),
        ("/a", "prefix:1"),
        ("/a/b", "prefix:1"),
        ("/a/22", "regex:1"),
        ("/a/22/x", "prefix:1"),
        ("/a/1?q", "exact:1"),
    ] {
        assert_eq!(
            chosen(&policy, &get(uri)).as_deref(),
            Some(expected),
            "{uri}"
        );
    }
}

#[test]
fn headers_parameters_and_methods_all_have_to_match() {
    let header = wire::HeaderMatch {
        name: "X-Canary".to_owned(),
        value: Some(wire::header_match::Value::Exact(b"yes".to_vec())),
    };
    let query = wire::QueryParamMatch {
        name: "ver sion".to_owned(),
        value: Some(wire::query_param_match::Value::Regex("v[0-9]".to_owned())),
    };
    let all = wire::HttpRouteMatch {
        headers: vec![header],
        query_params: vec![query],
        method: Some(Method::PUT.into()),
        path: None,
    };
    let policy = routes(vec![rule("canary:1", vec![all])]);
    let request = |method: &str, uri: &str, canary: &str| {
        Request::builder()
            .method(method)
            .uri(uri)
            .header("x-canary", canary)
            .body(())
            .unwrap()
    };
    let good = request("PUT", "/?a&ver+sion=v%32", "yes");
    assert_eq!(chosen(&policy, &good).as_deref(), Some("canary:1"));
    for bad in [
        request("GET", "/?ver+sion=v2", "yes"),
        request("PUT", "/?ver+sion=v22", "yes"),
        request("PUT", "/?ver%2", "yes"),
        request("PUT", "/?ver+sion=v2", "no"),
    ] {
        assert_eq!(chosen(&policy, &bad), None, "{bad:?}");
    }
}

#[test]
fn hosts_match_without_case_and_port_and_suffixes_by_label() {
    use wire::host_match::{Match, Suffix};
    let host = |m| wire::HostMatch { r#match: Some(m) };
    let route = |path: &str, hosts| api::HttpRoute {
        metadata: metadata(),
        hosts,
        rules: vec![rule(path, Vec::new())],
    };
    let policy = convert::policy(http1(vec![
        route("any:1", Vec::new()),
        route(
            "suffix:1",
            vec![host(Match::Suffix(Suffix {
                reverse_labels: vec!["default".into()],
            }))],
        ),
        route("exact:1", vec![host(Match::Exact("WEB.default".into()))]),
    ]));
    let with_host = |host: &str| Request::builder().header("host", host).body(()).unwrap();
    for (name, expected) in [
        ("web.default:8080", "exact:1"),
        ("api.DEFAULT", "suffix:1"),
        ("default", "any:1"),
        ("webdefault", "any:1"),
    ] {
        let found = chosen(&policy, &with_host(name));
        assert_eq!(found.as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn no_route_is_no_answer() {
    let policy = routes(vec![rule(
        "a:1",
        vec![path_match(wire::path_match::Kind::Exact("/a".into()))],
    )]);
    assert_eq!(chosen(&policy, &get("/b")), None);
    assert_eq!(chosen(&convert::policy(http1(Vec::new())), &get("/")), None);
}

/// A change that makes a rule unusable.
type Break = (&'static str, fn(&mut api::http_route::Rule));

#[test]
fn whatever_cannot_be_understood_invalidates_the_policy() {
    fn backends(rule: &mut api::http_route::Rule, kind: Option<distribution::Kind>) {
        rule.backends = Some(WireDistribution { kind });
    }
    fn one(rule: &mut api::http_route::Rule, backend: api::Backend) {
        let first = distribution::FirstAvailable {
            backends: vec![api::http_route::RouteBackend {
                backend: Some(backend),
                ..Default::default()
            }],
        };
        backends(rule, Some(distribution::Kind::FirstAvailable(first)));
    }
    fn fail(rule: &mut api::http_route::Rule, status: u32, denominator: u32) {
        use api::http_route::filter::Kind;
        rule.filters = vec![api::http_route::Filter {
            kind: Some(Kind::FailureInjector(wire::HttpFailureInjector {
                status,
                message: String::new(),
                ratio: Some(wire::Ratio {
                    numerator: 1,
                    denominator,
                }),
            })),
        }];
    }
    let breaks: &[Break] = &[
        ("no distribution", |r| r.backends = None),
        ("no kind of distribution", |r| backends(r, None)),
        ("no backends", |r| {
            backends(
                r,
                Some(distribution::Kind::FirstAvailable(Default::default())),
            );
        }),
        ("no random backends", |r| {
            backends(
                r,
                Some(distribution::Kind::RandomAvailable(Default::default())),
            );
        }),
        ("a path that is an address", |r| one(r, backend("10.0.0.1"))),
        ("a path without a port", |r| one(r, backend("web.default:"))),
        ("port zero", |r| one(r, backend("web.default:0"))),
        ("a forward to nowhere", |r| {
            one(
                r,
                api::Backend {
                    kind: Some(api::backend::Kind::Forward(WeightedAddr::default())),
                    ..Default::default()
                },
            );
        }),
        ("an unknown filter", |r| {
            r.filters = vec![Default::default()]
        }),
        ("a status that is none", |r| fail(r, 12, 1)),
        ("division by zero", |r| fail(r, 500, 0)),
        ("a bad regex", |r| {
            r.matches = vec![path_match(wire::path_match::Kind::Regex("(".into()))];
        }),
        ("a regex bomb", |r| {
            let bomb = "((a{1000}){1000}){1000}".to_owned();
            r.matches = vec![path_match(wire::path_match::Kind::Regex(bomb))];
        }),
        ("a bad header name", |r| {
            r.matches = vec![wire::HttpRouteMatch {
                headers: vec![wire::HeaderMatch {
                    name: "no spaces".into(),
                    value: Some(wire::header_match::Value::Exact(Vec::new())),
                }],
                ..Default::default()
            }];
        }),
        ("a match of nothing", |r| {
            r.matches = vec![wire::HttpRouteMatch {
                path: Some(wire::PathMatch { kind: None }),
                ..Default::default()
            }];
        }),
    ];
    for (what, change) in breaks {
        let mut rule = rule("web.default:80", Vec::new());
        change(&mut rule);
        let policy = convert::policy(http1(vec![api::HttpRoute {
            rules: vec![rule],
            ..Default::default()
        }]));
        assert!(is_invalid(&policy), "{what}: {policy:?}");
        assert!(matches!(policy.opaque(), Err(Error::InvalidPolicy(_))));
    }
    assert!(is_invalid(&convert::policy(Default::default())));
    let detect = api::OutboundPolicy {
        metadata: None,
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Detect(Default::default())),
        }),
    };
    assert!(is_invalid(&convert::policy(detect)));
}

#[test]
fn weights_of_zero_get_nothing_unless_all_are() {
    let random = |weights: &[u32]| {
        let backends = weights
            .iter()
            .map(|weight| api::http_route::WeightedRouteBackend {
                backend: Some(api::http_route::RouteBackend {
                    backend: Some(backend("web.default:80")),
                    ..Default::default()
                }),
                weight: *weight,
            });
        let mut rule = rule("unused:1", Vec::new());
        rule.backends = Some(WireDistribution {
            kind: Some(distribution::Kind::RandomAvailable(
                distribution::RandomAvailable {
                    backends: backends.collect(),
                },
            )),
        });
        let policy = routes(vec![rule]);
        match policy.opaque().unwrap() {
            Distribution::RandomAvailable(backends) => backends
                .iter()
                .map(|(_, weight)| *weight)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(random(&[3, 0, 1]), [3, 1]);
    assert_eq!(random(&[0, 0]), [1, 1]);
}

#[test]
fn forbidden_bytes_are_refused_and_other_bytes_are_not() {
    let opaque = |filters| {
        convert::policy(api::OutboundPolicy {
            metadata: metadata(),
            protocol: Some(api::ProxyProtocol {
                kind: Some(api::proxy_protocol::Kind::Opaque(
                    api::proxy_protocol::Opaque {
                        routes: vec![api::OpaqueRoute {
                            metadata: metadata(),
                            rules: vec![api::opaque_route::Rule {
                                backends: Some(api::opaque_route::Distribution {
                                    kind: Some(api::opaque_route::distribution::Kind::Empty(
                                        api::opaque_route::distribution::Empty {},
                                    )),
                                }),
                                filters,
                            }],
                        }],
                    },
                )),
            }),
        })
    };
    assert_eq!(*opaque(Vec::new()).opaque().unwrap(), Distribution::Empty);
    let forbidden = api::opaque_route::Filter {
        kind: Some(api::opaque_route::filter::Kind::Forbidden(
            Default::default(),
        )),
    };
    assert!(opaque(vec![forbidden]).opaque().is_err());
}

#[test]
fn filters_change_headers_in_both_directions() {
    let headers = |pairs: &[(&str, &str)]| http_types::Headers {
        headers: pairs
            .iter()
            .map(|(name, value)| http_types::headers::Header {
                name: (*name).to_owned(),
                value: value.as_bytes().to_vec(),
            })
            .collect(),
    };
    let mut changed = rule("web.default:80", Vec::new());
    changed.filters = vec![
        api::http_route::Filter {
            kind: Some(api::http_route::filter::Kind::RequestHeaderModifier(
                wire::RequestHeaderModifier {
                    add: Some(headers(&[("x-added", "1")])),
                    set: Some(headers(&[("host", "other")])),
                    remove: vec!["x-gone".into()],
                },
            )),
        },
        api::http_route::Filter {
            kind: Some(api::http_route::filter::Kind::ResponseHeaderModifier(
                wire::ResponseHeaderModifier {
                    set: Some(headers(&[("x-response", "1")])),
                    ..Default::default()
                },
            )),
        },
    ];
    let policy = routes(vec![changed]);
    let mut request = get("/");
    request.headers_mut().insert("x-gone", "1".parse().unwrap());
    let filters = {
        let http = policy.http(request.version()).unwrap();
        find(&http.routes, &request).unwrap().rule.filters.clone()
    };
    filter::on_request(&filters, &mut request, None).unwrap();
    assert_eq!(request.headers()["host"], "other");
    assert_eq!(request.headers()["x-added"], "1");
    assert!(!request.headers().contains_key("x-gone"));
    assert!(!request.headers().contains_key("x-response"));
    let mut response = http::HeaderMap::new();
    filter::on_response(&filters, &mut response);
    assert_eq!(response["x-response"], "1");
    assert_eq!(response.len(), 1);
}

#[test]
fn grpc_routes_match_services_and_methods() {
    let rule = |path: &str, service: &str, method: &str| api::grpc_route::Rule {
        matches: vec![linkerd2_proxy_api::grpc_route::GrpcRouteMatch {
            rpc: Some(linkerd2_proxy_api::grpc_route::GrpcRpcMatch {
                service: service.to_owned(),
                method: method.to_owned(),
            }),
            headers: Vec::new(),
        }],
        backends: Some(api::grpc_route::Distribution {
            kind: Some(api::grpc_route::distribution::Kind::FirstAvailable(
                api::grpc_route::distribution::FirstAvailable {
                    backends: vec![api::grpc_route::RouteBackend {
                        backend: Some(backend(path)),
                        ..Default::default()
                    }],
                },
            )),
        }),
        ..Default::default()
    };
    let policy = convert::policy(api::OutboundPolicy {
        metadata: metadata(),
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Grpc(api::proxy_protocol::Grpc {
                routes: vec![api::GrpcRoute {
                    metadata: metadata(),
                    hosts: Vec::new(),
                    rules: vec![
                        rule("service:1", "echo.Echo", ""),
                        rule("method:1", "", "Shout"),
                        rule("both:1", "echo.Echo", "Say"),
                    ],
                }],
                failure_accrual: None,
            })),
        }),
    });
    for (uri, expected) in [
        ("/echo.Echo/Whisper", Some("service:1")),
        ("/echo.Echo/Say", Some("both:1")),
        ("/other.Service/Shout", Some("method:1")),
        ("/other.Service/Say", None),
    ] {
        let call = Request::post(uri).body(()).unwrap();
        assert_eq!(chosen(&policy, &call).as_deref(), expected, "{uri}");
    }
}
