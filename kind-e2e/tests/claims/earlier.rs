//! The control plane as the commit before this one described it: its charts, out of git, rendered by
//! Helm.

use crate::typed;
use crate::worlds::{Flavour, Missing, World};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const BEFORE: &str = "HEAD^";
/// An annotation of every pod of what is rendered here.
pub const MARK: &str = "earlier";
const PATIENCE: Duration = Duration::from_secs(60);

/// What keeps it from being known here.
pub fn missing(_: Flavour) -> Option<Missing> {
    if let Err(error) = kind_e2e::assets::helm() {
        let (why, fatal) = (error.to_string(), kind_e2e::required());
        return Some(Missing { why, fatal });
    }
    let commit = format!("{BEFORE}:charts/mesh-control-plane");
    let found = git(&["rev-parse", "--verify", "--quiet", &commit]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return None;
    }
    // A shallow clone, or no clone at all.
    let why = format!("git has no {commit}: there is no commit before this one here");
    Some(Missing { why, fatal: false })
}

fn git(args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(["-C", SOURCE]).args(args);
    command
}

fn run(command: Command, input: &str) -> String {
    let what = format!("{command:?}");
    let output = typed::run(command, input, PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

impl World {
    /// What the `mesh install` of the commit before this printed for `cluster` and its trust.
    pub fn earlier_control_plane(&self, cluster: &str) -> String {
        let charts = self.file("earlier");
        checked_out(&charts);
        let rendered = ["mesh-crds", "mesh-control-plane"].map(|chart| {
            let mut helm = Command::new(kind_e2e::assets::helm().unwrap());
            helm.args(["template", "earlier", "--namespace=linkerd"])
                .args(["--kube-version", kind_e2e::assets::release()])
                .arg(charts.join("charts").join(chart))
                .current_dir(self.dir());
            if chart == "mesh-control-plane" {
                for (value, file) in [
                    ("identityTrustAnchorsPEM", "ca.crt".to_owned()),
                    ("identity.issuer.tls.crtPEM", format!("{cluster}.crt")),
                    ("identity.issuer.tls.keyPEM", format!("{cluster}.key")),
                ] {
                    helm.arg(format!("--set-file={value}={file}"));
                }
                helm.args(self.install_flags().split_whitespace());
                helm.arg(format!("--set=podAnnotations.{MARK}=yes-it-is"));
            }
            run(helm, "")
        });
        // Charts say what `mesh install` says, but for who says it.
        rendered.join("\n---\n").replace("mesh/helm", "mesh/cli")
    }
}

/// The charts of the commit before this one, in this folder.
fn checked_out(folder: &Path) {
    let paths = run(
        git(&["ls-tree", "-r", "--name-only", BEFORE, "charts/"]),
        "",
    );
    assert!(paths.contains("values.yaml"), "{paths}");
    for path in paths.lines() {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let content = run(git(&["show", &format!("{BEFORE}:{path}")]), "");
        fs::write(file, content).unwrap();
    }
}
