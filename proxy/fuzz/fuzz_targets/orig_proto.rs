//! Any target, host and `l5d-orig-proto`: no panic, the header never stays, and what is upgraded comes
//! back as it was.
#![no_main]

use http::{HeaderValue, Request, Version, header};
use libfuzzer_sys::fuzz_target;
use mesh_proxy::http::orig_proto;

fuzz_target!(|input: (&str, &[u8], &[u8], bool)| {
    let (target, host, noted, old) = input;
    let Ok(mut request) = Request::builder().uri(target).body(()) else {
        return;
    };
    if let Ok(host) = HeaderValue::from_bytes(host) {
        request.headers_mut().insert(header::HOST, host);
    }
    // From a peer.
    let mut foreign = request.clone();
    *foreign.version_mut() = Version::HTTP_2;
    if let Ok(noted) = HeaderValue::from_bytes(noted) {
        foreign.headers_mut().insert("l5d-orig-proto", noted);
    }
    let downgraded = orig_proto::downgrade_request(&mut foreign);
    assert!(!foreign.headers().contains_key("l5d-orig-proto"));
    assert_eq!(downgraded.is_some(), foreign.version() < Version::HTTP_2);
    // To a peer and back.
    *request.version_mut() = if old { Version::HTTP_10 } else { Version::HTTP_11 };
    if !orig_proto::can_upgrade(&request) {
        return;
    }
    let before = (request.version(), request.uri().path().to_owned());
    let upgraded = orig_proto::upgrade_request(&mut request);
    assert_eq!(orig_proto::downgrade_request(&mut request), Some(upgraded));
    assert_eq!((request.version(), request.uri().path().to_owned()), before);
    assert!(!request.headers().contains_key("l5d-orig-proto"));
});
