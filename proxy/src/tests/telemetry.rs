//! What sidecars count of the same exchange at both of its ends.

use super::wire::{WAYS, Way, Wire};
use crate::inbound::tests::sandbox::eventually;

/// The sum of the series that are called `name` and have all of `labels`.
fn sum(series: &[String], name: &str, labels: &[impl AsRef<str>]) -> u64 {
    let named = series.iter().filter(|line| {
        line.split('{').next() == Some(name)
            && labels.iter().all(|label| line.contains(label.as_ref()))
    });
    let value = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    named.map(value).sum()
}

/// The directions in which a sidecar on the way sees the exchange.
fn directions(way: Way) -> &'static [&'static str] {
    match way {
        Way::One => &["direction=\"outbound\""],
        Way::Two => &["direction=\"outbound\"", "direction=\"inbound\""],
    }
}

/// What tells the ends of connections apart that the sidecars on the way have of an exchange, from
/// the client on.
fn ends(way: Way, wire: &Wire) -> Vec<Vec<String>> {
    let mut ends = Vec::new();
    for direction in directions(way) {
        for peer in ["peer=\"src\"", "peer=\"dst\""] {
            let mut labels = vec![(*direction).to_owned(), peer.to_owned()];
            // A sidecar accepts connections to its admin server, too.
            if (*direction, peer) == ("direction=\"inbound\"", "peer=\"src\"") {
                labels.push(wire.target());
            }
            ends.push(labels);
        }
    }
    ends
}

#[tokio::test]
async fn answers_from_500_on_are_failures() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        let mut app = None;
        let statuses = [200, 204, 304, 404, 429, 499, 500, 503, 599];
        for status in statuses {
            client.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
            let app = match &mut app {
                Some(app) => app,
                none => none.insert(wire.app().await),
            };
            app.read_to("\r\n\r\n").await;
            let head = match status {
                204 | 304 => format!("HTTP/1.1 {status} x\r\n\r\n"),
                _ => format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"),
            };
            app.write(&head).await;
            client.read_to("\r\n\r\n").await;
        }
        let target = wire.target();
        let all = statuses.len() as u64;
        for direction in directions(way) {
            let labels = [*direction, &target];
            eventually("all are counted", || async {
                sum(&wire.series().await, "response_total", &labels) == all
            })
            .await;
            let series = wire.series().await;
            assert_eq!(sum(&series, "request_total", &labels), all, "{way:?}");
            let latencies = sum(&series, "response_latency_ms_count", &labels);
            assert_eq!(latencies, all, "{way:?}");
            for status in statuses {
                let class = match status {
                    ..500 => "classification=\"success\"",
                    _ => "classification=\"failure\"",
                };
                let status = format!("status_code=\"{status}\"");
                let labels = [*direction, &target, &status, class];
                let counted = sum(&series, "response_total", &labels);
                assert_eq!(counted, 1, "{way:?} {labels:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_is_counted_once_however_many_requests_it_carries() {
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        let mut app = None;
        for _ in 0..3 {
            client.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
            let app = match &mut app {
                Some(app) => app,
                none => none.insert(wire.app().await),
            };
            app.read_to("\r\n\r\n").await;
            app.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
            client.read_to("ok").await;
        }
        let ends = ends(way, &wire);
        for labels in &ends {
            let series = wire.series().await;
            let count = |name| sum(&series, name, labels);
            assert_eq!(count("tcp_open_total"), 1, "{way:?} {labels:?}");
            assert_eq!(count("tcp_open_connections"), 1, "{way:?} {labels:?}");
            assert!(count("tcp_read_bytes_total") > 0, "{way:?} {labels:?}");
            assert!(count("tcp_write_bytes_total") > 0, "{way:?} {labels:?}");
            assert_eq!(count("tcp_close_total"), 0, "{way:?} {labels:?}");
        }
        drop((client, app));
        // The client's and the application's; what is between sidecars is kept.
        for labels in [ends.first().unwrap(), ends.last().unwrap()] {
            is_over(&wire, labels).await;
        }
    }
}

/// Waits until the one connection with these labels has ended well.
async fn is_over(wire: &Wire, labels: &[String]) {
    let mut closed = labels.to_vec();
    closed.push("errno=\"\"".to_owned());
    eventually("closed", || async {
        let series = wire.series().await;
        sum(&series, "tcp_close_total", &closed) == 1
            && sum(&series, "tcp_open_connections", labels) == 0
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_not_http_are_counted_at_both_ends() {
    const SAID: &str = "this is not HTTP at all";
    for way in WAYS {
        let wire = Wire::new(way).await;
        let mut client = wire.client().await;
        client.write(SAID).await;
        let mut app = wire.app().await;
        app.read_to(SAID).await;
        app.write("indeed").await;
        client.read_to("indeed").await;
        drop(client);
        assert_eq!(app.read_all().await, "");
        drop(app);
        let (said, answered) = (SAID.len() as u64, "indeed".len() as u64);
        let ends = ends(way, &wire);
        for (n, labels) in ends.iter().enumerate() {
            is_over(&wire, labels).await;
            let series = wire.series().await;
            let count = |name| sum(&series, name, labels);
            assert_eq!(count("tcp_open_total"), 1, "{way:?} {labels:?}");
            let read = count("tcp_read_bytes_total");
            let written = count("tcp_write_bytes_total");
            let (from, to) = match n % 2 {
                0 => (said, answered),
                _ => (answered, said),
            };
            match n == 0 || n + 1 == ends.len() {
                true => assert_eq!((read, written), (from, to), "{way:?} {labels:?}"),
                // Between sidecars there is more than what is said.
                false => assert!(read >= from && written >= to, "{way:?} {labels:?}"),
            }
        }
    }
}
