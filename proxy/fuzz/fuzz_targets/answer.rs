//! Any bytes as the response to any kind of request, cut anywhere: no panic, the same verdict however
//! they are cut, and what is let through has lines that end as they should.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_proxy::http::strict::{Answers, Asked};

fuzz_target!(|input: (&[u8], u8, u8)| {
    let (bytes, cut, kind) = input;
    let follow = || {
        let asked = Asked::default();
        let method = match kind % 4 {
            0 => http::Method::GET,
            1 => http::Method::HEAD,
            2 => http::Method::CONNECT,
            _ => http::Method::POST,
        };
        asked.ask(&method, kind > 128);
        Answers::new(asked)
    };
    let whole = follow().see(bytes);
    if let Err((beyond_doubt, _)) = whole {
        assert!(beyond_doubt <= bytes.len());
    }
    let mut answers = follow();
    let mut pieces = bytes.chunks(usize::from(cut).max(1));
    assert_eq!(whole.is_ok(), pieces.all(|piece| answers.see(piece).is_ok()));
    // Up to the end of the first head nothing but lines is allowed.
    if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n").filter(|_| whole.is_ok()) {
        let head = &bytes[..end];
        let bare = (0..head.len()).any(|i| head[i] == b'\n' && (i == 0 || head[i - 1] != b'\r'));
        assert!(!bare);
    }
});
