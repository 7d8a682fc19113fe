//! Whole, partial, fragmented and hostile ClientHellos.

use super::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use std::sync::Arc;

/// What rustls itself sends, post-quantum key share included.
fn real(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(crate::verify::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn named(name: &str) -> Sniff {
    Sniff::ClientHello {
        sni: Some(name.to_owned()),
    }
}

/// A ClientHello as RFC 8446 lays it out, with these extension bytes.
fn made(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0]); // session
    body.extend([0, 2, 0x13, 0x01]); // suites
    body.extend([1, 0]); // compressions
    if let Some(extensions) = extensions {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    handshake(&body)
}

fn handshake(body: &[u8]) -> Vec<u8> {
    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    records(&message, usize::MAX)
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in message.chunks(size.min(MAX_RECORD)) {
        bytes.extend([HANDSHAKE, 3, 1]);
        bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

fn sni_extension(name: &[u8]) -> Vec<u8> {
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut bytes = vec![0, 0];
    bytes.extend(length(name.len() + 5));
    bytes.extend(length(name.len() + 3));
    bytes.push(HOST_NAME);
    bytes.extend(length(name.len()));
    bytes.extend(name);
    bytes
}

#[test]
fn a_real_client_hello_tells_its_server_name() {
    let bytes = real("web.default.serviceaccount.identity.linkerd.cluster.local");
    let expected = named("web.default.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(sniff(&bytes), expected);
    let mut more = bytes.clone();
    more.extend(b"what comes after is not looked at");
    assert_eq!(sniff(&more), expected);
}

#[test]
fn every_prefix_of_a_client_hello_asks_for_more() {
    let bytes = real("web.example");
    for end in 0..bytes.len() {
        assert_eq!(sniff(&bytes[..end]), Sniff::Incomplete, "{end}");
    }
}

#[test]
fn a_client_hello_may_come_in_many_records() {
    let whole = real("web.example");
    let message = &whole[5..];
    for size in [1, 3, 4, 5, 100, message.len() - 1] {
        let bytes = records(message, size);
        if bytes.len() <= MAX {
            assert_eq!(sniff(&bytes), named("web.example"), "{size}");
        } else {
            assert_eq!(sniff(&bytes), Sniff::NotTls, "{size}");
        }
    }
}

#[test]
fn a_name_is_optional_and_lowered() {
    assert_eq!(sniff(&made(None)), Sniff::ClientHello { sni: None });
    assert_eq!(sniff(&made(Some(&[]))), Sniff::ClientHello { sni: None });
    assert_eq!(
        sniff(&made(Some(&sni_extension(b"Web.Example")))),
        named("web.example")
    );
}

#[test]
fn other_protocols_are_known_by_their_first_bytes() {
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"SSH-2.0-OpenSSH",
        b"\x00",
        b"\x16\x02",
        b"\x16\x03\x09",
        b"\x15\x03\x03\x00\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05\x02",
    ] {
        assert_eq!(sniff(bytes), Sniff::NotTls, "{bytes:?}");
    }
    assert_eq!(sniff(b""), Sniff::Incomplete);
}

#[test]
fn malformed_hellos_are_not_tls() {
    let twice = [sni_extension(b"a.b"), sni_extension(b"a.b")].concat();
    let mut short_list = sni_extension(b"web.example");
    short_list[5] -= 1;
    let mut other_kind = sni_extension(b"web.example");
    other_kind[6] = 1;
    for (what, extensions) in [
        ("the name twice", twice),
        ("a list shorter than its extension", short_list),
        ("another kind of name", other_kind),
        ("an empty name", sni_extension(b"")),
        ("bytes that are no text", sni_extension(b"\xff\xfe")),
        ("an address", sni_extension(b"10.0.0.1")),
        ("spaces", sni_extension(b"a b")),
        ("a NUL", sni_extension(b"a\0b")),
        (
            "an extension longer than the rest",
            vec![0, 0, 0xff, 0xff, 1],
        ),
        ("half an extension", vec![0]),
    ] {
        assert_eq!(sniff(&made(Some(&extensions))), Sniff::NotTls, "{what}");
    }
    for (what, body) in [
        ("an empty body", vec![]),
        ("no random", vec![3, 3]),
        ("another major version", [&[2, 3][..], &[0; 40]].concat()),
        (
            "a session longer than 32",
            [&[3, 3][..], &[0; 32], &[33], &[0; 33], &[0, 2, 1, 1, 1, 0]].concat(),
        ),
        (
            "odd suites",
            [&[3, 3][..], &[0; 32], &[0], &[0, 3, 1, 1, 1], &[1, 0]].concat(),
        ),
        (
            "no compression",
            [&[3, 3][..], &[0; 32], &[0], &[0, 2, 1, 1], &[0]].concat(),
        ),
    ] {
        assert_eq!(sniff(&handshake(&body)), Sniff::NotTls, "{what}");
    }
    let mut trailing = made(None);
    trailing.push(9);
    trailing[4] += 1;
    assert_eq!(
        sniff(&trailing),
        Sniff::NotTls,
        "a second message in the record"
    );
}

#[test]
fn no_more_than_the_limit_is_ever_asked_for() {
    let mut bytes = vec![HANDSHAKE, 3, 1, 0x40, 0, CLIENT_HELLO, 0, 0x1f, 0xff];
    bytes.resize(MAX - 1, 0);
    assert_eq!(sniff(&bytes), Sniff::Incomplete);
    bytes.push(0);
    assert_eq!(sniff(&bytes), Sniff::NotTls);
    bytes.resize(MAX * 4, 0);
    assert_eq!(sniff(&bytes), Sniff::NotTls);
    let announced = [HANDSHAKE, 3, 1, 0x40, 0, CLIENT_HELLO, 1, 0, 0];
    assert_eq!(sniff(&announced), Sniff::NotTls);
}

/// A cheap stand-in for the fuzz target, so that every run of the tests tries some.
#[test]
fn single_byte_changes_never_panic_and_long_inputs_always_decide() {
    let bytes = real("web.example");
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[at].wrapping_add(1)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let _ = sniff(&changed);
            changed.resize(MAX, value);
            assert_ne!(sniff(&changed), Sniff::Incomplete, "byte {at} is {value}");
        }
    }
}
