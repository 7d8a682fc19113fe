//! The `mesh` that is tested: built here, as the test itself was, or named by `MESH_E2E_MESH`.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a binary to test in place of building one.
const GIVEN: &str = "MESH_E2E_MESH";

/// Its path. Built once for all worlds.
pub fn mesh() -> &'static Path {
    static MESH: OnceLock<PathBuf> = OnceLock::new();
    MESH.get_or_init(|| match std::env::var_os(GIVEN) {
        Some(path) => std::fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("{GIVEN}={}: {error}", path.display())),
        None => build(),
    })
}

/// With this test's profile, into its target folder, so that nothing is built twice.
fn build() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // <target>[/<triple>]/<profile>/deps/<test>
    let folder = own.parent().and_then(Path::parent).unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} is not in a target folder", own.display()),
    };
    let target = folder.parent().unwrap();
    eprintln!(
        "building mesh: cargo build -p mesh-cli --profile {profile} ({GIVEN}=FILE tests another)"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "-p", "mesh-cli", "--bin", "mesh"])
        .args([
            "--profile",
            profile,
            "--message-format=json-render-diagnostics",
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "mesh cannot be built: see above");
    let messages = String::from_utf8(built.stdout).unwrap();
    let found = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .find(|path| path.file_name().is_some_and(|name| name == "mesh"));
    found.unwrap_or_else(|| panic!("cargo did not say where mesh is"))
}
