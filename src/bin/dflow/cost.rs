//! `dflow cost` and `dflow calibrate`: what a request takes, before it is made.

use std::time::Duration;

use clap::Args;
use detailflow::{Cost, Error, Request, tasks};
use serde_json::json;

use crate::draw::{BATCH, progress_bar};
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct CostArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn cost(args: &CostArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    let cost = cost_of(&mut request, args.settings.count)?;
    let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
    if args.json {
        let steps = cost
            .steps
            .iter()
            .map(|s| json!({"rows": s.rows, "query": s.query, "count": s.count, "predicted_ms": ms(s.time)}));
        let levels = cost.levels.iter().map(
            |l| json!({"size": l.level.size, "tokens": l.level.tokens, "steps": l.steps, "predicted_ms": ms(l.time)}),
        );
        say!(
            "{:#}",
            json!({
                "steps": steps.collect::<Vec<_>>(), "levels": levels.collect::<Vec<_>>(),
                "multiply_adds": cost.multiply_adds, "key_bytes": cost.key_bytes, "output_bytes": cost.output_bytes,
                "predicted_ms": ms(cost.time()),
            })
        );
        return Ok(());
    }
    for step in &cost.steps {
        let time = ms(step.time).map_or(String::new(), |ms| format!(", {ms:.2} ms each"));
        say!("steps            {} of {} rows x {} positions{time}", step.count, step.rows, step.query);
    }
    match cost.multiply_adds {
        Some(work) => say!("multiply-adds    {:.3} G", work as f64 / 1e9),
        None => say!("multiply-adds    unknown: the bundle does not say how large its networks are"),
    }
    say!("keys and values  {:.1} MB", cost.key_bytes as f64 / 1e6);
    say!("pictures         {:.3} MB", cost.output_bytes as f64 / 1e6);
    for level in &cost.levels {
        let time = ms(level.time).map_or("unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        say!("level {:>4} px    {:>3} steps, {:>3} tokens   {time}", level.level.size, level.steps, level.level.tokens);
    }
    if cost.time().is_none() {
        say!("times            unknown: `dflow calibrate` measures them once");
    }
    Ok(())
}

/// What so many pictures cost, drawn batch by batch as `generate` does.
fn cost_of(request: &mut Request, count: u32) -> Result<Cost, Error> {
    let (full, rest) = (count / BATCH as u32, count % BATCH as u32);
    let mut whole: Option<Cost> = None;
    for (times, size) in [(full, BATCH as u32), (u32::from(rest > 0), rest)].into_iter().filter(|batch| batch.0 > 0) {
        let mut batch = tasks::cost(request.set_count(size)?)?;
        batch.steps.iter_mut().for_each(|step| step.count *= times as usize);
        batch.multiply_adds = batch.multiply_adds.map(|work| work.saturating_mul(times.into()));
        batch.output_bytes = batch.output_bytes.saturating_mul(times.into());
        for level in &mut batch.levels {
            level.steps *= times as usize;
            level.time = level.time.map(|time| time.saturating_mul(times));
        }
        whole = Some(match whole {
            None => batch,
            Some(mut whole) => {
                whole.steps.append(&mut batch.steps);
                whole.multiply_adds = whole.multiply_adds.zip(batch.multiply_adds).map(|(a, b)| a.saturating_add(b));
                whole.key_bytes = whole.key_bytes.max(batch.key_bytes);
                whole.output_bytes = whole.output_bytes.saturating_add(batch.output_bytes);
                for (all, level) in whole.levels.iter_mut().zip(batch.levels) {
                    all.steps += level.steps;
                    all.time = all.time.zip(level.time).map(|(a, b)| a.saturating_add(b));
                }
                whole
            }
        });
    }
    // A count of 0 is refused where it is set.
    whole.map_or_else(|| tasks::cost(request.set_count(0)?), Ok)
}

#[derive(Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Sizes of batch to measure
    #[arg(long, value_name = "K,K", value_delimiter = ',', default_value = "1,4,16")]
    batch: Vec<u32>,
}

pub fn calibrate(args: &CalibrateArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let bar = progress_bar(0);
    let calibration = tasks::calibrate(&model, &args.batch, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let calibration = calibration?;
    say!("{}: {} shapes", calibration.path.display(), calibration.shapes);
    Ok(())
}
