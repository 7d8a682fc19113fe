//! What a container's processes may do on this machine, from its security context: whom they run as
//! and which of root's powers are left to root. Pure; `room.rs` carries it out.
//!
//! SELinux, AppArmor and seccomp are not set; neither are groups besides the first.

use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::thread::CapabilitySet;

/// Who runs what must not be root and has no user of its own, as images of that kind name one.
const NOT_ROOT: u32 = 65532;

/// What container runtimes leave to root unless told otherwise.
const USUAL: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Why a container is not started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PrivilegeError {
    #[error("container's runAsUser breaks non-root policy")]
    Root,
    #[error("unknown capability {0:?}: capabilities are named as in NET_ADMIN, without CAP_")]
    Capability(String),
}

/// Whom a container runs as; `None` is root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// What a container may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Privileges {
    pub(super) user: User,
    /// What root may do; others may do nothing of it.
    pub(super) capabilities: CapabilitySet,
    /// Nothing it starts may become more than it is.
    pub(super) no_new: bool,
    /// Only volumes take what is written.
    pub(super) read_only_files: bool,
}

impl Default for Privileges {
    fn default() -> Self {
        Self {
            user: User::default(),
            capabilities: USUAL,
            no_new: false,
            read_only_files: false,
        }
    }
}

/// Reads them; the container's word wins over the pod's.
pub(super) fn read(pod: &Pod, spec: &Container) -> Result<Privileges, PrivilegeError> {
    let own = spec.security_context.as_ref();
    Ok(Privileges {
        user: user(pod, spec)?,
        capabilities: capabilities(spec)?,
        no_new: own.and_then(|s| s.allow_privilege_escalation) == Some(false),
        read_only_files: own.and_then(|s| s.read_only_root_filesystem) == Some(true),
    })
}

fn user(pod: &Pod, spec: &Container) -> Result<User, PrivilegeError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = spec.security_context.as_ref();
    let id = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
    let uid = id(own.and_then(|s| s.run_as_user)).or(id(of_pod.and_then(|s| s.run_as_user)));
    let gid = id(own.and_then(|s| s.run_as_group)).or(id(of_pod.and_then(|s| s.run_as_group)));
    let never_root = own
        .and_then(|s| s.run_as_non_root)
        .or(of_pod.and_then(|s| s.run_as_non_root));
    match (uid, never_root) {
        (Some(0), Some(true)) => Err(PrivilegeError::Root),
        (None, Some(true)) => Ok(User {
            uid: Some(NOT_ROOT),
            gid: gid.or(Some(NOT_ROOT)),
        }),
        _ => Ok(User { uid, gid }),
    }
}

fn capabilities(spec: &Container) -> Result<CapabilitySet, PrivilegeError> {
    let own = spec.security_context.as_ref();
    if own.and_then(|s| s.privileged) == Some(true) {
        return Ok(CapabilitySet::all());
    }
    let asked = own.and_then(|s| s.capabilities.as_ref());
    let named = |names: Option<&Vec<String>>| {
        let names = names.into_iter().flatten();
        names.map(|name| named(name)).collect::<Result<Vec<_>, _>>()
    };
    let dropped = named(asked.and_then(|c| c.drop.as_ref()))?;
    let added = named(asked.and_then(|c| c.add.as_ref()))?;
    let all = |sets: Vec<CapabilitySet>| sets.into_iter().collect::<CapabilitySet>();
    let everything = CapabilitySet::all();
    let (dropped, added) = (all(dropped), all(added));
    // As runtimes do it: what is dropped by name is dropped even if all are added.
    Ok(if added == everything {
        everything.difference(dropped)
    } else if dropped == everything {
        added
    } else {
        USUAL.union(added).difference(dropped)
    })
}

fn named(name: &str) -> Result<CapabilitySet, PrivilegeError> {
    if name == "ALL" {
        return Ok(CapabilitySet::all());
    }
    CapabilitySet::from_name(name.strip_prefix("CAP_").unwrap_or(name))
        .ok_or_else(|| PrivilegeError::Capability(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(of_pod: Value, own: Value) -> Result<Privileges, PrivilegeError> {
        let pod = json!({"metadata": {}, "spec": {"securityContext": of_pod, "containers": []}});
        let spec = json!({"name": "c", "securityContext": own});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        read(&pod, &serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_containers_user_wins_over_the_pods() {
        let of_pod = json!({"runAsUser": 5, "runAsGroup": 6});
        let own = made(of_pod.clone(), json!({"runAsUser": 2102}))
            .unwrap()
            .user;
        assert_eq!((own.uid, own.gid), (Some(2102), Some(6)));
        assert_eq!(made(of_pod, json!({})).unwrap().user.uid, Some(5));
    }

    #[test]
    fn what_must_not_be_root_is_not() {
        let never = json!({"runAsNonRoot": true});
        let user = made(never.clone(), json!({})).unwrap().user;
        assert_eq!((user.uid, user.gid), (Some(NOT_ROOT), Some(NOT_ROOT)));
        let root = made(never.clone(), json!({"runAsUser": 0}));
        assert_eq!(root.unwrap_err(), PrivilegeError::Root);
        let may = made(never, json!({"runAsUser": 0, "runAsNonRoot": false}));
        assert_eq!(may.unwrap().user.uid, Some(0));
    }

    #[test]
    fn capabilities_are_what_is_added_and_not_dropped() {
        let left = |own: Value| made(json!({}), own).unwrap().capabilities;
        let of =
            |drop: Value, add: Value| left(json!({"capabilities": {"drop": drop, "add": add}}));
        assert_eq!(left(json!({})), USUAL);
        assert!(!USUAL.contains(CapabilitySet::NET_ADMIN));
        assert_eq!(
            of(json!(["ALL"]), json!(["NET_ADMIN", "CAP_NET_RAW"])),
            CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW
        );
        assert_eq!(of(json!(["ALL"]), json!([])), CapabilitySet::empty());
        assert!(!of(json!(["CHOWN"]), json!([])).contains(CapabilitySet::CHOWN));
        assert!(!of(json!(["CHOWN"]), json!(["ALL"])).contains(CapabilitySet::CHOWN));
        assert_eq!(left(json!({"privileged": true})), CapabilitySet::all());
        let unknown = json!({"capabilities": {"add": ["NET_ADMINS"]}});
        let error = made(json!({}), unknown).unwrap_err();
        assert_eq!(error, PrivilegeError::Capability("NET_ADMINS".into()));
    }
}
