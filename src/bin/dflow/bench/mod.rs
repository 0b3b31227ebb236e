//! `dflow bench`: how fast pictures are drawn here. Each configuration has a process of its own, so that none has the
//! memory of another; those of one batch size take turns, so that a machine whose pace changes changes it for all.

mod floor;
mod report;
mod round;
mod turns;

use clap::Args;
use detailflow::{Bundle, Error};

use crate::draw::progress_bar;
use crate::{BundleArgs, Failure};
pub use round::{OneArgs, serve};
use turns::Process;

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Where graphs run. This and the next three may be lists: all combinations take turns
    #[arg(long, value_name = "D", value_delimiter = ',', default_value = "cpu")]
    device: Vec<String>,
    /// What each device's provider is told, in its own words; once for each option
    #[arg(long = "device-option", value_name = "KEY=VALUE")]
    device_options: Vec<String>,
    /// Precision, such as int8,fp32; without it the first that the bundle lists
    #[arg(long, value_name = "P", value_delimiter = ',')]
    precision: Vec<String>,
    /// Attention form, such as mha,plain; without it the first that the bundle lists
    #[arg(long, value_name = "FORM", value_delimiter = ',')]
    form: Vec<String>,
    /// Threads; 0 is one for each core
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: Vec<u32>,
    /// Pictures drawn together, such as 1,4,16; each number has a table of its own
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    batch: Vec<u32>,
    /// Stop at the level of this many pixels; without it the whole picture
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Guidance scale; 1 is off and feeds half the rows
    #[arg(long, value_name = "F", default_value_t = 1.5, allow_hyphen_values = true)]
    guidance: f32,
    /// Rounds that do not count, before the others
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    warmup: u32,
    /// Rounds that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How many processes of one variant are opened (or as many as there are rounds), so that the time of opening has a
/// spread.
const OPENINGS: usize = 3;

/// What is timed: one line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Configuration {
    device: String,
    precision: Option<String>,
    form: Option<String>,
    threads: u32,
    batch: u32,
}

impl Configuration {
    /// As it was asked for, for errors.
    fn name(&self) -> String {
        let words = [Some(&self.device), self.precision.as_ref(), self.form.as_ref()];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        format!("{}, {} threads, batch {}", words.join(" "), self.threads, self.batch)
    }
}

/// One configuration, measured.
struct Measured {
    opened: round::Opened,
    /// Of all processes of its variant.
    open_ms: Vec<f64>,
    threads: u32,
    batch: u32,
    rounds: Vec<round::Round>,
}

impl BenchArgs {
    /// The variants of one batch size, in the order in which they take turns: the first is what ratios are of.
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

    /// What can be seen to be wrong before a graph is compiled.
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
        // Two things change between the processes of a variant: the batch, which opening does not look at, and whether
        // its files have been read before.
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
                process.draw()?;
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
    report::tell(args, &bundle, &tables)
}
