//! Any bytes: no panic in telling protocols apart.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = mesh_proxy::detect::classify(bytes);
});
