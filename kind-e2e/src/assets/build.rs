//! Builds a binary from Go modules, once, whatever is interrupted and however many ask at once.
//!
//! A build happens in a folder of its own and its outcome is renamed into the cache, so that what
//! the cache holds is whole; a lock file makes others wait instead of building too.

use super::{Error, Program};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KUBERNETES: &str = include_str!("../../modules/kubernetes/go.mod");
const ETCD: &str = include_str!("../../modules/etcd/go.mod");

/// How often a build says that it goes on.
const PROGRESS: Duration = Duration::from_secs(15);
/// How much of what a failed build said is told.
const TOLD: usize = 2000;

/// What to build, and from which module.
struct Source {
    folder: &'static str,
    go_mod: &'static str,
    module: &'static str,
    package: &'static str,
}

fn source(program: Program) -> Source {
    let kubernetes = |package| Source {
        folder: "kubernetes",
        go_mod: KUBERNETES,
        module: "k8s.io/kubernetes",
        package,
    };
    match program {
        Program::Etcd => Source {
            folder: "etcd",
            go_mod: ETCD,
            module: "go.etcd.io/etcd/server/v3",
            package: "go.etcd.io/etcd/server/v3",
        },
        Program::ApiServer => kubernetes("k8s.io/kubernetes/cmd/kube-apiserver"),
        Program::ControllerManager => kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager"),
        Program::Kubectl => kubernetes("k8s.io/kubernetes/cmd/kubectl"),
    }
}

/// The release its go.mod requires.
pub(super) fn release(program: Program) -> &'static str {
    let source = source(program);
    let versions = source.go_mod.lines().filter_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split(' ');
        (words.next() == Some(source.module)).then(|| words.next())?
    });
    versions.into_iter().next().unwrap_or("unknown")
}

/// The user's folder of caches.
pub(super) fn base() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
    base.ok_or_else(|| Error::Cache {
        place: "~/.cache".into(),
        why: "HOME is not set".into(),
    })
}

/// The folder built binaries are kept in: `<cache>/mesh/k8s/<release of Kubernetes>`.
pub(super) fn cache() -> Result<PathBuf, Error> {
    Ok(base()?.join("mesh/k8s").join(release(Program::ApiServer)))
}

/// A program in the cache folder, built if it is not there.
pub(super) fn built(program: Program, cache: &Path) -> Result<PathBuf, Error> {
    let target = cache.join(file_name(program));
    if target.is_file() {
        return Ok(target);
    }
    let go = Command::new("go").arg("version").output();
    if !go.is_ok_and(|output| output.status.success()) {
        return Err(Error::NoGo { program });
    }
    let failed = |error: std::io::Error| Error::Cache {
        place: cache.display().to_string(),
        why: error.to_string(),
    };
    std::fs::create_dir_all(cache).map_err(failed)?;
    let _lock = lock(&cache.join(".lock")).map_err(failed)?;
    if target.is_file() {
        return Ok(target); // by whom we waited for
    }
    sweep(cache);
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(cache)
        .map_err(failed)?;
    let output = unfinished.path().join(program.name());
    build(program, &output, cache)?;
    std::fs::rename(&output, &target).map_err(failed)?;
    Ok(target)
}

const UNFINISHED: &str = "unfinished-";

/// etcd has releases of its own.
fn file_name(program: Program) -> String {
    match program {
        Program::Etcd => format!("etcd-{}", release(program)),
        _ => program.name().to_owned(),
    }
}

/// Holds the lock until it is dropped, or the process ends.
fn lock(path: &Path) -> std::io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("another run builds the Kubernetes binaries; waiting for it");
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

/// Removes what killed builds left; the lock is held, so nobody works there.
fn sweep(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // What cannot be removed does no harm either.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn build(program: Program, output: &Path, cache: &Path) -> Result<(), Error> {
    let (source, release) = (source(program), release(program));
    let name = program.name();
    let failed = |why: String| Error::Build { program, why };
    eprintln!(
        "building {name} {release} with go, once, into {} (minutes when nothing is cached)",
        cache.display()
    );
    let started = Instant::now();
    let mut child = Command::new("go")
        .args([
            "build",
            "-v",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
        ])
        .args(["-ldflags", &linker_flags(release), "-o"])
        .arg(output)
        .arg(source.package)
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("modules")
                .join(source.folder),
        )
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("running go: {error}")))?;
    let said = child
        .stderr
        .take()
        .map(|stderr| follow(stderr, name, started));
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(said.unwrap_or_default()));
    }
    eprintln!("built {name} in {} s", started.elapsed().as_secs());
    Ok(())
}

/// The release is what `kubectl version` and the API server tell.
fn linker_flags(release: &str) -> String {
    let mut numbers = release.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", release),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

/// Tells now and then how far the compiler is; returns what else it said.
fn follow(stderr: impl Read, name: &str, started: Instant) -> String {
    let (mut packages, mut said, mut told) = (0, String::new(), Instant::now());
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // `-v` prints a package a line; complaints have spaces.
        if line.contains(' ') {
            if said.len() < TOLD && !line.starts_with("go: downloading") {
                said.push_str(&line);
                said.push('\n');
            }
        } else {
            packages += 1;
        }
        if told.elapsed() > PROGRESS {
            let seconds = started.elapsed().as_secs();
            eprintln!("  {name}: {packages} packages compiled, {seconds} s");
            told = Instant::now();
        }
    }
    said
}
