use super::*;
use tokio::io::AsyncWriteExt;

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes
}

async fn read_all(bytes: &[u8]) -> Result<Header, Error> {
    let mut bytes = bytes;
    read(&mut bytes).await
}

#[tokio::test]
async fn what_is_written_is_read_and_nothing_after_it() {
    for header in [
        Header {
            port: 80,
            name: None,
            session: None,
        },
        Header {
            port: 65535,
            name: Some("web.default.svc.cluster.local".into()),
            session: Some(Session::Http2),
        },
        Header {
            port: 1,
            name: Some("x".into()),
            session: Some(Session::Http1),
        },
    ] {
        let mut bytes = header.encode().to_vec();
        bytes.extend(b"application");
        let mut rest = &bytes[..];
        assert_eq!(read(&mut rest).await.unwrap(), header);
        assert_eq!(rest, b"application");
    }
}

#[tokio::test]
async fn the_bytes_are_those_of_stock_proxies() {
    let header = Header {
        port: 4143,
        name: Some("a.b".into()),
        session: Some(Session::Http1),
    };
    let mut expected = b"transport.l5d.io/v1\r\n\r\n".to_vec();
    expected.extend([0, 0, 0, 12]);
    expected.extend([0x08, 0xaf, 0x20]); // port: 4143
    expected.extend([0x12, 3, b'a', b'.', b'b']);
    expected.extend([0x1a, 2, 0x0a, 0]); // session_protocol: { http1: {} }
    assert_eq!(header.encode(), expected);
}

#[tokio::test]
async fn a_header_may_arrive_byte_by_byte() {
    let header = Header {
        port: 8080,
        name: Some("web.default.svc.cluster.local".into()),
        session: Some(Session::Http1),
    };
    let bytes = header.encode();
    let (mut client, mut server) = tokio::io::duplex(1);
    let write = async {
        for byte in bytes {
            client.write_all(&[byte]).await.unwrap();
        }
    };
    let (read, ()) = tokio::join!(read(&mut server), write);
    assert_eq!(read.unwrap(), header);
}

#[tokio::test]
async fn an_oversized_length_is_refused_before_it_is_read() {
    for length in [MAX_HEADER as u32 + 1, u32::MAX] {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(length.to_be_bytes());
        // No message follows: reading on would fail differently.
        assert!(matches!(
            read_all(&bytes).await,
            Err(Error::TooLong(n)) if n == length
        ));
    }
}

#[tokio::test]
async fn ports_that_do_not_exist_are_refused() {
    for (message, port) in [
        (&[][..], 0),
        (&[0x08, 0], 0),
        (&[0x08, 0x80, 0x80, 0x04], 65536),
        (
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            -1,
        ),
    ] {
        assert!(
            matches!(read_all(&framed(message)).await, Err(Error::Port(p)) if p == port),
            "{message:?}"
        );
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    assert!(matches!(
        read_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await,
        Err(Error::NoPreface)
    ));
    assert!(matches!(
        read_all(&framed(&[0xff; 40])).await,
        Err(Error::Malformed)
    ));
    // A name longer than its message.
    assert!(matches!(
        read_all(&framed(&[0x08, 80, 0x12, 200, b'a'])).await,
        Err(Error::Malformed)
    ));
}

#[tokio::test]
async fn one_wrong_byte_is_enough_to_refuse() {
    let (mut client, mut server) = tokio::io::duplex(64);
    client.write_all(b"x").await.unwrap();
    // The client stays connected and says nothing more.
    assert!(matches!(read(&mut server).await, Err(Error::NoPreface)));
}

#[tokio::test]
async fn names_that_are_not_dns_names_are_refused() {
    let long = "a".repeat(64);
    for name in ["a..b", "-a", "a b", "a\n", "..", &long] {
        let mut message = vec![0x08, 80, 0x12, name.len() as u8];
        message.extend(name.as_bytes());
        assert!(
            matches!(read_all(&framed(&message)).await, Err(Error::Name)),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn names_are_normalised() {
    let mut message = vec![0x08, 80, 0x12, 6];
    message.extend(b"Web.X.");
    let header = read_all(&framed(&message)).await.unwrap();
    assert_eq!(header.name.as_deref(), Some("web.x"));
}

#[tokio::test]
async fn every_truncation_is_an_error() {
    let bytes = Header {
        port: 80,
        name: Some("web".into()),
        session: Some(Session::Http2),
    }
    .encode();
    for n in 0..bytes.len() {
        assert!(
            matches!(read_all(&bytes[..n]).await, Err(Error::Closed)),
            "{n} bytes"
        );
    }
}
