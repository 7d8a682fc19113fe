use super::*;
use tokio::io::AsyncWriteExt;

const LONG: Duration = Duration::from_secs(10);

async fn detected(bytes: &[u8]) -> (Detected, Vec<u8>) {
    let (detected, mut io) = detect(bytes, LONG).await.unwrap();
    let mut replayed = Vec::new();
    io.read_to_end(&mut replayed).await.unwrap();
    (detected, replayed)
}

#[tokio::test]
async fn protocols_are_told_apart_and_every_byte_is_replayed() {
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(300));
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Detected::Http(Version::H1)),
        (b"GET / HTTP/1.1", Detected::Http(Version::H1)),
        (b"POST /x HTTP/1.0\r\nhost: a", Detected::Http(Version::H1)),
        (many_headers.as_bytes(), Detected::Http(Version::H1)),
        (
            b"CONNECT web:80 HTTP/1.1\r\n\r\n",
            Detected::Http(Version::H1),
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Detected::Http(Version::H2),
        ),
        (b"PRI * HTTP/2.0", Detected::Http(Version::H2)),
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n", Detected::NotHttp),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Detected::NotHttp),
        (b"hello world, this is me\r\n", Detected::NotHttp),
        (b"PING\r\n", Detected::NotHttp),
        (b"GET a\r\n", Detected::NotHttp),
        (b"\x16\x03\x01", Detected::NotHttp),
    ] {
        let (found, replayed) = detected(bytes).await;
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(bytes));
        assert_eq!(replayed, bytes);
    }
}

#[tokio::test]
async fn a_client_that_closes_at_once_is_empty() {
    assert_eq!(detected(b"").await.0, Detected::Empty);
}

#[tokio::test]
async fn a_split_request_line_is_still_http() {
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"GE").await.unwrap();
    let rest = async {
        tokio::task::yield_now().await;
        client.write_all(b"T / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(client);
    };
    let (found, ()) = tokio::join!(detect(server, LONG), rest);
    let (found, mut io) = found.unwrap();
    assert_eq!(found, Detected::Http(Version::H1));
    let mut replayed = Vec::new();
    io.read_to_end(&mut replayed).await.unwrap();
    assert_eq!(replayed, b"GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn a_short_first_segment_that_is_no_request_is_judged_at_once() {
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"hello").await.unwrap();
    // The client waits for an answer; nothing more comes.
    let (found, _io) = detect(server, LONG).await.unwrap();
    assert_eq!(found, Detected::NotHttp);
}

#[tokio::test]
async fn silence_is_a_timeout_and_half_a_line_is_not_waited_for_forever() {
    let short = Duration::from_millis(20);
    let (_client, server) = tokio::io::duplex(64);
    let (found, _io) = detect(server, short).await.unwrap();
    assert_eq!(found, Detected::Timeout);

    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"PUT ").await.unwrap();
    let (found, mut io) = detect(server, short).await.unwrap();
    assert_eq!(found, Detected::NotHttp);
    drop(client);
    let mut replayed = Vec::new();
    io.read_to_end(&mut replayed).await.unwrap();
    assert_eq!(replayed, b"PUT ");
}
