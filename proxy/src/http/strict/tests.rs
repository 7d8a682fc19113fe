use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{framing::MAX_HEAD, *};

/// What is wrong with these bytes, wherever they are cut.
fn fault(bytes: &[u8]) -> Option<&'static str> {
    let judge = |pieces: &[&[u8]]| {
        let mut watch = Watch::new(Tunnel::default());
        let seen = pieces.iter().try_for_each(|piece| watch.see(piece));
        match seen {
            Ok(()) => None,
            Err(Fault::At(_, what)) => Some(what),
            Err(Fault::TooLong) => Some("too long"),
        }
    };
    let whole = judge(&[bytes]);
    for cut in 0..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(judge(&[a, b]), whole, "{:?}", String::from_utf8_lossy(a));
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(judge(&single), whole);
    whole
}

#[test]
fn what_every_reader_reads_alike_is_let_through() {
    for fine in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:3\r\ncontent-length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n2\r\n\n\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\na: b\r\n\r\nG",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5  \r\nhello\r\n0 \r\n\r\n",
    ] {
        assert_eq!(fault(fine.as_bytes()), None, "{fine:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_not() {
    for (bad, why) in [
        ("GET / HTTP/1.1\nhost: a\n\n", "a line that ends"),
        (
            "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
            "a line that ends",
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", "a line that ends"),
        ("\nGET / HTTP/1.1\r\n\r\n", "a line that ends"),
        (
            "POST / HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            "both",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
            "both",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 4\r\nContent-Length: 5\r\n\r\n",
            "two lengths",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 4, 4\r\n\r\n",
            "a length that",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: +4\r\n\r\n",
            "a length that",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 0x4\r\n\r\n",
            "a length that",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
            "a length that",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "a length that",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "a transfer",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n",
            "a transfer",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "a transfer",
        ),
        ("GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", "a folded"),
    ] {
        let found = fault(bad.as_bytes()).unwrap_or_default();
        assert!(found.starts_with(why), "{bad:?}: {found:?}");
    }
}

#[test]
fn chunks_are_what_the_specification_says() {
    for bad in [
        "\r\n",
        ";x\r\n",
        "g\r\n",
        "2\nhi\r\n",
        "2\r\nhi0\r\n",
        "2\r\nhi\n0\r\n",
        "-1\r\n",
        "0x2\r\nhi\r\n",
        "10000000000000000\r\n",
        "2;a\nb\r\nhi\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\n\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{bad}");
        assert_eq!(fault(request.as_bytes()), Some("a broken chunk"), "{bad:?}");
    }
}

#[test]
fn a_head_has_a_length_beyond_which_nobody_reads() {
    let long = |n: usize| format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(n));
    let mut watch = Watch::new(Tunnel::default());
    assert!(watch.see(long(MAX_HEAD / 2).as_bytes()).is_ok());
    assert_eq!(watch.see(&[b'a'; MAX_HEAD]), Err(Fault::TooLong));
    let mut many = "GET / HTTP/1.1\r\n".to_owned() + &"x: y\r\n".repeat(MAX_HEAD / 6);
    many.push_str("\r\n");
    let mut watch = Watch::new(Tunnel::default());
    assert_eq!(watch.see(many.as_bytes()), Err(Fault::TooLong));
}

#[test]
fn bytes_of_a_tunnel_are_not_looked_at_and_those_after_a_refusal_are() {
    let ask = b"GET / HTTP/1.1\r\nupgrade: x\r\n\r\n";
    for (agreed, seen) in [(true, Ok(())), (false, Err(0))] {
        let tunnel = Tunnel::default();
        let mut watch = Watch::new(tunnel.clone());
        watch.see(ask).unwrap();
        assert!(!tunnel.answered(agreed));
        let found = watch.see(b"\nraw").map_err(|fault| match fault {
            Fault::At(at, _) => at,
            Fault::TooLong => panic!("too long"),
        });
        assert_eq!(found, seen, "{agreed}");
    }
    // Whoever did not wait cannot be judged; its connection ends unless it was right.
    for agreed in [true, false] {
        let tunnel = Tunnel::default();
        let mut watch = Watch::new(tunnel.clone());
        watch.see(b"CONNECT a:1 HTTP/1.1\r\n\r\n\nearly").unwrap();
        assert_eq!(tunnel.answered(agreed), !agreed);
    }
}

fn strict(
    head: Duration,
    idle: Duration,
) -> (tokio::io::DuplexStream, Strict<tokio::io::DuplexStream>) {
    let (client, server) = tokio::io::duplex(1024);
    let limits = Limits { head, idle };
    (client, Strict::new(server, limits, Tunnel::default()))
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_and_so_has_the_pause_before_it() {
    let second = Duration::from_secs(1);
    let (mut client, mut server) = strict(second, 10 * second);
    let mut buf = [0; 1024];
    for _ in 0..3 {
        // Pauses shorter than allowed, however many.
        let pause = tokio::time::timeout(9 * second, server.read(&mut buf)).await;
        assert!(pause.is_err());
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(server.read(&mut buf).await.unwrap() > 0);
    }
    let began = Instant::now();
    let error = server.read(&mut buf).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() <= 20 * second, "{:?}", began.elapsed());

    let (mut client, mut server) = strict(second, LONG);
    let began = Instant::now();
    let drip = async {
        loop {
            let _ = client.write_all(b"G").await;
            tokio::time::sleep(second / 4).await;
        }
    };
    let read = async {
        loop {
            match server.read(&mut buf).await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = tokio::select! {
        () = drip => unreachable!(),
        error = read => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() < 2 * second, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_and_a_response_take_as_long_as_they_take() {
    let second = Duration::from_secs(1);
    let (mut client, mut server) = strict(second, second);
    let head = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut buf = [0; 1024];
    assert_eq!(server.read(&mut buf).await.unwrap(), head.len());
    let waits = tokio::time::timeout(LONG, server.read(&mut buf)).await;
    assert!(waits.is_err(), "{waits:?}");
}

// --- responses

/// What is wrong with the responses to these requests, each sent when the one before was answered.
fn answers(requests: &[(Method, bool)], bytes: &[u8]) -> Option<String> {
    let asked = Asked::default();
    let mut answers = Answers::new(asked.clone());
    let mut requests = requests.iter();
    let mut ask = || {
        if let Some((method, upgrade)) = requests.next() {
            asked.ask(method, *upgrade);
        }
    };
    ask();
    for byte in bytes {
        if let Err((_, fault)) = answers.see(&[*byte]) {
            return Some(fault.to_string());
        }
        if answers.is_between() {
            ask();
        }
    }
    None
}

const GET: (Method, bool) = (Method::GET, false);

#[test]
fn responses_that_every_reader_reads_alike_are_let_through() {
    let get = [GET, GET];
    for fine in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 304 x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\nraw",
        "HTTP/1.0 200 OK\r\n\r\nup to\nthe end",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(answers(&get, fine.as_bytes()), None, "{fine:?}");
    }
    // A length without a body, and no more HTTP.
    let head =
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(
        answers(&[(Method::HEAD, false), GET], head.as_bytes()),
        None
    );
    for (request, answer) in [
        (
            (Method::CONNECT, false),
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\n\nraw",
        ),
        (
            (Method::GET, true),
            "HTTP/1.1 101 x\r\nupgrade: x\r\n\r\n\n\nraw",
        ),
    ] {
        assert_eq!(answers(&[request], answer.as_bytes()), None, "{answer:?}");
    }
}

#[test]
fn what_comes_before_a_fault_is_beyond_doubt() {
    let first = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let second = "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok";
    let asked = Asked::default();
    let mut answers = Answers::new(asked.clone());
    asked.ask(&Method::GET, false);
    let (whole, fault) = answers
        .see(format!("{first}{second}").as_bytes())
        .unwrap_err();
    assert_eq!(whole, first.len());
    assert!(fault.to_string().starts_with("a line that ends"), "{fault}");
}

#[test]
fn what_was_not_asked_for_is_no_answer() {
    for (requests, bytes, why) in [
        (&[GET][..], "HTTP/1.1 101 x\r\n\r\n", "an upgrade"),
        (&[], "HTTP/1.1 200 OK\r\n\r\n", "a response that nobody"),
        (
            &[],
            "HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n",
            "a response that nobody",
        ),
        (
            &[(Method::HEAD, false)],
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "a response that nobody",
        ),
        (
            &[GET],
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "chunks of",
        ),
        (&[GET], "HTTP/1.1 20 OK\r\n\r\n", "a status line"),
        (&[GET], "HTTP/1.1 2000 OK\r\n\r\n", "a status line"),
        (&[GET], "HTTP/1.1 099 OK\r\n\r\n", "a status line"),
    ] {
        let found = answers(requests, bytes.as_bytes()).unwrap_or_default();
        assert!(found.starts_with(why), "{bytes:?}: {found:?}");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(17);
    let found = answers(&[GET], interim.as_bytes()).unwrap();
    assert!(found.starts_with("too many heads"), "{found}");
}

#[test]
fn responses_are_judged_alike_in_any_pieces() {
    let bytes =
        b"HTTP/1.1 103 Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                  5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n";
    for at in 0..=bytes.len() {
        for broken in [None, Some(at)] {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = broken.and_then(|at| bytes.get_mut(at)) {
                *byte = b'\n';
            }
            let judge = |pieces: usize| {
                let asked = Asked::default();
                asked.ask(&Method::GET, false);
                let mut answers = Answers::new(asked);
                bytes.chunks(pieces).all(|piece| answers.see(piece).is_ok())
            };
            assert_eq!(judge(1), judge(bytes.len()), "{at} {broken:?}");
            assert_eq!(judge(7), judge(bytes.len()), "{at} {broken:?}");
        }
    }
}
