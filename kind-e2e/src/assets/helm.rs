//! Helm, which renders our charts.

use super::{Error, build};
use std::path::PathBuf;
use std::process::Command;

const MODULE: &str = "helm.sh/helm/v3/cmd/helm@v3.19.0";

/// `$HELM`, the one in `PATH`, or one built once into `~/.cache/mesh/tools/bin`.
pub(super) fn find() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("HELM") {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = build::base()?.join("mesh/tools/bin");
    let built = tools.join("helm");
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("helm"));
    if let Some(found) = on_path.chain([built.clone()]).find(|path| path.is_file()) {
        return Ok(found);
    }
    eprintln!(
        "building {MODULE} once, into {} (some minutes)",
        tools.display()
    );
    let status = Command::new("go")
        .args(["install", MODULE])
        .env("GOBIN", &tools)
        .env("CGO_ENABLED", "0")
        .status();
    match status {
        Ok(status) if status.success() => Ok(built),
        Ok(status) => Err(Error::Helm(format!(
            "go install {MODULE} ended with {status}"
        ))),
        Err(error) => Err(Error::Helm(format!("no `go` to build it with: {error}"))),
    }
}
