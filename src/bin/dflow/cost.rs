//! `dflow cost` and `dflow calibrate`: the cost of a request before it runs.

use std::time::Duration;

use clap::Args;
use detailflow::{Cost, Error, Request, tasks};
use serde_json::json;

use crate::batches::{BATCH, progress_bar};
use crate::mixes::AvoidArgs;
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct CostArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Class, or several with weights: dragon:0.6,golem:0.4; one class costs as much as any other [default: the first]
    #[arg(long, value_name = "C")]
    class: Option<String>,
    #[command(flatten)]
    avoid: AvoidArgs,
    #[command(flatten, next_help_heading = "Generation options")]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn cost(args: &CostArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    if args.class.is_some() || args.avoid.avoid.is_some() {
        let bundle = model.bundle();
        let class = args.class.as_deref().or(bundle.classes().first().map(String::as_str)).unwrap_or_default();
        let mix = bundle.mix(class, args.avoid.avoid.as_deref().unwrap_or_default());
        request.set_mix(&mix.map_err(Failure::Usage)?)?;
    }
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
        None => say!("multiply-adds    unknown: the bundle does not record the sizes of its networks"),
    }
    say!("KV cache         {:.1} MB", cost.key_bytes as f64 / 1e6);
    say!("pictures         {:.3} MB", cost.output_bytes as f64 / 1e6);
    for level in &cost.levels {
        let time = ms(level.time).map_or("unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        say!("level {:>4} px    {:>3} steps, {:>3} tokens   {time}", level.level.size, level.steps, level.level.tokens);
    }
    if cost.time().is_none() {
        say!("times            unknown: run `dflow calibrate` once on this machine");
    }
    Ok(())
}

/// The cost of `count` pictures, generated in the same batches as `dflow generate`.
fn cost_of(request: &mut Request, count: u32) -> Result<Cost, Error> {
    let (full, rest) = (count / BATCH as u32, count % BATCH as u32);
    let mut sum: Option<Cost> = None;
    for (times, size) in [(full, BATCH as u32), (u32::from(rest > 0), rest)].into_iter().filter(|batch| batch.0 > 0) {
        let mut batch = tasks::cost(request.set_count(size)?)?;
        batch.steps.iter_mut().for_each(|step| step.count *= times as usize);
        batch.multiply_adds = batch.multiply_adds.map(|work| work.saturating_mul(times.into()));
        batch.output_bytes = batch.output_bytes.saturating_mul(times.into());
        for level in &mut batch.levels {
            level.steps *= times as usize;
            level.time = level.time.map(|time| time.saturating_mul(times));
        }
        sum = Some(match sum {
            None => batch,
            Some(mut sum) => {
                sum.steps.append(&mut batch.steps);
                sum.multiply_adds = sum.multiply_adds.zip(batch.multiply_adds).map(|(a, b)| a.saturating_add(b));
                sum.key_bytes = sum.key_bytes.max(batch.key_bytes);
                sum.output_bytes = sum.output_bytes.saturating_add(batch.output_bytes);
                for (all, level) in sum.levels.iter_mut().zip(batch.levels) {
                    all.steps += level.steps;
                    all.time = all.time.zip(level.time).map(|(a, b)| a.saturating_add(b));
                }
                sum
            }
        });
    }
    // `set_count` refuses a count of 0.
    sum.map_or_else(|| tasks::cost(request.set_count(0)?), Ok)
}

#[derive(Args)]
pub struct CalibrateArgs {
    /// Batch sizes to measure
    #[arg(long, value_name = "K,K", value_delimiter = ',', default_value = "1,4,16")]
    batch: Vec<u32>,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
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
