//! What a run needs: our binary in the profile that ships, the peers' binaries, the shim. Each is
//! made or fetched once and kept in `~/.cache/mesh`.

mod peers;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

pub(crate) use peers::{Haproxy, envoy, haproxy};

/// Builds a binary of this repository as images ship it; returns where it is.
pub(crate) fn dist(package: &str, binary: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--profile", "dist", "--message-format", "json"])
        .args(["-p", package, "--bin", binary])
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{binary} cannot be built");
    let text = String::from_utf8_lossy(&output.stdout);
    executable(&text, binary).with_context(|| format!("cargo does not say where {binary} is"))
}

/// Where cargo says that a binary is.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        Some(PathBuf::from(path))
    });
    messages.rfind(|path| path.file_name().is_some_and(|name| name == binary))
}

/// Compiles the shim into `dir`.
pub(crate) fn shim(dir: &Path) -> anyhow::Result<PathBuf> {
    let source = dir.join("original_dst.c");
    std::fs::write(&source, include_str!("../../shim/original_dst.c"))?;
    let library = dir.join("original_dst.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O2", "-o"]);
    command.arg(&library).arg(&source).arg("-ldl");
    run(command)?;
    Ok(library)
}

/// Where what was fetched is kept.
fn cache() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let cache = base.join("mesh").join("peers");
    std::fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Runs a command to its end; an error tells what it printed.
fn run(mut command: Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {program}; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_binary_is() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
not json
{"reason":"compiler-artifact","executable":"/t/dist/other"}
{"reason":"compiler-artifact","executable":"/t/dist/mesh-proxy"}"#;
        let found = executable(messages, "mesh-proxy");
        assert_eq!(found, Some(PathBuf::from("/t/dist/mesh-proxy")));
        assert_eq!(executable(messages, "mesh"), None);
    }
}
