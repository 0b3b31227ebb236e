//! The pictures of a job as JSON Lines, for other programs: what to generate, or the tokens that were generated.

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

use detailflow::pipeline::run::{Scope, stream as draw};
use detailflow::pipeline::{Checked, Picture, PictureFiles, Start};
use detailflow::{Error, Model};
use serde_json::json;

use crate::{Failure, complain, interrupt};

/// Prints what it takes to draw each picture, and how its files are named.
pub fn list(model: &Model, checked: &Checked, scope: Scope<'_>) -> Result<(), Failure> {
    let files = PictureFiles::new(model, &checked.settings);
    let output = &checked.settings.output;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in scope.pictures(&checked.plan) {
        let picture = checked.plan.picture(number);
        let mut line = line(model, &files, &picture)?;
        line["provenance"] = json!(output.provenance);
        line["tokens"] = json!(output.tokens);
        if !written(writeln!(out, "{line}"))? {
            return Ok(());
        }
    }
    written(out.flush())?;
    Ok(())
}

fn line(model: &Model, files: &PictureFiles<'_>, picture: &Picture<'_>) -> Result<serde_json::Value, Error> {
    let row = picture.row;
    let kept = match &row.start {
        Start::Empty => 0,
        Start::Tokens(tokens) => tokens.len(),
        Start::Picture { keep, .. } => model.bundle().ladder().level_or_error(*keep)?.tokens,
    };
    let mut levels = Vec::new();
    for (level, path) in row.levels.iter().zip(files.paths(picture)) {
        // As text: its bytes go into the files.
        let head = files.head(picture, *level, kept, &path)?.to_json();
        levels.push(json!({"size": level.size, "tokens": level.tokens, "file": path, "head": head}));
    }
    let mut line = json!({
        "number": picture.number,
        "row": row.number,
        "class": model.bundle().classes().get(picture.image.class as usize),
        "class_index": picture.image.class,
        "seed": picture.image.seed,
        "guidance": row.guidance.scale.to_string(),
        "gradual": row.guidance.gradual,
        "temperature": row.sampling.temperature.to_string(),
        "top_k": row.sampling.top_k.to_string(),
        "top_p": row.sampling.top_p.to_string(),
        "tags": &*row.tags,
        "select": row.select.is_some(),
        "levels": levels,
    });
    if let Some(mix) = picture.mix()? {
        let (classes, avoid) = model.bundle().mix_text(&mix);
        (line["mix"], line["avoid"]) = (json!(classes), json!(avoid));
    }
    match &row.start {
        Start::Empty => {}
        Start::Tokens(tokens) => line["prefix"] = json!(&**tokens),
        Start::Picture { path, keep } => line["redetail"] = json!({"image": path, "keep": keep}),
    }
    Ok(line)
}

/// Draws the pictures and prints their tokens; nothing is written elsewhere, and nothing resumed.
pub fn stream(models: &[Model], batch: usize, checked: &Checked, scope: Scope<'_>) -> Result<(), Failure> {
    let bundle = models[0].bundle();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut failed, mut open) = (0, true);
    let pressed = interrupt::pressed();
    let mut take = |picture: &Picture<'_>, tokens: Result<&[u32], Error>| -> Result<(), Error> {
        match tokens {
            Ok(tokens) => {
                let class = bundle.classes().get(picture.image.class as usize);
                let mut image = json!({"class": class, "seed": picture.image.seed, "tokens": tokens});
                if let Some(mix) = picture.mix()? {
                    let (classes, avoid) = bundle.mix_text(&mix);
                    if mix.classes().len() > 1 {
                        image["mix"] = json!(classes);
                    }
                    if !avoid.is_empty() {
                        image["avoid"] = json!(avoid);
                    }
                }
                let line = json!({
                    "format": 1,
                    "bundle": bundle.tokenizer_id(),
                    "number": picture.number,
                    "images": [image],
                });
                open = open && written(writeln!(out, "{line}").and_then(|()| out.flush()))?;
            }
            Err(error) => {
                failed += 1;
                complain!("picture {}: {error}", picture.number);
            }
        }
        if open { Ok(()) } else { Err(Error::Cancelled) }
    };
    let mut turn = || if pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let numbers = scope.pictures(&checked.plan);
    match draw(&checked.plan, numbers, models, batch, &mut take, &mut turn) {
        // Nobody reads any more.
        Err(Error::Cancelled) => return Ok(()),
        result => result?,
    }
    if pressed() {
        return Err(Failure::Cancelled("cancelled".into()));
    }
    if failed > 0 {
        return Err(Failure::Partly(format!("{failed} pictures failed")));
    }
    Ok(())
}

/// Whether a line was written; false where nobody reads it.
fn written(result: std::io::Result<()>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Error::Io { what: "cannot write", path: "standard output".into(), source }),
    }
}
