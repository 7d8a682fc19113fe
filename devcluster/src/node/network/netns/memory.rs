//! Volumes in memory: a tmpfs for each, below a folder of the cluster's that no crash and no
//! removed state folder takes out of sight. What is written there is on no disk, and ends with
//! the pod.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::node::disk::create_dir;

/// Makes a volume of at most `limit` bytes (without one, half of the machine's memory); one that is
/// there already stays as it is.
pub(super) fn make(at: &Path, limit: Option<u64>) -> io::Result<()> {
    create_dir(at)?;
    if is_mounted(at)? {
        return Ok(());
    }
    let size = limit.map(|bytes| format!(",size={bytes}"));
    let options = format!("mode=0777{}", size.unwrap_or_default());
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    Ok(mount(
        "tmpfs",
        at,
        "tmpfs",
        flags,
        Some(options.as_c_str()),
    )?)
}

/// Removes the volumes of all pods of a cluster's folder but those `keep` names by their uid.
pub(super) fn remove_all_but(cluster: &Path, keep: impl Fn(&str) -> bool) {
    for pod in entries(cluster) {
        if !pod
            .file_name()
            .and_then(|uid| uid.to_str())
            .is_some_and(&keep)
        {
            remove(&pod);
        }
    }
    // Not there, or of use to a pod that is kept.
    let _still_used = fs::remove_dir(cluster);
}

/// Removes the volumes of one pod.
pub(super) fn remove(pod: &Path) {
    for volume in entries(pod) {
        let removed = let_go(&volume).and_then(|()| fs::remove_dir(&volume));
        if let Err(error) = removed {
            tracing::warn!(volume = %volume.display(), %error, "cannot remove a volume in memory");
        }
    }
    match fs::remove_dir(pod) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(pod = %pod.display(), %error, "cannot remove the folder of a pod's volumes in memory");
        }
        _ => {}
    }
}

fn let_go(volume: &Path) -> io::Result<()> {
    loop {
        match unmount(volume, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Nothing is mounted there any more.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_mounted(at: &Path) -> io::Result<bool> {
    let above = at.parent().unwrap_or(at);
    Ok(rustix::fs::stat(at)?.st_dev != rustix::fs::stat(above)?.st_dev)
}

fn entries(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}
