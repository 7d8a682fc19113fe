//! Feeds arbitrary first bytes of a connection to the sniffer.
//!
//! Beyond not panicking: it decides on whatever reaches its limit, and bytes that follow a whole
//! ClientHello never change what was seen in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_tls::sniff::{MAX, Sniff, sniff};

fuzz_target!(|bytes: &[u8]| {
    let seen = sniff(bytes);
    if bytes.len() >= MAX {
        assert_ne!(seen, Sniff::Incomplete);
    }
    if seen != Sniff::Incomplete {
        let mut more = bytes.to_vec();
        more.push(0);
        assert_eq!(sniff(&more), seen);
    }
});
