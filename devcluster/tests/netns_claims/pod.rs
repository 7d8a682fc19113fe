//! What runs in the pods: this test's own program, playing a part. Standard library only, so that
//! names are resolved as any program's are.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::{Value, json};

const PART: &str = "MESH_TEST_PART";

/// True if this process was a pod's.
pub(crate) fn play_a_part() -> bool {
    let Ok(part) = std::env::var(PART) else {
        return false;
    };
    let args: Vec<String> = std::env::args().skip(1).collect();
    match part.as_str() {
        "serve" => serve(&args[0]),
        "ask" => ask(&args),
        "api" => api(),
        "connect" => drop(TcpStream::connect(&args[0]).unwrap()),
        other => panic!("no such part: {other}"),
    }
    true
}

/// Answers everybody with its own name and who asked.
fn serve(at: &str) {
    let listener = TcpListener::bind(at).unwrap();
    let name = std::env::var("HOSTNAME").unwrap();
    loop {
        let (mut stream, peer) = listener.accept().unwrap();
        let _peer_gone = write!(stream, "{name} {}", peer.ip());
    }
}

/// Asks every target again and again, one line for each answer.
fn ask(targets: &[String]) {
    loop {
        for target in targets {
            println!("{target} {}", answer(target));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answer(target: &str) -> String {
    let Ok(mut addresses) = target.to_socket_addrs() else {
        return "no-address".to_owned();
    };
    let address = addresses.next().unwrap();
    match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(mut stream) => {
            let mut text = String::new();
            let _cut_short = stream.read_to_string(&mut text);
            text
        }
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Asks the API server as any client in a pod does.
fn api() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let version = runtime.block_on(async {
        let client = kube::Client::try_default().await.unwrap();
        client.apiserver_version().await.unwrap()
    });
    println!("version {}.{}", version.major, version.minor);
}

/// A container that plays a part.
pub(crate) fn part(part: &str, args: &[&str]) -> Value {
    json!({"name": "main", "image": "part:1", "args": args,
        "env": [{"name": PART, "value": part}]})
}
