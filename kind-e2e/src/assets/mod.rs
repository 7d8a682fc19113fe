//! Where the binaries of Kubernetes are.
//!
//! In this order: `KUBEBUILDER_ASSETS` (the folder the ecosystem's test tools agree on), what an
//! earlier call built, and a build from the Go modules named in `modules/`. kubectl alone needs
//! none of the others, and is also taken from `KUBECTL` or `PATH`.

mod build;
mod helm;

use std::path::{Path, PathBuf};
use std::process::Command;

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Stores everything.
    Etcd,
    /// Serves the API.
    ApiServer,
    /// Brings about what objects say.
    ControllerManager,
    /// The command users type.
    Kubectl,
}

impl Program {
    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }
}

/// Where everything a control plane needs is.
#[derive(Clone, Debug)]
pub struct Assets {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub apiserver: PathBuf,
    /// kube-controller-manager.
    pub controller_manager: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
}

/// Why there are no binaries.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The environment names a folder that lacks one.
    #[error("KUBEBUILDER_ASSETS={folder} has no {program}; add it, or unset the variable to have \
             it built", program = program.name())]
    NotInFolder {
        /// The folder.
        folder: String,
        /// What it lacks.
        program: Program,
    },
    /// The environment names a program that is none.
    #[error("{variable}={path} does not run")]
    DoesNotRun {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: String,
    },
    /// Nothing to build with.
    #[error("there is no {program} (KUBEBUILDER_ASSETS is unset) and no `go` to build it with",
            program = program.name())]
    NoGo {
        /// What is missing.
        program: Program,
    },
    /// The build failed.
    #[error("building {program} failed: {why}", program = program.name())]
    Build {
        /// What was built.
        program: Program,
        /// What the compiler said, shortened.
        why: String,
    },
    /// No Helm.
    #[error("there is no helm in PATH (HELM names one), and {0}")]
    Helm(String),
    /// Files could not be made.
    #[error("cannot keep binaries under {place}: {why}; XDG_CACHE_HOME moves them elsewhere")]
    Cache {
        /// The folder.
        place: String,
        /// The cause.
        why: String,
    },
}

/// All of them, built where they are missing.
pub fn all() -> Result<Assets, Error> {
    Ok(Assets {
        etcd: one(Program::Etcd)?,
        apiserver: one(Program::ApiServer)?,
        controller_manager: one(Program::ControllerManager)?,
        kubectl: one(Program::Kubectl)?,
    })
}

fn one(program: Program) -> Result<PathBuf, Error> {
    match std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
        Some(folder) => in_folder(Path::new(&folder), program),
        None => build::built(program, &build::cache()?),
    }
}

fn in_folder(folder: &Path, program: Program) -> Result<PathBuf, Error> {
    let path = folder.join(program.name());
    if path.is_file() {
        return Ok(path);
    }
    let folder = folder.display().to_string();
    Err(Error::NotInFolder { folder, program })
}

/// A stock kubectl, whichever is there: `KUBECTL`, `KUBEBUILDER_ASSETS`, `PATH`, or one built.
pub fn kubectl() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("KUBECTL").map(PathBuf::from) {
        let refused = Error::DoesNotRun {
            variable: "KUBECTL",
            path: path.display().to_string(),
        };
        return runs(&path).then_some(path).ok_or(refused);
    }
    let split = |name| {
        let value = std::env::var_os(name).unwrap_or_default();
        std::env::split_paths(&value).collect::<Vec<_>>()
    };
    let folders = [split("KUBEBUILDER_ASSETS"), split("PATH")].concat();
    let found = folders
        .iter()
        .map(|folder| folder.join(Program::Kubectl.name()))
        .find(|path| path.is_file() && runs(path));
    match found {
        Some(path) => Ok(path),
        None => build::built(Program::Kubectl, &build::cache()?),
    }
}

/// Helm, wherever it is; built where it is not there.
pub fn helm() -> Result<PathBuf, Error> {
    helm::find()
}

fn runs(kubectl: &Path) -> bool {
    let output = Command::new(kubectl)
        .args(["version", "--client", "-o", "json"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// The release of Kubernetes that is built.
pub fn release() -> &'static str {
    build::release(Program::ApiServer)
}

#[cfg(test)]
mod tests;
