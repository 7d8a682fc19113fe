//! Objects on disk, so that a killed API server comes back with what it had: one line for each
//! write, rewritten when it has grown.
//!
//! What was written survives the process, not the machine: nothing here waits for the disk.

use super::{ObjectKey, ResourceKey, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Up to here a journal is never rewritten.
const SMALL: u64 = 8 << 20;

/// A write.
#[derive(Serialize, Deserialize)]
struct Line {
    revision: u64,
    group: Arc<str>,
    plural: Arc<str>,
    ns: Box<str>,
    name: Box<str>,
    /// The object; nothing when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<Arc<Value>>,
}

/// An open journal. It holds a lock on a file beside it for as long as it lives.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// At this size it is rewritten.
    rewrite_at: u64,
    _lock: File,
}

/// What a journal held.
#[derive(Default)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) objects: HashMap<ResourceKey, BTreeMap<ObjectKey, Arc<Value>>>,
}

impl Journal {
    /// Opens the journal of a folder, and reads what it holds.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Held)> {
        let lock = options().open(dir.join("store.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another API server uses {}", dir.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = dir.join("store.journal");
        let held = match File::open(&path) {
            Ok(file) => read(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Held::default(),
            Err(error) => return Err(error),
        };
        let file = options().append(true).open(&path)?;
        let mut journal = Self {
            path,
            file,
            size: 0,
            rewrite_at: SMALL,
            _lock: lock,
        };
        // Starting afresh drops a line the last writer did not finish.
        let lines = held.objects.iter().flat_map(|(key, objects)| {
            objects
                .iter()
                .map(move |(at, object)| line(held.revision, key, at, Some(object)))
        });
        journal.rewrite(lines)?;
        Ok((journal, held))
    }

    /// Remembers a write.
    pub(super) fn append(
        &mut self,
        revision: u64,
        key: &ResourceKey,
        at: &ObjectKey,
        object: Option<&Arc<Value>>,
    ) -> io::Result<()> {
        let mut text = serde_json::to_vec(&line(revision, key, at, object))?;
        text.push(b'\n');
        self.size += text.len() as u64;
        self.file.write_all(&text)
    }

    /// Whether more of it is history than is worth keeping.
    pub(super) fn grown(&self) -> bool {
        self.size > self.rewrite_at
    }

    /// Writes down the present state alone.
    pub(super) fn compact(
        &mut self,
        revision: u64,
        tables: &HashMap<ResourceKey, Table>,
    ) -> io::Result<()> {
        let lines = tables.iter().flat_map(|(key, table)| {
            table
                .objects
                .iter()
                .map(move |(at, object)| line(revision, key, at, Some(object)))
        });
        self.rewrite(lines)
    }

    fn rewrite(&mut self, lines: impl Iterator<Item = Line>) -> io::Result<()> {
        let unfinished = self.path.with_extension("new");
        let mut file = io::BufWriter::new(options().truncate(true).open(&unfinished)?);
        let mut size = 0;
        for line in lines {
            let mut text = serde_json::to_vec(&line)?;
            text.push(b'\n');
            size += text.len() as u64;
            file.write_all(&text)?;
        }
        file.flush()?;
        std::fs::rename(&unfinished, &self.path)?;
        self.file = options().append(true).open(&self.path)?;
        self.size = size;
        self.rewrite_at = SMALL.max(2 * size);
        Ok(())
    }
}

/// Secrets are in it: for its owner only.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

fn line(revision: u64, key: &ResourceKey, at: &ObjectKey, object: Option<&Arc<Value>>) -> Line {
    Line {
        revision,
        group: key.group.clone(),
        plural: key.plural.clone(),
        ns: at.0.clone(),
        name: at.1.clone(),
        object: object.cloned(),
    }
}

fn read(file: File) -> io::Result<Held> {
    let mut held = Held::default();
    for text in BufReader::new(file).split(b'\n') {
        let text = text?;
        let Ok(line) = serde_json::from_slice::<Line>(&text) else {
            // Only the last line can be cut short; whatever it is, nothing sound follows it.
            tracing::warn!("the store's journal ends in a line that is not whole");
            break;
        };
        held.revision = held.revision.max(line.revision);
        let key = ResourceKey {
            group: line.group,
            plural: line.plural,
        };
        let objects = held.objects.entry(key).or_default();
        match line.object {
            Some(object) => objects.insert((line.ns, line.name), object),
            None => objects.remove(&(line.ns, line.name)),
        };
    }
    Ok(held)
}
