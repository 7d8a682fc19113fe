//! The programs others wrote: built from Go modules once, or found on the machine, and run with a
//! deadline.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;

/// A program of one of the modules in `modules/`, built into `~/.cache/mesh/conformance` if what
/// is there was not built from the same `go.sum`.
pub(crate) async fn go(module: &str, package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("modules")
        .join(module);
    let sums = std::fs::read(source.join("go.sum")).context("reading go.sum")?;
    let cache = cache()?;
    std::fs::create_dir_all(&cache)?;
    // Whoever comes second waits, and finds it built.
    let lock = File::create(cache.join(".lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let (program, built_from) = (cache.join(name), cache.join(format!("{name}.sum")));
    if program.is_file() && std::fs::read(&built_from).is_ok_and(|before| before == sums) {
        return Ok(program);
    }
    eprintln!("building {name} with go, once, into {}", cache.display());
    let output = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", "-s -w", "-o"])
        .arg(&program)
        .arg(package)
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .output()
        .await
        .context("running go; is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go build {package}: {said}");
    std::fs::write(&built_from, sums)?;
    Ok(program)
}

fn cache() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
    let base = base.context("HOME is not set, so there is no ~/.cache to build into")?;
    Ok(base.join("mesh/conformance"))
}

/// Whether the machine has a program of this name.
pub(crate) fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Runs a program to its end, which must come in time.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Ok(output) => output.context("running it"),
        Err(_) => bail!("it did not end within {limit:?}"),
    }
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) async fn succeed(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let output = run(command, limit).await?;
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.trim().lines().next_back().unwrap_or_default();
    ensure!(output.status.success(), "{}: {last}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
