//! Any bytes of an HTTP/1 connection, cut anywhere: no panic, the same verdict however they are cut,
//! and what is let through has lines that end as they should.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_proxy::http::strict::{Tunnel, Watch};

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let whole = Watch::new(Tunnel::default()).see(bytes).is_ok();
    let mut watch = Watch::new(Tunnel::default());
    let pieces = bytes.chunks(usize::from(cut).max(1));
    let in_pieces = pieces.into_iter().all(|piece| watch.see(piece).is_ok());
    assert_eq!(whole, in_pieces);
    // Up to the end of the first head nothing but lines is allowed.
    if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n").filter(|_| whole) {
        let head = &bytes[..end];
        let bare = (0..head.len()).any(|i| head[i] == b'\n' && (i == 0 || head[i - 1] != b'\r'));
        assert!(!bare);
    }
});
