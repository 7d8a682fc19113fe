//! HTTP/1.0 and HTTP/1.1: framings, connections, upgrades.

use tokio::io::AsyncWriteExt;

use super::wire::{Talk, WAYS, Way, Wire};

#[tokio::test]
async fn every_framing_arrives_as_it_was_sent() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let sized = Talk {
            request: "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello",
            request_ends: "hello",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworld",
            response_ends: "world",
            ..Talk::default()
        };
        let (seen, answer) = wire.exchange(sized).await;
        assert!(seen.contains("content-length: 5\r\n"), "{way:?}: {seen}");
        assert!(!seen.contains("transfer-encoding"), "{way:?}: {seen}");
        assert!(
            answer.contains("content-length: 5\r\n"),
            "{way:?}: {answer}"
        );

        let chunked = Talk {
            request: "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n0\r\n\r\n",
            request_ends: "\r\n0\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nworld\r\n0\r\n\r\n",
            response_ends: "\r\n0\r\n\r\n",
            ..Talk::default()
        };
        let (seen, answer) = wire.exchange(chunked).await;
        for text in [seen, answer] {
            assert!(
                text.contains("transfer-encoding: chunked"),
                "{way:?}: {text}"
            );
            assert!(!text.contains("content-length"), "{way:?}: {text}");
        }
    }
}

#[tokio::test]
async fn requests_and_responses_without_a_body_stay_so() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let (seen, _) = wire.exchange(Talk::default()).await;
        assert!(!seen.contains("transfer-encoding"), "{way:?}: {seen}");
        assert!(!seen.contains("content-length"), "{way:?}: {seen}");

        let empty = Talk {
            request: "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            response_ends: "\r\n\r\n",
            ..Talk::default()
        };
        let (seen, answer) = wire.exchange(empty).await;
        assert!(seen.contains("content-length: 0\r\n"), "{way:?}: {seen}");
        assert!(
            answer.contains("content-length: 0\r\n"),
            "{way:?}: {answer}"
        );

        for status in ["204 No Content", "304 Not Modified"] {
            let response = format!("HTTP/1.1 {status}\r\nx-app: 1\r\n\r\n");
            let bodyless = Talk {
                response: &response,
                response_ends: "\r\n\r\n",
                ..Talk::default()
            };
            let (_, answer) = wire.exchange(bodyless).await;
            assert!(answer.contains("x-app: 1"), "{way:?}: {answer}");
            assert!(!answer.contains("transfer-encoding"), "{way:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_head_response_has_a_length_and_no_body_and_the_connection_goes_on() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client.write("HEAD / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        let mut app = wire.app().await;
        app.read_to("\r\n\r\n").await;
        app.write("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
            .await;
        let answer = client.read_to("\r\n\r\n").await;
        assert!(answer.contains("content-length: 1234"), "{way:?}: {answer}");
        client.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        app.read_to("\r\n\r\n").await;
        app.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext")
            .await;
        client.read_to("next").await;
    }
}

#[tokio::test]
async fn a_response_may_end_with_its_connection() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let until_close = Talk {
            response: "HTTP/1.1 200 OK\r\n\r\nto the end",
            response_ends: "\r\n0\r\n\r\n",
            app_closes: true,
            ..Talk::default()
        };
        let (_, answer) = wire.exchange(until_close).await;
        assert!(answer.contains("to the end"), "{way:?}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_carries_many_requests_also_sent_at_once() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        let get = |n: u8| format!("GET /{n} HTTP/1.1\r\nhost: web\r\n\r\n");
        client.write(&(get(1) + &get(2) + &get(3))).await;
        let mut app = wire.app().await;
        for n in 1..=3 {
            let seen = app.read_to("\r\n\r\n").await;
            assert!(seen.starts_with(&format!("GET /{n} ")), "{way:?}: {seen}");
            let body = format!("answer {n}");
            app.write(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{body}"
            ))
            .await;
            let answer = client.read_to(&body).await;
            assert_eq!(
                answer.matches("HTTP/1.1 200").count(),
                1,
                "{way:?}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn an_old_client_is_served_in_its_version_with_and_without_a_host() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        for host in ["host: web\r\n", ""] {
            let request = format!("GET /old HTTP/1.0\r\n{host}\r\n");
            let mut client = wire.client().await;
            client.write(&request).await;
            let mut app = wire.app().await;
            let seen = app.read_to("\r\n\r\n").await;
            assert!(seen.starts_with("GET /old HTTP/1.0\r\n"), "{way:?}: {seen}");
            assert_eq!(
                seen.contains("host: web"),
                !host.is_empty(),
                "{way:?}: {seen}"
            );
            app.write("HTTP/1.0 200 OK\r\n\r\nold").await;
            drop(app);
            let answer = client.read_all().await;
            assert!(answer.starts_with("HTTP/1.0 200"), "{way:?}: {answer}");
            assert!(answer.ends_with("old"), "{way:?}: {answer}");
            assert!(!answer.contains("transfer-encoding"), "{way:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_survives_and_so_does_another_host() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let absolute = Talk {
            request: "GET http://other.example/x?y HTTP/1.1\r\nhost: web\r\n\r\n",
            ..Talk::default()
        };
        let (seen, _) = wire.exchange(absolute).await;
        assert!(
            seen.starts_with("GET http://other.example/x?y HTTP/1.1\r\n"),
            "{way:?}: {seen}"
        );
        assert!(seen.contains("host: web\r\n"), "{way:?}: {seen}");
        let (seen, _) = wire.exchange(Talk::default()).await;
        assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{way:?}: {seen}");
    }
}

#[tokio::test]
async fn what_is_between_neighbours_or_proxies_reaches_nobody_else() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let talk = Talk {
            request: "GET / HTTP/1.1\r\nhost: web\r\nconnection: x-mine, keep-alive, upgrade\r\n\
                      upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\
                      x-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
                      l5d-orig-proto: HTTP/1.0\r\nl5d-client-id: admin\r\nx-kept: 1\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\nconnection: x-theirs\r\nx-theirs: 1\r\n\
                       keep-alive: timeout=5\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\nok",
            ..Talk::default()
        };
        let (seen, answer) = wire.exchange(talk).await;
        for text in [&seen, &answer] {
            assert!(text.contains("x-kept: 1"), "{way:?}: {text}");
            for gone in [
                "x-mine",
                "x-theirs",
                "keep-alive",
                "upgrade",
                "proxy-connection",
                "orig-proto",
                "admin",
            ] {
                assert!(!text.contains(gone), "{way:?}: {gone} in {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_is_opened_and_carries_bytes_both_ways() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client
            .write(
                "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-key: x\r\n\r\n",
            )
            .await;
        let mut app = wire.app().await;
        let seen = app.read_to("\r\n\r\n").await.to_ascii_lowercase();
        assert!(seen.contains("connection: upgrade"), "{way:?}: {seen}");
        assert!(seen.contains("upgrade: websocket"), "{way:?}: {seen}");
        app.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             \r\nserver first",
        )
        .await;
        let answer = client.read_to("server first").await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{way:?}: {answer}");
        client.write("and back").await;
        app.read_to("and back").await;
        // One side may finish first.
        drop(client);
        assert_eq!(app.read_all().await, "", "{way:?}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let talk = Talk {
            request: "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\r\n",
            response: "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno",
            response_ends: "no",
            ..Talk::default()
        };
        let (_, answer) = wire.exchange(talk).await;
        assert!(answer.starts_with("HTTP/1.1 426"), "{way:?}: {answer}");
    }
}

#[tokio::test]
async fn connect_becomes_a_tunnel() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client
            .write("CONNECT web.example:443 HTTP/1.1\r\nhost: web.example:443\r\n\r\n")
            .await;
        let mut app = wire.app().await;
        let seen = app.read_to("\r\n\r\n").await;
        assert!(
            seen.starts_with("CONNECT web.example:443 HTTP/1.1\r\n"),
            "{way:?}: {seen}"
        );
        app.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nraw")
            .await;
        let answer = client.read_to("raw").await;
        assert!(!answer.contains("content-length"), "{way:?}: {answer}");
        client.write("\0\x01").await;
        app.read_to("\0\x01").await;
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client
            .write(
                "POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\n\
                 content-length: 4\r\n\r\n",
            )
            .await;
        let interim = client.read_to("\r\n\r\n").await;
        assert!(interim.starts_with("HTTP/1.1 100"), "{way:?}: {interim}");
        client.write("body").await;
        let mut app = wire.app().await;
        app.read_to("body").await;
        app.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
        let answer = client.read_to("ok").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{way:?}: {answer}");
    }
}

#[tokio::test]
async fn trailers_arrive_in_both_directions() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let talk = Talk {
            request: "POST / HTTP/1.1\r\nhost: web\r\nte: trailers\r\ntrailer: x-sum\r\n\
                      transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
            request_ends: "x-sum: 1\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                       2\r\nyo\r\n0\r\nx-sum: 2\r\n\r\n",
            response_ends: "x-sum: 2\r\n\r\n",
            ..Talk::default()
        };
        wire.exchange(talk).await;
    }
}

#[tokio::test]
async fn a_body_with_broken_chunks_reaches_nobody_whole() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client
            .write(
                "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n\
                 2\r\nhi\r\nnonsense\r\n0\r\n\r\n",
            )
            .await;
        let mut app = wire.app().await;
        let seen = app.read_all().await;
        assert!(!seen.ends_with("0\r\n\r\n"), "{way:?}: {seen}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_body_off_is_told_whose_fault_it_is() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        for broken in [
            "content-length: 100\r\n\r\nhalf",
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
        ] {
            let mut client = wire.client().await;
            let head = "POST / HTTP/1.1\r\nhost: web\r\n";
            client.write(&format!("{head}{broken}")).await;
            let mut app = wire.app().await;
            client.0.shutdown().await.unwrap();
            let answer = client.read_all().await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{way:?}: {answer}");
            assert!(answer.contains("body broke off"), "{way:?}: {answer}");
            app.read_all().await;
        }
    }
}

#[tokio::test]
async fn requests_that_name_nobody_have_connections_of_their_own() {
    let wire = Wire::new(Way::One).await;
    for _ in 0..2 {
        // `exchange` waits for a new connection each time.
        let nameless = Talk {
            request: "GET / HTTP/1.1\r\n\r\n",
            ..Talk::default()
        };
        wire.exchange(nameless).await;
    }
}

#[tokio::test]
async fn an_application_that_is_gone_is_an_error_and_not_a_hang() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client
            .write("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n")
            .await;
        let mut app = wire.app().await;
        app.read_to("\r\n\r\n").await;
        drop(app);
        let answer = client.read_to("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{way:?}: {answer}");
        // The application's connection ends with an error of its own sidecar's. What a peer's
        // says may be different for the next endpoint.
        let closes = answer.contains("connection: close");
        assert_eq!(closes, way == Way::One, "{way:?}: {answer}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        let mut app = wire.app().await;
        app.read_to("\r\n\r\n").await;
        app.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            .await;
        let answer = client.read_to("half").await;
        assert!(answer.contains("content-length: 100"), "{way:?}: {answer}");
        drop(app);
        // The length says that more was to come.
        assert_eq!(client.read_all().await, "", "{way:?}");
    }
}
