//! Feeds arbitrary bodies to the protobuf decoder, with and without the bytes every such body
//! begins with.
//!
//! Beyond not panicking: what it reads is an object of the kind it names, and what it refuses is
//! the client's fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use devcluster::apiserver::protobuf::decode;

fuzz_target!(|bytes: &[u8]| {
    let body = [b"k8s\0", bytes].concat();
    for body in [bytes, &body] {
        match decode(body) {
            Ok(object) => {
                assert!(object["apiVersion"].is_string());
                assert!(object["kind"].as_str().is_some_and(|kind| !kind.is_empty()));
            }
            Err(error) => assert!(matches!(error.code, 400 | 415), "{error:?}"),
        }
    }
});
