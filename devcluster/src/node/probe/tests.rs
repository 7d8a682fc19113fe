//! What probes ask and what their answers mean.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn parse(probe: Value) -> Result<Check, ProbeError> {
    let container: Container = serde_json::from_value(
        json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}),
    )
    .unwrap();
    let probe: Probe = serde_json::from_value(probe).unwrap();
    read(Kind::Readiness, &probe, &container, HERE, |words| Launch {
        program: words.first().cloned().unwrap_or_default().into(),
        args: words.iter().skip(1).cloned().collect(),
        cwd: "/".into(),
        ..Launch::default()
    })
}

#[test]
fn ports_are_numbers_or_names_of_the_container() {
    let port_of = |port: Value| match parse(json!({"httpGet": {"port": port}})).unwrap().question {
        Question::Http { port, .. } => port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port_of(json!(4191)), 4191);
    assert_eq!(port_of(json!("web")), 8080);
    assert_eq!(port_of(json!("9000")), 9000);
    for bad in [json!(0), json!(70000), json!("other")] {
        assert!(parse(json!({"tcpSocket": {"port": bad}})).is_err());
    }
    assert!(matches!(
        parse(json!({"grpc": {"port": 1}})),
        Err(ProbeError::Grpc)
    ));
    assert!(matches!(parse(json!({})), Err(ProbeError::Empty)));
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let check = parse(json!({"tcpSocket": {"port": 1}})).unwrap();
    assert_eq!(check.period, Duration::from_secs(10));
    assert_eq!(check.timeout, Duration::from_secs(1));
    assert_eq!(
        check.thresholds,
        Thresholds {
            success: 1,
            failure: 3
        }
    );
}

#[test]
fn a_verdict_needs_its_number_of_answers_in_a_row() {
    let thresholds = Thresholds {
        success: 2,
        failure: 3,
    };
    let mut tally = Tally::default();
    let answers = [
        true, true, false, false, true, false, false, false, true, true,
    ];
    let verdicts: Vec<_> = answers
        .iter()
        .map(|a| tally.count(*a, thresholds))
        .collect();
    let (n, t, f) = (None, Some(true), Some(false));
    assert_eq!(verdicts, [n, t, n, n, n, n, n, f, n, t]);
}

async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = io.read(&mut buffer).await;
            let _ = io.write_all(answer.as_bytes()).await;
        }
    });
    port
}

async fn answer_to(probe: Value) -> Result<(), String> {
    let check = parse(probe).unwrap();
    ask::ask(&check.question, check.timeout).await
}

#[tokio::test]
async fn http_answers_below_400_are_good() {
    for (answer, good) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", false),
        ("garbage\r\n\r\n", false),
        ("", false),
    ] {
        let port = server(answer).await;
        let result = answer_to(json!({"httpGet": {"port": port, "path": "ready"}})).await;
        assert_eq!(result.is_ok(), good, "{answer:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_a_failure_in_time() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(
        answer_to(json!({"tcpSocket": {"port": port}}))
            .await
            .is_ok()
    );
    let error = answer_to(json!({"httpGet": {"port": port}}))
        .await
        .unwrap_err();
    assert!(error.contains("within 1 s"), "{error}");
    // A port that was just given up may be somebody else's by now; nobody listens on port 1.
    assert!(answer_to(json!({"tcpSocket": {"port": 1}})).await.is_err());
}

#[tokio::test]
async fn a_command_is_good_when_it_exits_with_zero() {
    let exec = |script: &str| json!({"exec": {"command": ["/bin/sh", "-c", script]}});
    assert!(answer_to(exec("exit 0")).await.is_ok());
    assert!(
        answer_to(exec("exit 2"))
            .await
            .unwrap_err()
            .contains("code 2")
    );
    assert!(
        answer_to(exec("while :; do :; done"))
            .await
            .unwrap_err()
            .contains("within 1 s")
    );
    assert!(
        answer_to(json!({"exec": {"command": ["/no/such"]}}))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn only_changes_of_the_verdict_are_told() {
    let port = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut check = parse(json!({"httpGet": {"port": port}})).unwrap();
    check.period = Duration::from_millis(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    let watching = watch(
        check,
        move |verdict, _| {
            seen.lock().push(verdict);
            std::future::ready(())
        },
        |_| {},
    );
    let _for_a_while = tokio::time::timeout(Duration::from_millis(100), watching).await;
    assert_eq!(*told.lock(), [true]);
}
