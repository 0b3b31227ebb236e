//! `dflow show`: what a picture file or a token file says about where it came from.

use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::pipeline::provenance::{Found, Head, Record, find, sidecar};
use detailflow::{Curve, Error, Mix};
use serde_json::json;

use crate::entries::EntryArgs;
use crate::finishing::words;
use crate::source::{Source, Tokens};
use crate::{Failure, complain, say};

#[derive(Args)]
pub struct ShowArgs {
    /// Picture files with a record in them or beside them (FILE.json), records, or token files: .dft, .dftpack, JSON
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    entries: EntryArgs,
    /// Print a JSON object for each picture, on one line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ShowArgs) -> Result<(), Failure> {
    let mut failed = false;
    for path in &args.files {
        match show(path, args) {
            Err(Failure::Failed(error)) => {
                complain!("{error}");
                failed = true;
            }
            other => other?,
        }
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn show(path: &Path, args: &ShowArgs) -> Result<(), Failure> {
    match find(path)? {
        Found::Record { record, .. } => show_record(path, &record, args.json),
        Found::Nothing => return Err(nothing(path).into()),
        Found::Tokens => {
            let source = Source::open(path)?;
            for number in args.entries.of(&source, path)? {
                show_tokens(path, &source, number, args.json)?;
            }
        }
    }
    Ok(())
}

/// The error for a file without a record.
pub fn nothing(path: &Path) -> Error {
    let path = path.display();
    Error::Invalid(format!("{path}: there is no record in it and no file {path}.json; it is no token file either"))
}

fn show_record(path: &Path, Record { head, tokens }: &Record, json: bool) {
    if json {
        let record = sidecar(&head.to_json(), tokens);
        say!("{{\"file\":{},{}", json!(path.display().to_string()), record[1..].trim_end());
        return;
    }
    let Head { class, class_index, seed, output, .. } = head;
    let gradual = if head.gradual { ", gradual" } else { "" };
    let kept = if head.kept > 0 { format!(", of which {} were given", head.kept) } else { String::new() };
    let mut written = vec![output.format.to_string()];
    let options = output.options();
    let serialized = |value| serde_json::to_value(value).map(|value| value.as_str().unwrap_or_default().to_owned());
    written.extend(serialized(json!(options.alpha)).map(|alpha| format!("{alpha} alpha")));
    written.extend(options.mips.then(|| "mips".to_owned()));
    written.extend(serialized(json!(options.compression)).ok().filter(|compression| compression != "none"));
    written.extend((options.scale > 1).then(|| format!("scale {}", options.scale)));
    say!("{}", path.display());
    say!("  class          {class} ({class_index}), seed {seed}");
    say_mix(head.mix.as_deref(), head.avoid.as_deref());
    say!("  guidance       {}{gradual}", head.guidance);
    say!("  temperature    {}, top-k {}, top-p {}", head.temperature, head.top_k, head.top_p);
    say!("  level          {} px, {} tokens{kept}", head.level, tokens.len());
    if let Some(finish) = &head.finish {
        say!("  finish         {}", words(finish));
    }
    say!("  file           {}", written.join(", "));
    say!("  bundle         {}, {}, {} on {}", head.bundle, head.precision, head.form, head.device);
    say!("  manifest       {}", head.manifest);
    say!("  tokenizer      {}", head.tokenizer);
    say!("  licence        {}", head.license);
    say!("  libdetailflow  {}", head.library);
    say!("  tokens         {}", list(tokens));
}

fn say_mix(mix: Option<&str>, avoid: Option<&str>) {
    mix.into_iter().for_each(|mix| say!("  mix            {mix}"));
    avoid.into_iter().for_each(|avoid| say!("  avoid          {avoid}"));
}

fn show_tokens(path: &Path, source: &Source, number: u32, json: bool) -> Result<(), Error> {
    let sequence = source.get(number)?;
    let (name, damage) = (sequence.name.clone(), sequence.damage());
    let (class, class_index, seed, tokens) = match &sequence.tokens {
        Tokens::Image(image) => (image.class.clone(), None, image.seed, &image.tokens),
        Tokens::Dft(dft, _) => (None, dft.class, dft.seed, &dft.tokens),
    };
    // Without a bundle the classes of a .dft have no names.
    let (mix, avoid) = match &sequence.tokens {
        Tokens::Image(image) => (image.mix.clone(), image.avoid.clone()),
        Tokens::Dft(dft, _) => dft.mix.as_ref().map_or((None, None), indices),
    };
    let tokenizer = match (source, &sequence.tokens) {
        (Source::Json(file), _) => file.bundle.clone(),
        (_, Tokens::Dft(dft, _)) => dft.tokenizer.to_string(),
        _ => String::new(),
    };
    let file = path.display();
    if json {
        say!(
            "{}",
            json!({"file": file.to_string(), "number": number, "name": name, "tokenizer": tokenizer, "class": class,
                   "class_index": class_index, "mix": mix, "avoid": avoid, "seed": seed, "damage": damage, "tokens": tokens})
        );
        return Ok(());
    }
    let class = class.or(class_index.map(|index| format!("index {index}"))).unwrap_or("none".to_owned());
    let seed = seed.map_or("none".to_owned(), |seed| seed.to_string());
    match name {
        Some(name) => say!("{file}: {number}, {name}"),
        None => say!("{file}: {number}"),
    }
    say!("  class          {class}, seed {seed}");
    say_mix(mix.as_deref(), avoid.as_deref());
    say!("  tokenizer      {tokenizer}");
    if let Some(damage) = damage {
        say!("  damage         {damage}");
    }
    say!("  tokens         {}", list(tokens));
    Ok(())
}

/// The classes of a mix by index, and those that it avoids.
fn indices(mix: &Mix) -> (Option<String>, Option<String>) {
    let text = |list: &[(u32, Curve)]| {
        let parts: Vec<String> = list.iter().map(|(class, weight)| part(*class, weight)).collect();
        Some(parts.join(",")).filter(|text| !text.is_empty())
    };
    (text(mix.classes()).filter(|_| mix.classes().len() > 1), text(mix.avoid()))
}

fn part(class: u32, weight: &Curve) -> String {
    if class == Mix::NO_CLASS { format!("none:{weight}") } else { format!("{class}:{weight}") }
}

fn list(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}
