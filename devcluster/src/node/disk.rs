//! The agent's folder: one folder per pod with its record, volumes, working folders and logs.
//!
//! ```text
//! <state dir>/hosts
//! <state dir>/pods/<uid>/pod.json               what the next start of the agent must know
//!                        volumes/<volume>/…     see volumes.rs
//!                        kube/config            how the pod's processes reach the API server
//!                        resolv.conf, hosts     in the netns network
//!                        containers/<name>/work working folder and HOME
//!                        containers/<name>/<attempt>.log
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::model::PodRecord;

/// One pod's folder.
#[derive(Clone, Debug)]
pub(super) struct PodDir(PathBuf);

impl PodDir {
    /// The folder of the pod with this uid; refuses a uid that is not one plain component.
    pub(super) fn new(state_dir: &Path, uid: &str) -> io::Result<Self> {
        Ok(Self(state_dir.join("pods").join(plain(uid)?)))
    }

    pub(super) fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    pub(super) fn kube(&self) -> PathBuf {
        self.0.join("kube")
    }

    /// The pod's resolver configuration.
    pub(super) fn resolv_conf(&self) -> PathBuf {
        self.0.join("resolv.conf")
    }

    /// The pod's own hosts file.
    pub(super) fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    pub(super) fn work(&self, container: &str) -> io::Result<PathBuf> {
        Ok(self.container(container)?.join("work"))
    }

    pub(super) fn log(&self, container: &str, attempt: u32) -> io::Result<PathBuf> {
        Ok(self.container(container)?.join(format!("{attempt}.log")))
    }

    fn container(&self, name: &str) -> io::Result<PathBuf> {
        Ok(self.0.join("containers").join(plain(name)?))
    }

    /// Keeps the logs of this run and the one before, as `logs --previous` needs them.
    pub(super) fn forget_logs_before(&self, container: &str, attempt: u32) -> io::Result<()> {
        if let Some(old) = attempt.checked_sub(2) {
            let log = self.log(container, old)?;
            remove_if_there(&super::logs::index_path(&log))?;
            remove_if_there(&log)?;
        }
        Ok(())
    }

    /// Writes the record.
    pub(super) fn save(&self, record: &PodRecord) -> io::Result<()> {
        create_dir(&self.0)?;
        let json = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        write_atomic(&self.0.join("pod.json"), &json, 0o600)
    }

    /// Forgets the pod.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// The records an earlier start left. A folder without a readable one is nobody's: it is removed.
pub(super) fn load(state_dir: &Path) -> io::Result<Vec<PodRecord>> {
    let pods = state_dir.join("pods");
    create_dir(&pods)?;
    let mut records = Vec::new();
    for entry in fs::read_dir(&pods)? {
        let path = entry?.path();
        let record = fs::read(path.join("pod.json")).and_then(|bytes| {
            serde_json::from_slice::<PodRecord>(&bytes).map_err(io::Error::other)
        });
        match record {
            Ok(record) if path.file_name().is_some_and(|n| n == record.uid.as_str()) => {
                records.push(record);
            }
            other => {
                tracing::warn!(path = %path.display(), ?other, "removing a pod folder without a record");
                fs::remove_dir_all(&path)?;
            }
        }
    }
    Ok(records)
}

/// Creates a folder, and those above it, for this user only.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Readers see the old or the new file, never half of one.
pub(super) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    remove_if_there(&temporary)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Names from the API become file names only if they cannot lead anywhere else.
pub(super) fn plain(name: &str) -> io::Result<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} cannot be a file name"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_folders_without_one_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let record = PodRecord {
            uid: "u1".into(),
            name: "p".into(),
            accepted: 5,
            ..Default::default()
        };
        PodDir::new(dir.path(), "u1")
            .unwrap()
            .save(&record)
            .unwrap();
        create_dir(&dir.path().join("pods/u2")).unwrap();
        create_dir(&dir.path().join("pods/u3")).unwrap();
        fs::write(dir.path().join("pods/u3/pod.json"), "{").unwrap();
        assert_eq!(load(dir.path()).unwrap(), [record]);
        assert!(!dir.path().join("pods/u2").exists() && !dir.path().join("pods/u3").exists());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for uid in ["", ".", "..", "a/b", "/a", "a/"] {
            assert!(PodDir::new(Path::new("/s"), uid).is_err(), "{uid:?}");
        }
    }
}
