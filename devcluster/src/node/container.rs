//! What a container of the `netns` network sees. Pure; what it may do is `privileges.rs`'s business.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::disk::PodDir;
use super::environment::Mounts;
use super::privileges::{self, PrivilegeError};
use super::room::{Container, Mount};

/// Where containers find what the API server's clients need, as in every cluster.
pub(super) const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The program an image stands for: its own folders may be shut to the container's user.
const IMAGE_DIR: &str = "/run/mesh/image";
/// And the one it becomes, which may have the same name.
const BECOMES_DIR: &str = "/run/mesh/becomes";

/// The parts a container is made of.
pub(super) struct Parts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) spec: &'a Spec,
    pub(super) dir: &'a PodDir,
    pub(super) mounts: &'a Mounts,
    /// None for the machine's own.
    pub(super) network: Option<PathBuf>,
    /// Programs of this machine the container runs.
    pub(super) programs: &'a [&'a Path],
    /// The program the image's own one becomes.
    pub(super) becomes: Option<&'a Path>,
    /// The folder with the account's token is there.
    pub(super) has_account: bool,
}

/// Puts a container together.
pub(super) fn container(parts: &Parts<'_>) -> Result<Container, PrivilegeError> {
    let mut mounts = vec![
        read_only(parts.dir.resolv_conf(), "/etc/resolv.conf"),
        read_only(parts.dir.hosts(), "/etc/hosts"),
    ];
    for program in parts.programs {
        mounts.push(read_only(program.to_path_buf(), image_path(program)));
    }
    if let Some(program) = parts.becomes {
        mounts.push(read_only(program.to_path_buf(), becomes_path(program)));
    }
    if parts.has_account {
        mounts.push(read_only(parts.dir.kube(), ACCOUNT_DIR));
    }
    // What the pod asks for comes last, parents before what is below them.
    let mut own: Vec<Mount> = parts
        .mounts
        .iter()
        .map(|(target, source)| own(parts.spec, target, source))
        .collect();
    own.sort_by(|a, b| a.target.cmp(&b.target));
    mounts.retain(|mount| !own.iter().any(|o| o.target == mount.target));
    mounts.extend(own);
    Ok(Container {
        network: parts.network.clone(),
        mounts,
        privileges: privileges::read(parts.pod, parts.spec)?,
    })
}

/// Where a container finds a program of this machine.
pub(super) fn image_path(program: &Path) -> PathBuf {
    Path::new(IMAGE_DIR).join(program.file_name().unwrap_or_default())
}

/// Where a container finds the program its image's own one becomes.
pub(super) fn becomes_path(program: &Path) -> PathBuf {
    Path::new(BECOMES_DIR).join(program.file_name().unwrap_or_default())
}

fn read_only(source: PathBuf, target: impl Into<PathBuf>) -> Mount {
    Mount {
        source,
        target: target.into(),
        read_only: true,
    }
}

fn own(spec: &Spec, target: &str, source: &Path) -> Mount {
    let mut mounts = spec.volume_mounts.iter().flatten();
    let asked = mounts.find(|m| m.mount_path.trim_end_matches('/') == target);
    Mount {
        source: source.to_owned(),
        target: target.into(),
        read_only: asked.and_then(|m| m.read_only) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(spec: serde_json::Value) -> Container {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": []}})).unwrap();
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let dir = PodDir::new(Path::new("/state"), "u").unwrap();
        let mounts = Mounts::new(&spec, &["v", "w"], &dir.volumes()).unwrap();
        container(&Parts {
            pod: &pod,
            spec: &spec,
            dir: &dir,
            mounts: &mounts,
            network: Some("/run/netns/x".into()),
            programs: &[Path::new("/opt/mesh")],
            becomes: None,
            has_account: true,
        })
        .unwrap()
    }

    #[test]
    fn a_pods_own_mount_takes_the_place_of_the_nodes() {
        let made = made(json!({"name": "c", "volumeMounts": [
            {"name": "v", "mountPath": "/data/deep", "subPath": "s"},
            {"name": "w", "mountPath": "/data", "readOnly": true},
            {"name": "v", "mountPath": ACCOUNT_DIR}]}));
        let seen: Vec<(&str, &str, bool)> = made
            .mounts
            .iter()
            .map(|m| {
                (
                    m.source.to_str().unwrap(),
                    m.target.to_str().unwrap(),
                    m.read_only,
                )
            })
            .collect();
        let volumes = "/state/pods/u/volumes";
        assert_eq!(seen[2], ("/opt/mesh", "/run/mesh/image/mesh", true));
        assert_eq!(seen[3], (&*format!("{volumes}/w"), "/data", true));
        assert_eq!(seen[4], (&*format!("{volumes}/v/s"), "/data/deep", false));
        assert_eq!(seen[5], (&*format!("{volumes}/v"), ACCOUNT_DIR, false));
        assert_eq!(seen.len(), 6);
    }
}
