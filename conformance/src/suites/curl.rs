//! curl, through both sidecars: HTTP/1.0, HTTP/1.1 and HTTP/2, with and without bodies.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use stage::Pair;
use tokio::process::Command;

use crate::{
    app::{App, HELLO},
    programs,
    report::{Case, Outcome, Report, Suite},
};

const ABOUT: &str = "The machine's curl, whose answers must be the application's.";
const LIMIT: Duration = Duration::from_secs(60);

/// What it is, curl's arguments, and what it must print at the end.
const CASES: [(&str, &[&str], &str); 11] = [
    ("GET, HTTP/1.1", &["--http1.1"], HELLO),
    ("GET, HTTP/1.0", &["--http1.0"], HELLO),
    (
        "GET, HTTP/2 with prior knowledge",
        &["--http2-prior-knowledge"],
        HELLO,
    ),
    ("GET, HTTP/2 asked for by Upgrade", &["--http2"], HELLO),
    ("HEAD", &["--head", "--write-out", "%{http_code}"], "200"),
    (
        "HEAD, HTTP/2",
        &[
            "--http2-prior-knowledge",
            "--head",
            "--write-out",
            "%{http_code}",
        ],
        "200",
    ),
    (
        "POST with a length",
        &["--data", "told how long"],
        "told how long",
    ),
    (
        "POST in chunks",
        &[
            "--header",
            "transfer-encoding: chunked",
            "--data",
            "in chunks",
        ],
        "in chunks",
    ),
    (
        "POST, HTTP/2",
        &["--http2-prior-knowledge", "--data", "over streams"],
        "over streams",
    ),
    (
        "POST after 100-continue",
        &["--header", "expect: 100-continue", "--data", "go on"],
        "go on",
    ),
    (
        "two requests on one connection",
        &[
            "--http1.1",
            "--output",
            "/dev/null",
            "--write-out",
            "%{num_connects}",
            "TWICE",
        ],
        "10",
    ),
];

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let app = App::start().await?;
    let pair = Pair::start(&[]).await?;
    let service = pair.serve(app.addr);
    let entrance = pair.entrance(service).await?;
    let missing = !programs::is_there("curl");
    let mut cases = Vec::new();
    for (name, args, expected) in CASES {
        let outcome = match missing {
            true => Outcome::Skipped("no curl on this machine".into()),
            false => Outcome::of(ask(entrance.addr, args, expected).await),
        };
        cases.push(Case::new(name, outcome));
    }
    if !missing {
        cases.push(Case::new(
            "64 MiB both ways",
            Outcome::of(large(entrance.addr).await),
        ));
    }
    report.add(Suite {
        name: "curl, pair".into(),
        about: ABOUT,
        list_all: true,
        cases,
    });
    Ok(())
}

fn curl(addr: SocketAddr) -> (Command, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "50"]);
    (command, format!("http://{addr}/"))
}

async fn ask(addr: SocketAddr, args: &[&str], expected: &str) -> anyhow::Result<()> {
    let (mut command, url) = curl(addr);
    let twice = args.last() == Some(&"TWICE");
    let args = args.strip_suffix(&["TWICE"]).unwrap_or(args);
    command.args(args).arg(&url);
    if twice {
        command.args(["--output", "/dev/null"]).arg(&url);
    }
    let said = programs::succeed(&mut command, LIMIT).await?;
    ensure!(said.ends_with(expected), "it printed {said:?}");
    Ok(())
}

async fn large(addr: SocketAddr) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let bytes: Vec<u8> = (0..64 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&up, &bytes)?;
    let (mut command, url) = curl(addr);
    command
        .arg("--data-binary")
        .arg(format!("@{}", up.display()));
    command.arg("--output").arg(&down).arg(url);
    programs::succeed(&mut command, LIMIT).await?;
    ensure!(std::fs::read(&down)? == bytes, "other bytes came back");
    Ok(())
}
