//! Any bytes: no panic, and what is accepted survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_proxy::transport_header::{self, Header};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode_message(bytes) {
        assert_read(&header.encode(), Some(&header));
    }
    assert_read(bytes, None);
});

fn assert_read(mut bytes: &[u8], expected: Option<&Header>) {
    let read = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers")
        .block_on(transport_header::read(&mut bytes));
    if let Some(expected) = expected {
        assert_eq!(&read.expect("what was encoded is accepted"), expected);
    }
}
