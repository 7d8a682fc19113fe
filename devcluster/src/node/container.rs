//! What a container of the `netns` network sees, and whom it runs as. Pure.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::disk::PodDir;
use super::environment::Mounts;
use super::room::{Container, Mount, User};

/// Where containers find what the API server's clients need, as in every cluster.
pub(super) const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The program an image stands for: its own folders may be shut to the container's user.
const IMAGE_DIR: &str = "/run/mesh/image";

/// The parts a container is made of.
pub(super) struct Parts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) spec: &'a Spec,
    pub(super) dir: &'a PodDir,
    pub(super) mounts: &'a Mounts,
    pub(super) network: PathBuf,
    /// Programs of this machine the container runs.
    pub(super) programs: &'a [&'a Path],
    /// The folder with the account's token is there.
    pub(super) has_account: bool,
}

/// Puts a container together.
pub(super) fn container(parts: &Parts<'_>) -> Container {
    let mut mounts = vec![
        read_only(parts.dir.resolv_conf(), "/etc/resolv.conf"),
        read_only(parts.dir.hosts(), "/etc/hosts"),
    ];
    for program in parts.programs {
        mounts.push(read_only(program.to_path_buf(), image_path(program)));
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
    let privileges = parts.spec.security_context.as_ref();
    Container {
        network: parts.network.clone(),
        mounts,
        user: user(parts.pod, parts.spec),
        no_new_privileges: privileges.and_then(|s| s.allow_privilege_escalation) == Some(false),
    }
}

/// Where a container finds a program of this machine.
pub(super) fn image_path(program: &Path) -> PathBuf {
    Path::new(IMAGE_DIR).join(program.file_name().unwrap_or_default())
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

/// `runAsUser` and `runAsGroup`: the container's word, or else the pod's.
fn user(pod: &Pod, spec: &Spec) -> User {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = spec.security_context.as_ref();
    let uid = own
        .and_then(|s| s.run_as_user)
        .or(of_pod.and_then(|s| s.run_as_user));
    let gid = own
        .and_then(|s| s.run_as_group)
        .or(of_pod.and_then(|s| s.run_as_group));
    let id = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
    User {
        uid: id(uid),
        gid: id(gid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(spec: serde_json::Value) -> Container {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "securityContext": {"runAsUser": 5, "runAsGroup": 6}, "containers": []}}))
        .unwrap();
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let dir = PodDir::new(Path::new("/state"), "u").unwrap();
        let mounts = Mounts::new(&spec, &["v", "w"], &dir.volumes()).unwrap();
        container(&Parts {
            pod: &pod,
            spec: &spec,
            dir: &dir,
            mounts: &mounts,
            network: "/run/netns/x".into(),
            programs: &[Path::new("/opt/mesh")],
            has_account: true,
        })
    }

    #[test]
    fn the_containers_user_wins_over_the_pods() {
        let own = made(json!({"name": "c", "securityContext": {"runAsUser": 2102,
            "allowPrivilegeEscalation": false}}));
        assert_eq!((own.user.uid, own.user.gid), (Some(2102), Some(6)));
        assert!(own.no_new_privileges);
        let pods = made(json!({"name": "c"}));
        assert_eq!((pods.user.uid, pods.no_new_privileges), (Some(5), false));
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
