//! Writing the files of pictures, on threads of their own.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

use super::folder::create_folder;
use super::hooks::{Drawn, Encode, PictureFile};
use super::record::Fate;
use super::times::{Stage, Times};
use crate::pipeline::plan::Plan;
use crate::support::error::{Error, Result};
use crate::support::platform;
use crate::support::sync::lock;

/// A picture to be written.
#[derive(Debug)]
pub(super) struct Task {
    /// Passed on.
    pub slot: u64,
    pub number: u64,
    pub drawn: Drawn,
}

/// A picture that was written, or not.
#[derive(Debug)]
pub(super) struct Written {
    pub slot: u64,
    pub drawn: Drawn,
    /// The error: there is no space left, and no more pictures can be written.
    pub fate: Result<Fate>,
}

/// What writers share.
pub(super) struct Writers<'a> {
    pub plan: &'a Plan,
    pub out: &'a Path,
    /// Where files are until they are renamed.
    pub part: PathBuf,
    pub output: &'a dyn Encode,
    pub times: &'a Times,
}

impl Writers<'_> {
    /// The thread `number` of them.
    pub fn run(&self, number: usize, tasks: &Mutex<Receiver<Task>>, results: &Sender<Written>) {
        let temporary = self.part.join(number.to_string());
        loop {
            // A task is taken by one, while the others wait for the lock.
            let task = lock(tasks).recv();
            let Ok(Task { slot, number, drawn }) = task else { return };
            let fate = self.write(&temporary, number, &drawn);
            if results.send(Written { slot, drawn, fate }).is_err() {
                return;
            }
        }
    }

    fn write(&self, temporary: &Path, number: u64, drawn: &Drawn) -> Result<Fate> {
        let picture = self.plan.picture(number);
        let encode = || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.output.files(&picture, drawn)))
                .unwrap_or_else(|panic| Err(Error::from_panic(&*panic)))
        };
        let files = match self.times.of(Stage::Encode, encode) {
            Ok(files) => files,
            Err(error) => return Ok(Fate::NotWritten(error.to_string())),
        };
        let bytes = files.iter().map(|file| file.bytes.len() as u64).sum();
        let place = || files.iter().try_for_each(|file| self.place(temporary, file));
        match self.times.of(Stage::Write, place) {
            Ok(()) => Ok(Fate::Written { files: files.len() as u32, bytes }),
            Err(error) if is_full(&error) => Err(error),
            Err(error) => Ok(Fate::NotWritten(error.to_string())),
        }
    }

    /// Writes one file under a temporary name and renames it.
    fn place(&self, temporary: &Path, file: &PictureFile) -> Result<()> {
        if !file.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::Invalid(format!("{}: a file of a job lies in its folder", file.path.display())));
        }
        let target = self.out.join(&file.path);
        let part = || -> std::io::Result<()> {
            let mut open = File::create(temporary)?;
            open.write_all(&file.bytes)?;
            // Elsewhere a group is synced at once.
            if platform::SYNCS_FILE_SYSTEMS { Ok(()) } else { open.sync_all() }
        };
        let fail = |error| Error::writing(&target, error);
        part().map_err(fail)?;
        match platform::replace(temporary, &target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(folder) = target.parent() {
                    create_folder(folder)?;
                }
                platform::replace(temporary, &target).map_err(fail)
            }
            // A folder of OUT that is a link to another file system.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => crate::write_file(&target, &file.bytes),
            replaced => replaced.map_err(fail),
        }
    }
}

/// Whether an error says that there is no space left, so that no other file can be written either.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
