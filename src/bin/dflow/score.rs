//! `dflow score`: how likely the tokens of a file are for one class, or for every class.

use std::path::PathBuf;

use clap::Args;
use detailflow::{Error, tasks};
use serde_json::json;

use crate::entries::EntryArgs;
use crate::mixes::Wanted;
use crate::source::Source;
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct ScoreArgs {
    /// Token file: .dft, .dftpack or JSON; - reads standard input
    tokens: PathBuf,
    #[command(flatten)]
    entries: EntryArgs,
    /// Class to score for, by name or index, or several with weights: dragon:0.6,golem:0.4; `all` is every class [default:
    /// those that the file names]
    #[arg(long, value_name = "C")]
    class: Option<String>,
    /// Print JSON, with the log-probability of each token
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

fn mean(scores: &[f32]) -> f64 {
    scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len().max(1) as f64
}

pub fn run(args: &ScoreArgs) -> Result<(), Failure> {
    let source = Source::open(&args.tokens)?;
    let place = args.tokens.display();
    let model = args.model.open()?;
    let bundle = model.bundle();
    bundle.check_can_generate()?;
    let mut found = Vec::new();
    for index in args.entries.of(&source, &args.tokens)? {
        let entry = if source.is_pack() { source.name(index)? } else { None };
        let image = source.sound(index, &args.tokens, bundle)?;
        let name = args.class.as_ref().or(image.mix.as_ref()).or(image.class.as_ref()).ok_or_else(|| {
            Failure::Usage(Error::Invalid(format!("{place}: picture {index} names no class; use --class")))
        })?;
        let wanted = Wanted::read(bundle, name, None)?;
        let classes = &wanted.classes;
        let mut ranked = Vec::new();
        // In chunks, to bound memory for any number of classes.
        for some in classes.chunks(16) {
            if let Some(mix) = wanted.mix(some[0]) {
                let scores = tasks::score_mix(&model, mix, &image.tokens)?;
                ranked.push((some[0], mean(&scores), scores));
                continue;
            }
            let pictures: Vec<(u32, &[u32])> = some.iter().map(|&class| (class, &image.tokens[..])).collect();
            for (&class, scores) in some.iter().zip(tasks::score_all(&model, &pictures)?) {
                ranked.push((class, mean(&scores), scores));
            }
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (class, mean, scores) in ranked {
            let class = wanted.name(bundle, class);
            if args.json {
                let name = &entry;
                found.push(json!({
                    "picture": index, "name": name, "class": class, "mean": mean, "log_probabilities": scores,
                }));
            } else {
                match &entry {
                    Some(name) => say!("picture {index}  {class:<20} {mean:.4}  {name}"),
                    None => say!("picture {index}  {class:<20} {mean:.4}"),
                }
            }
        }
    }
    if args.json {
        say!("{:#}", json!(found));
    }
    Ok(())
}
