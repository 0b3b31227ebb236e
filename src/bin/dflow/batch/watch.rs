//! `dflow batch --watch`: runs the job files that appear in a folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use detailflow::Error;
use detailflow::pipeline::JobFormat;
use detailflow::pipeline::run::Scope;

use super::{BatchArgs, Studio, check};
use crate::{Failure, complain, interrupt, say};

/// How often the folder is looked at.
const TURN: Duration = Duration::from_millis(500);
/// A job file that changed later is perhaps still being written.
const QUIET: Duration = Duration::from_secs(1);

/// Runs each job file of `folder` once, and again when it changes, until Control-C.
pub fn run(args: &BatchArgs, folder: &Path) -> Result<(), Failure> {
    let out = args.output.as_deref().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::NotFound { what: "folder", path: folder.to_owned() }.into());
    }
    let studio = Studio::open(args)?;
    let pressed = interrupt::pressed();
    let mut done: HashMap<PathBuf, SystemTime> = HashMap::new();
    while !pressed() {
        for (job, changed) in jobs(folder)? {
            if pressed() {
                break;
            }
            if done.get(&job) == Some(&changed) || changed.elapsed().is_ok_and(|age| age < QUIET) {
                continue;
            }
            done.insert(job.clone(), changed);
            let target = out.join(job.file_stem().unwrap_or_default());
            say!("{}", job.display());
            let scope = Scope { limit: args.limit, ..Scope::default() };
            let result = check(args, &job, studio.models[0].bundle())
                .and_then(|checked| studio.run(&job, &checked, scope, &target));
            match result {
                Ok(()) | Err(Failure::Reported) => {}
                Err(Failure::Cancelled(text)) => return Err(Failure::Cancelled(text)),
                Err(Failure::Usage(error) | Failure::Failed(error)) => complain!("{}: {error}", job.display()),
                Err(Failure::Partly(text)) => complain!("{}: {text}", job.display()),
            }
        }
        std::thread::sleep(TURN);
    }
    Err(Failure::Cancelled("cancelled".into()))
}

/// The job files of a folder, by name, and when they were changed.
fn jobs(folder: &Path) -> Result<Vec<(PathBuf, SystemTime)>, Error> {
    let fail = |source| Error::Io { what: "cannot read", path: folder.to_owned(), source };
    let mut jobs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || JobFormat::from_path(&path).is_err() {
            continue;
        }
        // It may be gone already.
        if let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
            && let Ok(changed) = metadata.modified()
        {
            jobs.push((path, changed));
        }
    }
    jobs.sort();
    Ok(jobs)
}
