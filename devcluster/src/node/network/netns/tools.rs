//! `ip` and `nft`: running them, and telling what they said when they refuse.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum ToolError {
    #[error(
        "cannot run {program}: {source}; the netns network needs iproute2 and nftables on this machine"
    )]
    Run {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} {what}: {said}")]
    Refused {
        program: &'static str,
        what: String,
        said: String,
    },
    #[error("cannot set {key}: {source}")]
    Setting { key: String, source: io::Error },
}

/// `ip` with these words.
pub(super) fn ip(words: &str) -> Result<String, ToolError> {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    run("ip", &words, "")
}

/// Many lines for `ip`, here or (`-n`) in a namespace; it stops at the first that fails.
pub(super) fn ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<(), ToolError> {
    let mut args = Vec::new();
    if let Some(namespace) = namespace {
        args.extend(["-n", namespace]);
    }
    args.extend(["-batch", "-"]);
    run("ip", &args, &(lines.join("\n") + "\n")).map(drop)
}

/// A script for `nft`, all of it or nothing.
pub(super) fn nft(script: &str) -> Result<(), ToolError> {
    run("nft", &["-f", "-"], script).map(drop)
}

/// A file below `/proc/sys/net/ipv4`, of the namespace this thread is in.
pub(super) fn set(key: &str, value: &str) -> Result<(), ToolError> {
    let path = Path::new("/proc/sys/net/ipv4").join(key);
    fs::write(&path, value).map_err(|source| ToolError::Setting {
        key: path.display().to_string(),
        source,
    })
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, ToolError> {
    let failed = |source| ToolError::Run { program, source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why.
        let _said_below = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ToolError::Refused {
        program,
        what: args.join(" "),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
