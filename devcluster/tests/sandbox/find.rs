//! Finds a stock kubectl, or builds one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `$KUBECTL`, `$KUBEBUILDER_ASSETS/kubectl`, `PATH`, or one built once with Go.
pub fn kubectl() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("KUBECTL").map(PathBuf::from) {
        return works(&path)
            .then_some(path.clone())
            .ok_or_else(|| format!("KUBECTL={} does not run", path.display()));
    }
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(|d| Path::new(&d).join("kubectl"));
    let on_path = std::env::var_os("PATH").map(|path| {
        std::env::split_paths(&path)
            .map(|d| d.join("kubectl"))
            .collect::<Vec<_>>()
    });
    let candidates = assets.into_iter().chain(on_path.into_iter().flatten());
    match candidates
        .into_iter()
        .find(|path| path.is_file() && works(path))
    {
        Some(path) => Ok(path),
        None => build(),
    }
}

fn works(path: &Path) -> bool {
    let output = Command::new(path)
        .args(["version", "--client", "-o", "json"])
        .output();
    output.is_ok_and(|o| o.status.success())
}

fn build() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .ok_or("HOME is not set")?;
    let target = home.join(".cache/mesh/kubectl-v0.34.2");
    if works(&target) {
        return Ok(target);
    }
    let nothing = "there is no kubectl ($KUBECTL, $KUBEBUILDER_ASSETS, PATH)";
    if !Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        return Err(format!("{nothing} and no go to build one with"));
    }
    eprintln!(
        "{nothing}: building one with go, once, into {}",
        target.display()
    );
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl");
    std::fs::create_dir_all(home.join(".cache/mesh")).map_err(|e| e.to_string())?;
    // Under another name first: two test runs may build at once.
    let unfinished = target.with_extension(format!("{}.tmp", std::process::id()));
    let built = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&unfinished)
        .arg(".")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .output()
        .map_err(|e| format!("running go: {e}"))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!(
            "{nothing}, and building one failed: {}",
            why.trim()
        ));
    }
    std::fs::rename(&unfinished, &target).map_err(|e| e.to_string())?;
    Ok(target)
}
