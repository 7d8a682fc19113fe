use linkerd2_proxy_api::destination::{
    AuthorityOverride, ProtocolHint, TlsIdentity,
    protocol_hint::{H2, Opaque, OpaqueTransport},
    tls_identity::{DnsLikeIdentity, UriLikeIdentity},
};

use super::{
    plan::{Purpose, plan},
    *,
};
use crate::transport_header::{Header, Session};

const ID: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 8080))
}

fn wire() -> WeightedAddr {
    WeightedAddr {
        addr: Some(addr().into()),
        ..Default::default()
    }
}

fn meshed() -> WeightedAddr {
    WeightedAddr {
        tls_identity: Some(TlsIdentity {
            server_name: None,
            strategy: Some(Strategy::DnsLikeIdentity(DnsLikeIdentity {
                name: ID.to_owned(),
            })),
        }),
        ..wire()
    }
}

fn hinted(protocol: Option<Protocol>, inbound_port: u32) -> WeightedAddr {
    WeightedAddr {
        protocol_hint: Some(ProtocolHint {
            opaque_transport: Some(OpaqueTransport { inbound_port }),
            protocol,
        }),
        ..meshed()
    }
}

fn overridden(authority: &str) -> WeightedAddr {
    WeightedAddr {
        authority_override: Some(AuthorityOverride {
            authority_override: authority.to_owned(),
        }),
        ..meshed()
    }
}

fn planned(wire: WeightedAddr, local: bool, purpose: Purpose) -> plan::Plan {
    let (addr, metadata) = convert(&HashMap::new(), wire).unwrap();
    plan(addr, &metadata, local, purpose)
}

const H1: Purpose = Purpose::Http(Session::Http1);

#[test]
fn unmeshed_and_local_endpoints_are_reached_in_the_clear() {
    for (wire, local) in [(wire(), false), (hinted(None, 4143), true)] {
        let plan = planned(wire, local, H1);
        assert_eq!((plan.dial, plan.tls, plan.header), (addr(), None, None));
    }
}

#[test]
fn a_meshed_endpoint_without_a_port_for_headers_gets_none() {
    let plan = planned(meshed(), false, H1);
    assert_eq!(plan.dial, addr());
    assert!(!plan.tls.unwrap().transport_header);
    assert_eq!(plan.header, None);
}

#[test]
fn the_header_names_the_applications_port_and_the_session() {
    for (protocol, purpose, session) in [
        (None, H1, Some(Session::Http1)),
        (
            Some(Protocol::H2(H2 {})),
            Purpose::Http(Session::Http2),
            Some(Session::Http2),
        ),
        (Some(Protocol::H2(H2 {})), Purpose::Opaque, None),
        (Some(Protocol::Opaque(Opaque {})), H1, None),
    ] {
        let plan = planned(hinted(protocol, 4143), false, purpose);
        assert_eq!(plan.dial.port(), 4143);
        assert!(plan.tls.unwrap().transport_header);
        let header = Header {
            port: 8080,
            name: None,
            session,
        };
        assert_eq!(plan.header, Some(header));
    }
    // No port that could be dialled: the endpoint's own.
    for port in [0, 65_536] {
        assert_eq!(planned(hinted(None, port), false, H1).dial, addr());
    }
}

#[test]
fn a_gateway_is_dialled_at_its_address_and_asked_for_the_name() {
    let plan = planned(overridden("web.default.svc.cluster.local:80"), false, H1);
    assert_eq!(plan.dial, addr());
    let header = Header {
        port: 80,
        name: Some("web.default.svc.cluster.local".to_owned()),
        session: Some(Session::Http1),
    };
    assert_eq!(plan.header, Some(header));
    // Without a port there is no name to ask for.
    let plan = planned(overridden("web.default.svc.cluster.local"), false, H1);
    let header = plan.header.unwrap();
    assert_eq!((header.name, header.port), (None, 8080));
}

#[test]
fn an_endpoint_that_cannot_be_understood_is_never_reached_in_the_clear() {
    let mut no_name = meshed();
    no_name.tls_identity = Some(TlsIdentity {
        server_name: None,
        strategy: Some(Strategy::UriLikeIdentity(UriLikeIdentity {
            uri: "spiffe://root/web".to_owned(),
        })),
    });
    let mut garbage = meshed();
    garbage.tls_identity = Some(TlsIdentity {
        server_name: None,
        strategy: Some(Strategy::DnsLikeIdentity(DnsLikeIdentity {
            name: "not a name!".to_owned(),
        })),
    });
    let mut port_zero = wire();
    port_zero.addr = Some(SocketAddr::from(([10, 0, 0, 1], 0)).into());
    for wire in [
        WeightedAddr::default(),
        no_name,
        garbage,
        port_zero,
        overridden("user@host:80"),
        overridden("bad authority"),
        overridden("web:0"),
    ] {
        assert!(convert(&HashMap::new(), wire.clone()).is_err(), "{wire:?}");
    }
}

#[test]
fn labels_of_the_set_and_of_the_endpoint_are_merged_and_sorted() {
    let mut wire = wire();
    let labels = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    };
    wire.metric_labels = labels(&[("pod", "web-1"), ("zone", "b")]);
    let (_, metadata) = convert(&labels(&[("zone", "a"), ("namespace", "default")]), wire).unwrap();
    let merged: Vec<_> = metadata
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(merged, ["namespace=default", "pod=web-1", "zone=b"]);
}
