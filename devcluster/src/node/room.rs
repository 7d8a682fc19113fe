//! Where a process runs: on the machine as it is, in a container of its own, or in the container
//! of a process that lives. Called when a process is started; knows nothing of pods.
//!
//! A container is a network namespace that others made, and a mount namespace made for it: this
//! machine's files as they are, under a layer that takes what is written, with volumes mounted
//! where the pod wants them. Processes, users and devices are the machine's own.
//!
//! Namespaces belong to threads. A thread is made, moves in, starts the process, which inherits
//! where it is, and ends.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind_recursive, mount_change, mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, capabilities,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities,
};

use super::privileges::{Privileges, User};

/// Where containers' files come together; each sees its own there, and nobody else's.
const STAGE: &str = "/run/mesh/root";
/// Where pods' volumes in memory are mounted. A container gets its own, and would keep the others
/// alive.
pub(super) const MEMORY: &str = "/run/mesh/volumes";
/// What a machine's daemons keep is not a container's, nor are the names of network namespaces,
/// which would keep them alive; pods' secrets go there.
const RUN: &str = "/run";

/// Where a process runs.
#[derive(Clone, Debug, Default)]
pub(super) enum Room {
    /// The machine as it is.
    #[default]
    Machine,
    /// A new container.
    New(Box<Container>),
    /// The container of a live process.
    Of { pid: i32, ticks: u64 },
}

/// A container to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Container {
    /// The network namespace's file; the machine's own network if there is none.
    pub(super) network: Option<PathBuf>,
    pub(super) mounts: Vec<Mount>,
    pub(super) privileges: Privileges,
}

/// A file or folder of this machine, and where the container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

/// A container's folder as the container names it.
pub(super) fn seen_inside(path: PathBuf) -> PathBuf {
    match path.strip_prefix(Path::new(STAGE).join("root")) {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => path,
    }
}

/// Starts `command` there.
pub(super) fn spawn(mut command: Command, room: &Room) -> io::Result<Child> {
    match room {
        Room::Machine => command.spawn(),
        Room::New(container) => {
            become_user(&mut command, container.privileges.user);
            elsewhere(|| container.enter(), || command.spawn())
        }
        Room::Of { pid, ticks } => {
            let inside = Inside::of(*pid, *ticks)?;
            become_user(&mut command, inside.user);
            elsewhere(|| inside.enter(), || command.spawn())
        }
    }
}

/// Connects and does the like in a network namespace.
pub(super) fn in_network<T: Send>(
    network: &Path,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    elsewhere(|| enter_network(network), act)
}

fn become_user(command: &mut Command, user: User) {
    if let Some(gid) = user.gid {
        command.gid(gid);
    }
    if let Some(uid) = user.uid {
        command.uid(uid);
    }
}

/// Acts in a thread that went somewhere first.
fn elsewhere<T: Send>(
    enter: impl FnOnce() -> io::Result<()> + Send,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter()?;
            act()
        });
        let failed = |_| io::Error::other("the thread that enters namespaces failed");
        thread.join().map_err(failed)?
    })
}

fn enter_network(network: &Path) -> io::Result<()> {
    let file = File::open(network).map_err(|e| named(e, "network namespace", network))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| named(e.into(), "network namespace", network))
}

#[allow(
    deprecated,
    reason = "its fault is UnshareFlags::FILES, which is never asked for"
)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

impl Container {
    fn enter(&self) -> io::Result<()> {
        if let Some(network) = &self.network {
            enter_network(network)?;
        }
        unshare(UnshareFlags::NEWNS)?;
        // What is mounted from here on stays here; what the machine unmounts is gone here too.
        mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )?;
        // Taken before the machine's own paths are out of sight.
        let sources = self.mounts.iter().map(source);
        let sources: Vec<OwnedFd> = sources.collect::<io::Result<_>>()?;
        own_files()?;
        for (mount, source) in self.mounts.iter().zip(sources) {
            mount.place(&source)?;
        }
        if self.privileges.read_only_files {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            mount_remount("/", flags, "").map_err(|e| named(e.into(), "mount", Path::new("/")))?;
        }
        if self.privileges.no_new {
            rustix::thread::set_no_new_privs(true)?;
        }
        keep_capabilities(self.privileges.capabilities)
    }
}

/// What root may do in whatever this thread starts.
fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let own = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            inheritable: CapabilitySet::empty(),
            ..own
        },
    )?;
    for capability in CapabilitySet::all().iter().filter(|c| !kept.contains(*c)) {
        match remove_capability_from_bounding_set(capability) {
            // One this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// This machine's files, with a layer of memory above that takes what is written.
fn own_files() -> io::Result<()> {
    let stage = Path::new(STAGE);
    make_dir(stage)?;
    mount(
        "tmpfs",
        stage,
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=0755"),
    )?;
    for name in ["upper", "work", "root"] {
        make_dir(&stage.join(name))?;
    }
    let root = stage.join("root");
    let layers = format!("lowerdir=/,upperdir={STAGE}/upper,workdir={STAGE}/work");
    let layers = std::ffi::CString::new(layers).map_err(io::Error::other)?;
    mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::empty(),
        Some(layers.as_c_str()),
    )
    .map_err(|e| {
        io::Error::other(format!(
            "cannot give a container files of its own (is overlayfs in this kernel?): {e}"
        ))
    })?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    for path in mount_points(&mountinfo).filter(|path| path.starts_with(MEMORY)) {
        // Gone meanwhile with its pod, maybe.
        let _gone = unmount(&path, UnmountFlags::DETACH);
    }
    // The layer below is the root file system alone.
    for path in other_mounts(&mountinfo) {
        let there = root.join(path.strip_prefix("/").unwrap_or(&path));
        let placed = mount_bind_recursive(&path, &there);
        if let Err(error) = placed {
            tracing::debug!(path = %path.display(), %error, "a container does without a mount");
        }
    }
    chroot(&root)?;
    Ok(chdir("/")?)
}

fn mount_points(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    let paths = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    paths.map(|path| PathBuf::from(unescape(path)))
}

/// Mount points right below the root file system, those that containers get. Pure.
fn other_mounts(mountinfo: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = mount_points(mountinfo)
        .filter(|path| path != Path::new("/"))
        .filter(|path| !path.starts_with(RUN))
        .collect();
    paths.sort();
    let mut top: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !top.iter().any(|above| path.starts_with(above)) {
            top.push(path);
        }
    }
    top
}

/// `\040` and the like, as the kernel writes a blank.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn source(mount: &Mount) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, &mount.source, flags).map_err(|e| named(e.into(), "mount", &mount.source))
}

impl Mount {
    fn place(&self, source: &OwnedFd) -> io::Result<()> {
        let failed = |e: io::Error| named(e, "mount at", &self.target);
        let stat = rustix::fs::fstat(source).map_err(|e| failed(e.into()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            make_dir(&self.target).map_err(failed)?;
        } else {
            self.file_to_cover().map_err(failed)?;
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(source, "", CWD, &self.target, flags).map_err(|e| failed(e.into()))?;
        if self.read_only {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            mount_remount(&self.target, flags, "").map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }
}

impl Mount {
    /// A file is mounted on a file. A link (as `/etc/resolv.conf` is on many machines) would lead
    /// away from where the pod looks.
    fn file_to_cover(&self) -> io::Result<()> {
        if self.target.is_symlink() {
            fs::remove_file(&self.target)?;
        }
        if !self.target.exists() {
            self.target.parent().map_or(Ok(()), make_dir)?;
            File::create(&self.target)?;
        }
        Ok(())
    }
}

/// What is known of a live process's container, taken while it lives.
struct Inside {
    network: File,
    mounts: File,
    root: File,
    user: User,
    capabilities: CapabilitySet,
}

impl Inside {
    fn of(pid: i32, ticks: u64) -> io::Result<Self> {
        let open = |what: &str| {
            let path = PathBuf::from(format!("/proc/{pid}/{what}"));
            File::open(&path).map_err(|e| named(e, "container", &path))
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let inside = Self {
            network: open("ns/net")?,
            mounts: open("ns/mnt")?,
            root: open("root")?,
            user: User {
                uid: effective(&status, "Uid:"),
                gid: effective(&status, "Gid:"),
            },
            capabilities: bounding(&status),
        };
        // Looked at last: until now it was this very process.
        if super::process::start_ticks(pid)? != ticks {
            return Err(io::Error::other("the container's process has ended"));
        }
        Ok(inside)
    }

    fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?;
        // A thread that shares its root with others cannot change mount namespaces.
        unshare(UnshareFlags::FS)?;
        move_into_link_name_space(self.mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
        fchdir(&self.root)?;
        chroot(".")?;
        chdir("/")?;
        keep_capabilities(self.capabilities)
    }
}

/// The second number of a line of `/proc/<pid>/status`; root is nobody to become.
fn effective(status: &str, key: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    let id = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (id != 0).then_some(id)
}

/// What root may do, from `/proc/<pid>/status`.
fn bounding(status: &str) -> CapabilitySet {
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    let bits = line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok());
    CapabilitySet::from_bits_retain(bits.unwrap_or_default())
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn named(error: io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_every_mount_once_and_an_empty_run_folder() {
        let mountinfo = "21 1 8:1 / / rw - ext4 /dev/sda rw\n\
            22 21 0:4 / /proc rw - proc proc rw\n\
            23 22 0:5 / /proc/sys/fs/x rw - x x rw\n\
            24 21 8:1 /run/netns /run/netns rw - ext4 /dev/sda rw\n\
            25 24 0:3 net:[1] /run/netns/a rw - nsfs nsfs rw\n\
            26 21 0:9 / /with\\040blank rw - tmpfs t rw\n\
            27 21 0:9 / /run/mesh/root rw - tmpfs t rw\n";
        let paths = other_mounts(mountinfo);
        assert_eq!(paths, [Path::new("/proc"), Path::new("/with blank")]);
    }

    #[test]
    fn a_containers_user_and_powers_are_read_from_its_process() {
        let status = "Name:\tx\nUid:\t0\t2102\t0\t0\nGid:\t0\t0\t0\t0\n";
        assert_eq!(effective(status, "Uid:"), Some(2102));
        assert_eq!(effective(status, "Gid:"), None);
        let capabilities = bounding("CapEff:\t0\nCapBnd:\t0000000000003000\n");
        let kept = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        assert_eq!(capabilities, kept);
    }
}
