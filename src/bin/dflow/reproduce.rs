//! `dflow reproduce`: makes pictures again from the record of their settings, and compares.

use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::pipeline::provenance::{Found, Head, Record, find};
use detailflow::pipeline::reproduce::{draw, file};
use detailflow::{Error, ImageRequest, Model, write_file};

use crate::show::nothing;
use crate::{Failure, ModelArgs, complain, say};

/// Files whose records are in memory at one time.
const AT_ONCE: usize = 256;

#[derive(Args)]
pub struct ReproduceArgs {
    /// Picture files with a record in them or beside them (FILE.json), or these records
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write the picture that was made again to this file; only with one FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The precision and, on the device that a record names, the attention form are those of the record unless given
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

/// A file to make again.
struct Job<'a> {
    path: &'a Path,
    record: Box<Record>,
    embedded: bool,
    picture: PathBuf,
}

pub fn run(args: &ReproduceArgs) -> Result<(), Failure> {
    if args.output.is_some() && args.files.len() > 1 {
        let text = format!("--output names one file, and there are {} to make again", args.files.len());
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    let mut models: Vec<((String, Option<String>), Model)> = Vec::new();
    let mut same = true;
    for files in args.files.chunks(AT_ONCE) {
        let mut jobs = Vec::new();
        for path in files {
            match find(path) {
                Ok(Found::Record { record, embedded, picture }) => jobs.push(Job { path, record, embedded, picture }),
                Ok(Found::Nothing) => complain!("{}", nothing(path)),
                Ok(Found::Tokens) => complain!("{}: a token file has no settings to draw again with", path.display()),
                Err(error) => complain!("{error}"),
            }
        }
        same &= jobs.len() == files.len();
        // Jobs that one model draws, in the order of the first of each.
        while let Some(first) = jobs.first() {
            let key = variant(args, &first.record.head);
            let (alike, others) = jobs.into_iter().partition(|job| variant(args, &job.record.head) == key);
            jobs = others;
            let opened = models.iter().position(|(of, _)| *of == key);
            let at = match opened {
                Some(at) => at,
                None => match args.model.open_variant(Some(&key.0), key.1.as_deref()) {
                    Ok(model) => {
                        models.push((key, model));
                        models.len() - 1
                    }
                    Err(Failure::Failed(error)) => {
                        alike.iter().for_each(|job| cannot(job.path, &error));
                        same = false;
                        continue;
                    }
                    Err(other) => return Err(other),
                },
            };
            same &= again(&models[at].1, &alike, args.output.as_deref());
        }
    }
    if same { Ok(()) } else { Err(Failure::Reported) }
}

/// Precision and form for a record; the form only on the device that the record names.
fn variant(args: &ReproduceArgs, head: &Head) -> (String, Option<String>) {
    let form = (args.model.device.device == head.device).then(|| head.form.clone());
    (args.model.precision.clone().unwrap_or(head.precision.clone()), args.model.form.clone().or(form))
}

/// Says why a file cannot be made again.
fn cannot(path: &Path, error: &Error) {
    complain!("{}: cannot be made again: {error}", path.display());
}

/// Makes files again and says what came of it; whether all are the same.
fn again(model: &Model, jobs: &[Job], output: Option<&Path>) -> bool {
    let records: Vec<&Record> = jobs.iter().map(|job| &*job.record).collect();
    let mut same = true;
    for (job, tokens) in jobs.iter().zip(draw(model, &records)) {
        match tokens.and_then(|tokens| differences(model, job, &tokens, output)) {
            Ok((differences, notes)) => {
                let verdict = if differences.is_empty() { "identical".to_owned() } else { differences.join("; ") };
                say!("{}: {verdict}{notes}", job.path.display());
                same &= differences.is_empty();
            }
            Err(error) => {
                cannot(job.path, &error);
                same = false;
            }
        }
    }
    same
}

/// Writes the picture with these tokens, and compares: what differs, and what is not as it was.
fn differences(
    model: &Model,
    job: &Job,
    tokens: &[u32],
    output: Option<&Path>,
) -> Result<(Vec<String>, String), Error> {
    let Record { head, tokens: recorded } = &*job.record;
    let bytes = file(model, head, tokens, job.embedded)?;
    // Before the file is written, which may be the same.
    let differences = compare(&job.picture, recorded, tokens, &bytes)?;
    if let Some(path) = output {
        write_file(path, &bytes)?;
    }
    Ok((differences, notes(model, head)?))
}

/// What differs between the recorded picture and the one made again.
fn compare(picture: &Path, recorded: &[u32], tokens: &[u32], bytes: &[u8]) -> Result<Vec<String>, Error> {
    let mut differences = Vec::new();
    if recorded.len() != tokens.len() {
        differences.push(format!("{} tokens are recorded, {} were drawn", recorded.len(), tokens.len()));
    } else if let Some(at) = recorded.iter().zip(tokens).position(|(a, b)| a != b) {
        let count = recorded.iter().zip(tokens).filter(|(a, b)| a != b).count();
        differences.push(format!("{count} of {} tokens differ, the first at position {at}", tokens.len()));
    }
    let fail = |source| Error::Io { what: "cannot read", path: picture.to_owned(), source };
    let old = std::fs::read(picture).map_err(fail)?;
    if old.len() != bytes.len() {
        differences.push(format!("the file has {} bytes, the one made again {}", old.len(), bytes.len()));
    } else if let Some(at) = old.iter().zip(bytes).position(|(a, b)| a != b) {
        differences.push(format!("the bytes differ from offset {at} on"));
    }
    Ok(differences)
}

/// What is not as it was when the picture was made, such as the bundle; empty if all is.
fn notes(model: &Model, head: &Head) -> Result<String, Error> {
    let image = ImageRequest { class: model.bundle().class(&head.class)?, seed: head.seed };
    let guidance = head.guidance();
    let mut now = Head::new(model, image, &guidance, &head.sampling())?;
    (now.level, now.kept, now.output) = (head.level, head.kept, head.output);
    now.set_mix(model.bundle(), head.read_mix(model.bundle())?.as_ref());
    now.finish = head.finish.clone();
    let text = |(key, then, now)| format!("{key} was {then} and is {now}");
    let notes: Vec<String> = head.differences(&now).into_iter().map(text).collect();
    Ok(if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) })
}
