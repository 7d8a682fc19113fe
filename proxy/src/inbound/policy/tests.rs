use super::*;
use crate::config::{Config, Lookup};
use api::{authn, authn::permit_mesh_tls as mesh, proxy_protocol::Kind};
use linkerd2_proxy_api::{http_route as route_api, inbound as api};

const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

fn id(name: &str) -> mesh_tls::Id {
    name.parse().unwrap()
}

fn client<'a>(ip: &str, mesh_tls: Option<Option<&'a mesh_tls::Id>>) -> Client<'a> {
    Client {
        ip: ip.parse().unwrap(),
        mesh_tls,
    }
}

fn net(text: &str) -> linkerd2_proxy_api::net::IpNetwork {
    text.parse::<IpNet>().unwrap().into()
}

fn authz(within: &str, except: &[&str], permit: authn::Permit) -> api::Authz {
    api::Authz {
        networks: vec![api::Network {
            net: Some(net(within)),
            except: except.iter().map(|text| net(text)).collect(),
        }],
        authentication: Some(api::Authn {
            permit: Some(permit),
        }),
        ..Default::default()
    }
}

fn anyone() -> authn::Permit {
    authn::Permit::Unauthenticated(authn::PermitUnauthenticated {})
}

fn identities(names: &[&str], suffixes: &[&[&str]]) -> authn::Permit {
    authn::Permit::MeshTls(authn::PermitMeshTls {
        clients: Some(mesh::Clients::Identities(mesh::PermitClientIdentities {
            identities: names
                .iter()
                .map(|name| api::Identity {
                    name: name.to_string(),
                })
                .collect(),
            suffixes: suffixes
                .iter()
                .map(|parts| api::IdentitySuffix {
                    parts: parts.iter().map(|part| part.to_string()).collect(),
                })
                .collect(),
        })),
    })
}

fn server(kind: Kind, authorizations: Vec<api::Authz>) -> ServerPolicy {
    api::Server {
        protocol: Some(api::ProxyProtocol { kind: Some(kind) }),
        authorizations,
        ..Default::default()
    }
    .try_into()
    .unwrap()
}

fn opaque(authorizations: Vec<api::Authz>) -> ServerPolicy {
    server(Kind::Opaque(api::proxy_protocol::Opaque {}), authorizations)
}

#[test]
fn without_authorizations_only_localhost_may_come() {
    let policy = opaque(vec![]);
    assert!(policy.authorize_tcp(client("10.0.0.1", None)).is_none());
    assert!(policy.authorize_tcp(client("127.0.0.2", None)).is_none());
    assert!(policy.authorize_tcp(client("127.0.0.1", None)).is_some());
    assert!(policy.authorize_tcp(client("::1", None)).is_some());
}

#[test]
fn networks_have_holes() {
    let policy = opaque(vec![authz("10.0.0.0/8", &["10.1.0.0/16"], anyone())]);
    assert!(policy.authorize_tcp(client("10.2.0.1", None)).is_some());
    assert!(policy.authorize_tcp(client("10.1.0.1", None)).is_none());
    assert!(policy.authorize_tcp(client("192.168.0.1", None)).is_none());
}

#[test]
fn identities_are_literal_or_end_in_a_suffix() {
    let (web, other) = (
        id(WEB),
        id("web.other.serviceaccount.identity.linkerd.cluster.local"),
    );
    let uri = id("spiffe://example.org/web");
    let allowed = |permit, id| {
        let policy = opaque(vec![authz("0.0.0.0/0", &[], permit)]);
        policy
            .authorize_tcp(client("10.0.0.1", Some(Some(id))))
            .is_some()
    };
    assert!(allowed(identities(&[WEB], &[]), &web));
    assert!(!allowed(identities(&[WEB], &[]), &other));
    let suffix: &[&str] = &[
        "default",
        "serviceaccount",
        "identity",
        "linkerd",
        "cluster",
        "local",
    ];
    assert!(allowed(identities(&[], &[suffix]), &web));
    assert!(!allowed(identities(&[], &[suffix]), &other));
    assert!(!allowed(identities(&[], &[suffix]), &uri));
    for anybody in [&web, &other, &uri] {
        assert!(allowed(identities(&[], &[&[]]), anybody));
    }
    // A suffix starts at a label, and a name is not below itself.
    assert!(!allowed(
        identities(&[], &[&["fault", "serviceaccount"]]),
        &web
    ));
    assert!(!allowed(identities(&[], &[&[WEB]]), &web));
}

#[test]
fn any_mesh_client_is_not_any_client() {
    let clients = Some(mesh::Clients::Unauthenticated(
        authn::PermitUnauthenticated {},
    ));
    let permit = authn::Permit::MeshTls(authn::PermitMeshTls { clients });
    let policy = opaque(vec![authz("0.0.0.0/0", &[], permit)]);
    assert!(policy.authorize_tcp(client("10.0.0.1", None)).is_none());
    assert!(
        policy
            .authorize_tcp(client("10.0.0.1", Some(None)))
            .is_some()
    );
}

#[test]
fn a_port_that_speaks_http_cannot_be_reached_around_its_routes() {
    let http = api::proxy_protocol::Http1::default();
    let policy = server(Kind::Http1(http), vec![authz("0.0.0.0/0", &[], anyone())]);
    assert!(policy.authorize_tcp(client("10.0.0.1", None)).is_none());
    let request = http::Request::new(());
    let found = policy.find(&request).unwrap();
    assert!(
        policy
            .authorize_http(&found.rule.then, client("10.0.0.1", None))
            .is_some()
    );
}

#[test]
fn routes_authorize_what_their_server_does_not() {
    let route = |path: &str, authorizations| api::HttpRoute {
        authorizations,
        rules: vec![api::http_route::Rule {
            matches: vec![route_api::HttpRouteMatch {
                path: Some(route_api::PathMatch {
                    kind: Some(route_api::path_match::Kind::Exact(path.into())),
                }),
                ..Default::default()
            }],
            filters: vec![],
        }],
        ..Default::default()
    };
    let http = api::proxy_protocol::Http1 {
        routes: vec![
            route("/open", vec![authz("0.0.0.0/0", &[], anyone())]),
            route("/closed", vec![]),
        ],
        local_rate_limit: None,
    };
    let policy = server(Kind::Http1(http), vec![]);
    let allowed = |path: &str| {
        let request = http::Request::get(path).body(()).unwrap();
        policy.find(&request).map(|found| {
            policy
                .authorize_http(&found.rule.then, client("10.0.0.1", None))
                .is_some()
        })
    };
    assert_eq!(allowed("/open"), Some(true));
    assert_eq!(allowed("/closed"), Some(false));
    assert_eq!(allowed("/elsewhere"), None);
}

#[test]
fn what_cannot_be_followed_is_an_error_not_a_guess() {
    let detect = |timeout| {
        Kind::Detect(api::proxy_protocol::Detect {
            timeout,
            ..Default::default()
        })
    };
    let timeout = Some(prost_types::Duration {
        seconds: 10,
        nanos: 0,
    });
    let mut no_network = authz("0.0.0.0/0", &[], anyone());
    no_network.networks.clear();
    let mut no_authn = authz("0.0.0.0/0", &[], anyone());
    no_authn.authentication = None;
    for (kind, authorizations) in [
        (None, vec![]),
        (Some(detect(None)), vec![]),
        (Some(detect(timeout)), vec![no_network]),
        (Some(detect(timeout)), vec![no_authn]),
    ] {
        let proto = api::Server {
            protocol: Some(api::ProxyProtocol { kind }),
            authorizations,
            ..Default::default()
        };
        assert!(ServerPolicy::try_from(proto).is_err());
    }
}

fn config(default_policy: &str) -> Config {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    let anchors = mesh_tls::ca::Anchor::generate("test", Duration::from_secs(3600))
        .unwrap()
        .cert_pem();
    let path = token.path().display().to_string();
    let lookup: Lookup<'_> = &|key| {
        let value = match key.trim_start_matches("LINKERD2_PROXY_") {
            "IDENTITY_TRUST_ANCHORS" => anchors.as_str(),
            "IDENTITY_TOKEN_FILE" => &path,
            "IDENTITY_LOCAL_NAME" => WEB,
            "IDENTITY_SVC_ADDR" | "DESTINATION_SVC_ADDR" | "POLICY_SVC_ADDR" => "127.0.0.1:1",
            "POLICY_WORKLOAD" => "default:web",
            "POLICY_CLUSTER_NETWORKS" => "10.0.0.0/8",
            "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION" => "3306",
            "INBOUND_DEFAULT_POLICY" => default_policy,
            _ => return None,
        };
        Some(value.to_owned())
    };
    Config::parse(lookup, None).unwrap()
}

#[test]
fn defaults_say_who_may_come_until_the_control_plane_does() {
    let web = id(WEB);
    let in_cluster = client("10.0.0.1", None);
    let outside = client("192.168.0.1", None);
    let mesh = client("10.0.0.1", Some(Some(&web)));
    let mesh_outside = client("192.168.0.1", Some(Some(&web)));
    for (name, expected) in [
        ("deny", [false, false, false, false]),
        ("audit", [true, true, true, true]),
        ("all-unauthenticated", [true, true, true, true]),
        ("all-authenticated", [false, false, true, true]),
        ("cluster-unauthenticated", [true, false, true, false]),
        ("cluster-authenticated", [false, false, true, false]),
    ] {
        let policy = ServerPolicy::default_for(80, &config(name).inbound);
        let allowed = [in_cluster, outside, mesh, mesh_outside]
            .map(|client| policy.authorize_tcp(client).is_some());
        assert_eq!(allowed, expected, "{name}");
        assert_eq!(&*policy.meta.name, name);
    }
    let policy = ServerPolicy::default_for(3306, &config("deny").inbound);
    assert!(matches!(policy.protocol, Protocol::Opaque));
}
