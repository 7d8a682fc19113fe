//! What a run needs: our binary in the profile that ships, the peers' binaries, the shim. Each is
//! made or fetched once and kept in `~/.cache/mesh`.

mod peers;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

pub(crate) use peers::{Haproxy, envoy, haproxy};

/// Builds the sidecar as images have it (`images/static`), with the shim linked in: nothing can be
/// preloaded into a static binary. Returns where it is.
pub(crate) fn sidecar() -> anyhow::Result<PathBuf> {
    let shim = object()?;
    let mut cargo = cargo();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    cargo.env(
        "RUSTFLAGS",
        format!("{flags} -C target-feature=+crt-static"),
    );
    cargo.arg("rustc").args(["--target", &host()?]);
    let link = format!("link-arg={}", shim.display());
    build(cargo, "mesh-gateway", "mesh-proxy", &["--", "-C", &link])
}

/// Builds this program itself in the profile that images ship.
pub(crate) fn bench() -> anyhow::Result<PathBuf> {
    let mut cargo = cargo();
    cargo.arg("build");
    build(cargo, "bench", "bench", &[])
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `cargo` for one binary in the profile `dist`.
fn build(
    mut cargo: Command,
    package: &str,
    binary: &str,
    more: &[&str],
) -> anyhow::Result<PathBuf> {
    cargo
        .args(["--profile", "dist", "--message-format", "json"])
        .args(["-p", package, "--bin", binary])
        .args(more)
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{binary} cannot be built");
    let text = String::from_utf8_lossy(&output.stdout);
    executable(&text, binary).with_context(|| format!("cargo does not say where {binary} is"))
}

/// This machine's target, as cargo calls it.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output();
    let output = output.context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
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

const SHIM: &str = include_str!("../../shim/original_dst.c");

/// Compiles the shim into `dir` as a library to preload.
pub(crate) fn shim(dir: &Path) -> anyhow::Result<PathBuf> {
    let library = dir.join("original_dst.so");
    compile(dir, &library, &["-shared", "-fPIC", "-O2"])?;
    Ok(library)
}

/// Compiles the shim as an object to link with. Its name changes with it, for cargo to notice.
fn object() -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    SHIM.hash(&mut hasher);
    let dir = cache()?;
    let object = dir.join(format!("original_dst-{:016x}.o", hasher.finish()));
    compile(&dir, &object, &["-c", "-fPIC", "-O2"])?;
    Ok(object)
}

fn compile(dir: &Path, into: &Path, flags: &[&str]) -> anyhow::Result<()> {
    let source = dir.join("original_dst.c");
    std::fs::write(&source, SHIM)?;
    let mut command = Command::new("cc");
    command.args(flags).arg("-o").arg(into).arg(&source);
    run(command)
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
