//! The state folder of a job, `OUT/.dflow-batch`: which job it is, who works on it, and what each part has done.
//!
//! | name | what |
//! |---|---|
//! | `job.json` | identity of the job that fills OUT |
//! | `lock`, `owner` | locked by a run, and by runs of shards together; process and host of the one that has it |
//! | `spool` | a record of each picture, appended |
//! | `journal` | a record of each group of pictures whose files and records are on the disk |
//! | `part/` | files that are being written |
//! | `shard-I-of-N/` | the same for a shard, without `job.json` |

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::index::{Index, MOST_SPOOLS, Place};
use super::journal;
use super::record::Record;
use super::scope::Shard;
use crate::support::error::{Error, Result};
use crate::support::files::{read, write_file};
use crate::support::temporary;

/// The name of the state folder.
pub(super) const NAME: &str = ".dflow-batch";
const JOB: &str = "job.json";
const LOCK: &str = "lock";
const OWNER: &str = "owner";
const FORMAT: u32 = 1;
/// The longest `job.json` or `owner`.
const LONGEST: u64 = 1 << 16;

/// `job.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    format: u32,
    identity: String,
    pictures: u64,
}

/// The state folder, opened by the run that works in it.
#[derive(Debug)]
pub(super) struct StateFolder {
    /// That of this run: of the whole job, or of a shard.
    own: PathBuf,
    /// Where the latest record of each picture is.
    pub index: Index,
    /// The spools that the index names; the first is that of this run.
    spools: Vec<PathBuf>,
    /// Held until the run ends.
    _locks: Vec<File>,
}

impl StateFolder {
    /// Opens the state folder of `out`, creates it where it is missing, locks it, and reads what is done.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process works there; [`Error::State`] if `out` belongs to another job; [`Error::Io`].
    pub fn open(out: &Path, identity: &str, pictures: u64, shard: Option<Shard>) -> Result<Self> {
        let root = out.join(NAME);
        let own = shard.map_or(root.clone(), |shard| root.join(shard.to_string()));
        create_folder(&own)?;
        let mut locks = vec![take(&root, out, shard.is_some())?];
        if shard.is_some() {
            locks.push(take(&own, out, false)?);
        }
        check_job(&root, out, identity, pictures)?;
        let mut shards = Vec::new();
        for folder in shard_folders(&root)? {
            if shard.is_none() {
                // Runs of shards lock the whole folder together, so that this only waits for those that are ending.
                locks.push(take(&folder, out, false)?);
            }
            shards.push(folder);
        }
        clear(&own.join("part"))?;
        if shard.is_none() {
            // What a run that was killed while it made packs, atlases and pages has left.
            for folder in [out, &out.join("index_files"), &root] {
                temporary::clear(folder);
            }
        }
        let others = shards.into_iter().chain(shard.is_some().then(|| root.clone())).filter(|folder| *folder != own);
        let spools: Vec<PathBuf> = std::iter::once(own.clone()).chain(others).collect();
        if spools.len() > MOST_SPOOLS {
            return Err(Error::Invalid(format!(
                "{} has {} parts; at most {MOST_SPOOLS} are allowed",
                root.display(),
                spools.len()
            )));
        }
        let mut folder = Self { own, index: Index::new(pictures)?, spools, _locks: locks };
        folder.reload()?;
        Ok(folder)
    }

    /// Reads again what is done, as far as the journals say.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn reload(&mut self) -> Result<()> {
        for (spool, folder) in self.spools.iter().enumerate() {
            let path = folder.join(journal::SPOOL);
            journal::read(folder, |offset, body| {
                let noted = Record::peek(body)
                    .is_some_and(|(number, kind)| self.index.set(number, Place { spool, offset, kind }));
                if noted { Ok(()) } else { Err(Error::format(&path, "it has a record of another job")) }
            })?;
        }
        Ok(())
    }

    /// That of this run.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// Where files are written before they are renamed.
    pub fn part(&self) -> PathBuf {
        self.own.join("part")
    }

    /// The spool files that [`Place::spool`] counts.
    pub fn spools(&self) -> Vec<PathBuf> {
        self.spools.iter().map(|folder| folder.join(journal::SPOOL)).collect()
    }
}

/// The folders of shards, in the order of their names.
fn shard_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::reading(root, error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("shard-")) && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

pub(super) fn create_folder(path: &Path) -> Result<()> {
    let fail = |source| Error::Io { what: "cannot create the folder", path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(fail)
}

/// An empty folder: what a killed process left in it is removed.
fn clear(path: &Path) -> Result<()> {
    create_folder(path)?;
    for entry in std::fs::read_dir(path).map_err(|error| Error::reading(path, error))?.flatten() {
        std::fs::remove_file(entry.path()).map_err(|error| Error::writing(&entry.path(), error))?;
    }
    Ok(())
}

/// Locks a folder until the file is closed, also by the end of the process.
fn take(folder: &Path, out: &Path, shared: bool) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(|error| Error::writing(&path, error))?;
    let locked = if shared { file.try_lock_shared() } else { file.try_lock() };
    match locked {
        Ok(()) => {
            if !shared {
                write_file(&folder.join(OWNER), format!("process {} on {}\n", std::process::id(), host()).as_bytes())?;
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            // Runs of shards have it together: they are named by their own locks.
            let who = if !shared && file.try_lock_shared().is_ok() {
                let running = shard_folders(folder)?.into_iter().find(|shard| is_locked(shard));
                running.and_then(|shard| owner_of(&shard)).map(|owner| format!("a run of a shard, {owner}"))
            } else {
                owner_of(folder)
            };
            let who = who.unwrap_or_else(|| "another process".to_owned());
            Err(Error::Busy(format!(
                "{} is being filled by {who}; wait until that has ended, or choose another folder",
                out.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(Error::Io { what: "cannot lock", path, source: error }),
    }
}

/// Whether a process has the lock of this folder.
fn is_locked(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The process that took the lock of this folder last.
fn owner_of(folder: &Path) -> Option<String> {
    let text = String::from_utf8(read(&folder.join(OWNER), LONGEST).ok()?).ok()?;
    Some(text.trim().to_owned())
}

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok()).or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "this machine".to_owned(), |name| name.trim().to_owned())
}

/// Checks that `out` belongs to this job, or takes it.
fn check_job(root: &Path, out: &Path, identity: &str, pictures: u64) -> Result<()> {
    let path = root.join(JOB);
    match read(&path, LONGEST) {
        Ok(bytes) => {
            let job: Job = serde_json::from_slice(&bytes).map_err(|error| Error::format(&path, error.to_string()))?;
            if job.format != FORMAT {
                let reason = format!("format {} is not supported; this version has format {FORMAT}", job.format);
                return Err(Error::format(&path, reason));
            }
            if job.identity != identity || job.pictures != pictures {
                return Err(Error::State(format!(
                    "{} holds the pictures of another job, bundle or precision ({} pictures); choose another folder, or \
                     remove {} to start over",
                    out.display(),
                    job.pictures,
                    root.display()
                )));
            }
            Ok(())
        }
        Err(Error::NotFound { .. }) => {
            let job = Job { format: FORMAT, identity: identity.to_owned(), pictures };
            let text = serde_json::to_vec(&job).map_err(|error| Error::Internal(error.to_string()))?;
            write_file(&path, &text)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_refuses_another_job_and_a_second_run() {
        let folder = tempfile::tempdir().unwrap();
        let open = |identity, pictures, shard| StateFolder::open(folder.path(), identity, pictures, shard);
        let first = open("a", 10, None).unwrap();
        let busy = |shard| match open("a", 10, shard) {
            Err(Error::Busy(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(busy(None).contains(&format!("process {}", std::process::id())));
        let shard = |index| Some(Shard::new(index, 2).unwrap());
        assert!(busy(shard(1)).contains("is being filled by"));
        drop(first);
        for (identity, pictures) in [("b", 10), ("a", 11)] {
            match open(identity, pictures, None) {
                Err(Error::State(text)) => assert!(text.contains("another job"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        let shards = [open("a", 10, shard(1)).unwrap(), open("a", 10, shard(2)).unwrap()];
        assert!(busy(shard(1)).contains(&format!("process {}", std::process::id())));
        busy(None);
        drop(shards);
        open("a", 10, None).unwrap();
    }
}
