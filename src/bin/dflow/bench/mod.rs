//! `dflow bench`: generation speed on this machine.
//!
//! Each configuration runs in a process of its own, so that memory is measured separately. Those of one batch size are timed
//! round by round in turn, so that a change of the machine's speed affects all of them.

mod floor;
mod process;
mod report;
mod round;
mod summary;

use clap::Args;
use detailflow::{Bundle, Error};

use crate::batches::progress_bar;
use crate::{BundleArgs, Failure};
use process::Process;
pub use round::{OneArgs, serve};

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Device that runs the graphs. --device, --precision, --form and --threads take comma-separated lists; every combination
    /// is measured
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', default_value = "cpu")]
    device: Vec<String>,
    /// Option of the device's execution provider, in the provider's own names; may be repeated
    #[arg(long = "device-option", value_name = "KEY=VALUE")]
    device_options: Vec<String>,
    /// Precision, such as int8,fp32 [default: the first that the bundle lists for the device]
    #[arg(long, value_name = "P", value_delimiter = ',')]
    precision: Vec<String>,
    /// Attention form (backend and KV layout), such as native,mha [default: the first that the bundle lists for the device]
    #[arg(long, value_name = "FORM", value_delimiter = ',')]
    form: Vec<String>,
    /// Number of threads, 0 to 1024; 0 is one per core
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: Vec<u32>,
    /// Pictures generated together (batch size), such as 1,4,16; one table per batch size
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    batch: Vec<u32>,
    /// Level to stop at, in pixels per side [default: the full size]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Guidance scale; 1 is off and halves the batch rows
    #[arg(long, value_name = "F", default_value_t = 1.5, allow_hyphen_values = true)]
    guidance: f32,
    /// Warm-up rounds, which are not measured
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    warmup: u32,
    /// Measured rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Number of processes opened per variant (at most one per round), to measure the spread of the opening time.
const OPENINGS: usize = 3;

/// What is timed: one line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Configuration {
    device: String,
    precision: Option<String>,
    form: Option<String>,
    threads: u32,
    batch: u32,
}

impl Configuration {
    /// As the command line asked for it; used in errors.
    fn name(&self) -> String {
        let words = [Some(&self.device), self.precision.as_ref(), self.form.as_ref()];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        format!("{}, {} threads, batch {}", words.join(" "), self.threads, self.batch)
    }
}

/// The measurements of one configuration.
struct Measured {
    opened: round::Opened,
    /// Opening times of all processes of the variant, in milliseconds.
    open_ms: Vec<f64>,
    threads: u32,
    batch: u32,
    rounds: Vec<round::Round>,
}

impl BenchArgs {
    /// The configurations of one batch size, in the order of their turns; ratios are relative to the first.
    fn configurations(&self, batch: u32) -> Vec<Configuration> {
        let or_none = |list: &[String]| match list {
            [] => vec![None],
            _ => list.iter().cloned().map(Some).collect(),
        };
        let mut all = Vec::new();
        for device in &self.device {
            for precision in or_none(&self.precision) {
                for form in or_none(&self.form) {
                    for &threads in &self.threads {
                        let (device, precision, form) = (device.clone(), precision.clone(), form.clone());
                        let one = Configuration { device, precision, form, threads, batch };
                        if !all.contains(&one) {
                            all.push(one);
                        }
                    }
                }
            }
        }
        all
    }

    /// Checks what can be checked before a graph is compiled.
    fn check(&self, bundle: &Bundle) -> Result<(), Failure> {
        bundle.check_can_generate()?;
        let ladder = bundle.ladder();
        if let Some(size) = self.level.filter(|&size| ladder.level(size).is_none()) {
            let sizes: Vec<String> = ladder.levels().iter().map(|level| level.size.to_string()).collect();
            let text = format!("{} has no {size} px level; its levels are {}", bundle.name(), sizes.join(", "));
            return Err(Failure::Usage(Error::Invalid(text)));
        }
        Ok(())
    }

    fn start(&self, bundle: &Bundle, configuration: &Configuration) -> Result<Process, Failure> {
        let Configuration { device, precision, form, threads, batch } = configuration;
        let mut arguments = vec![
            "bench-one".into(),
            "--bundle".into(),
            bundle.path().as_os_str().to_owned(),
            format!("--device={device}").into(),
            format!("--threads={threads}").into(),
            format!("--batch={batch}").into(),
            format!("--guidance={}", self.guidance).into(),
            format!("--level={}", self.level.unwrap_or(0)).into(),
        ];
        arguments.extend(self.device_options.iter().map(|option| format!("--device-option={option}").into()));
        arguments.extend(precision.iter().map(|precision| format!("--precision={precision}").into()));
        arguments.extend(form.iter().map(|form| format!("--form={form}").into()));
        Process::start(&arguments, configuration.name())
    }
}

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let bundle = args.bundle.open()?;
    args.check(&bundle)?;
    let mut batches = args.batch.clone();
    batches.dedup();
    let variants = args.configurations(batches[0]).len();
    let more_openings = OPENINGS.min(args.repeat as usize).saturating_sub(batches.len());
    let rounds = (args.warmup + args.repeat) as usize;
    let bar = progress_bar((variants * (more_openings + batches.len() * (1 + rounds))) as u64);

    let mut open_ms = vec![Vec::new(); variants];
    let mut tables: Vec<Vec<Measured>> = Vec::new();
    for &batch in &batches {
        let configurations = args.configurations(batch);
        // The processes of a variant differ only in the batch size, which does not affect opening, and in whether the files
        // are in the page cache already.
        let openings = if tables.is_empty() { 1 + more_openings } else { 1 };
        let mut processes = Vec::new();
        for opening in 1..=openings {
            for (configuration, open_ms) in configurations.iter().zip(&mut open_ms) {
                let process = args.start(&bundle, configuration)?;
                open_ms.push(process.opened.open_ms);
                bar.inc(1);
                if opening == openings {
                    processes.push(process);
                }
            }
        }
        for _ in 0..args.warmup {
            for process in &mut processes {
                process.warm_up()?;
                bar.inc(1);
            }
        }
        let mut rounds = vec![Vec::new(); processes.len()];
        for _ in 0..args.repeat {
            for (process, rounds) in processes.iter_mut().zip(&mut rounds) {
                rounds.push(process.round()?);
                bar.inc(1);
            }
        }
        let measured = |((process, configuration), rounds): ((Process, &Configuration), _)| Measured {
            opened: process.opened.clone(),
            open_ms: Vec::new(),
            threads: configuration.threads,
            batch,
            rounds,
        };
        tables.push(processes.into_iter().zip(&configurations).zip(rounds).map(measured).collect());
    }
    for table in &mut tables {
        for (measured, open_ms) in table.iter_mut().zip(&open_ms) {
            measured.open_ms.clone_from(open_ms);
        }
    }
    bar.finish_and_clear();
    report::print(args, &bundle, &tables)
}
