//! `dflow`: DetailFlow from the command line. It uses the library's public API only, and so proves it complete.

mod atlas;
mod bench;
mod check;
mod cost;
mod draw;
mod generate;
mod info;
mod interrupt;
mod mips;
mod output;
mod pack;
mod score;
mod settings;
mod sheet;
mod source;
mod strip;
mod tokens;
mod vary;
mod verify;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};
use detailflow::{Bundle, Device, Error, Model, ModelOptions, Spinning};

#[derive(Parser)]
#[command(
    name = "dflow",
    version,
    about = "Draw, encode and decode pictures with DetailFlow models",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a bundle is: sizes, classes, levels, variants
    Info(info::InfoArgs),
    /// Draw pictures of a class, or of all
    Generate(generate::GenerateArgs),
    /// Keep the coarse tokens of a picture and draw variations, or go on to a finer level
    Vary(vary::VaryArgs),
    /// Draw in the background, and write the picture anew at each level
    Watch(watch::WatchArgs),
    /// Draw the detail of a picture file anew
    Redetail(vary::RedetailArgs),
    /// Turn a picture file into tokens
    Encode(tokens::EncodeArgs),
    /// Turn tokens into pictures
    Decode(tokens::DecodeArgs),
    /// Draw again what a damaged .dft lost
    Repair(tokens::RepairArgs),
    /// Put many token files into one
    Pack(pack::PackArgs),
    /// Take token files out of a pack, or list it
    Unpack(pack::UnpackArgs),
    /// One picture at many sizes, each decoded at the nearest level
    Mips(mips::MipsArgs),
    /// Many pictures in one, and where each lies
    Atlas(atlas::AtlasArgs),
    /// How likely the tokens of a file are for a class, or for each
    Score(score::ScoreArgs),
    /// What a request takes: steps, work, memory, time
    Cost(cost::CostArgs),
    /// Measure this machine once, so that times are known before the first step
    Calibrate(cost::CalibrateArgs),
    /// How fast pictures are drawn here: each precision, form, batch; steps, levels, memory
    Bench(bench::BenchArgs),
    /// One configuration of bench, in a process of its own
    #[command(hide = true)]
    BenchOne(bench::OneArgs),
    /// Cut a bundle down to its decoder, for whoever ships tokens
    Strip(strip::StripArgs),
    /// Check a bundle: lengths, hashes, signatures, one run of each graph
    Verify(verify::VerifyArgs),
    /// Which ONNX Runtime, from where, which devices; and what is missing
    Doctor(check::DoctorArgs),
}

/// Which bundle.
#[derive(Args)]
struct BundleArgs {
    /// Folder of the bundle; without it DETAILFLOW_BUNDLE, or the one that came with dflow
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

impl BundleArgs {
    fn path(&self) -> Result<PathBuf, Error> {
        match &self.bundle {
            Some(path) => Ok(path.clone()),
            None => detailflow::default_bundle(),
        }
    }

    fn open(&self) -> Result<Bundle, Error> {
        Bundle::open(self.path()?)
    }
}

/// Where graphs run.
#[derive(Args)]
struct DeviceArgs {
    /// Where it runs: cpu, auto, cuda[:i], tensorrt[:i], directml[:i], coreml, webgpu, openvino[:CPU|GPU|NPU], migraphx[:i]
    /// or plugin:PATH[:device]; `dflow doctor` lists those that are here
    #[arg(long, value_name = "D", default_value = "cpu")]
    device: String,
    /// What the device's provider is told, in its own words; once for each option
    #[arg(long = "device-option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Take the CPU when the device cannot be had
    #[arg(long)]
    allow_fallback: bool,
}

impl DeviceArgs {
    fn apply(&self, options: &mut ModelOptions) -> Result<(), Failure> {
        options.device = self.device.parse().map_err(Failure::Usage)?;
        options.allow_fallback = self.allow_fallback;
        for option in &self.options {
            let (key, value) = option.split_once('=').ok_or_else(|| {
                Failure::Usage(Error::Invalid(format!(
                    "--device-option {option}: it is KEY=VALUE, such as precision=bf16"
                )))
            })?;
            options.device_options.set(key, value).map_err(Failure::Usage)?;
        }
        Ok(())
    }
}

/// `--spinning`.
#[derive(Clone, Copy, clap::ValueEnum)]
enum SpinningArg {
    /// While a graph runs
    Runs,
    /// Not at all
    Never,
}

/// Which model, and how it runs.
#[derive(Args)]
struct ModelArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Threads; 0 is one for each core
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: usize,
    /// When threads that wait keep a processor busy looking for work; without it as the library does
    #[arg(long, value_name = "WHEN")]
    spinning: Option<SpinningArg>,
    /// Precision of the bundle: fp32, fp16, int8, int4; without it the first that the bundle lists for the device
    #[arg(long, value_name = "P")]
    precision: Option<String>,
    /// Attention form of the bundle: native, mha, plain or fixed; without it the first that the bundle lists
    #[arg(long, value_name = "FORM", hide = true)]
    form: Option<String>,
}

impl ModelArgs {
    fn open(&self) -> Result<Model, Failure> {
        let mut options = ModelOptions::new().with_threads(self.threads);
        options.precision = self.precision.as_deref().map(Into::into);
        options.form = self.form.as_deref().map(str::parse).transpose().map_err(Failure::Usage)?;
        options.check().map_err(Failure::Usage)?;
        self.device.apply(&mut options)?;
        match self.spinning {
            Some(SpinningArg::Runs) => options.spinning = Spinning::Runs,
            Some(SpinningArg::Never) => options.spinning = Spinning::Never,
            None => {}
        }
        let model = Model::open(self.bundle.path()?, &options)?;
        if options.device != *model.device() && options.device != Device::Auto {
            for why in &model.report()?.refused {
                eprintln!("dflow: {why}; on {} instead", model.device());
            }
        }
        Ok(model)
    }
}

/// Why it ends with 1 or 2.
enum Failure {
    /// The command line asks for something that is not there or makes no sense: 2.
    Usage(Error),
    /// It could not be done: 1.
    Failed(Error),
    /// It was said already: 1.
    Told,
    /// Control-C: 130, as shells have it.
    Cancelled(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Cancelled) {
            return Self::Cancelled("cancelled".into());
        }
        Self::Failed(error)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Info(args) => info::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Vary(args) => vary::vary(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Redetail(args) => vary::redetail(&args),
        Command::Encode(args) => tokens::encode(&args),
        Command::Decode(args) => tokens::decode(&args),
        Command::Repair(args) => tokens::repair(&args),
        Command::Pack(args) => pack::pack(&args),
        Command::Unpack(args) => pack::unpack(&args),
        Command::Mips(args) => mips::run(&args),
        Command::Atlas(args) => atlas::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Cost(args) => cost::cost(&args),
        Command::Calibrate(args) => cost::calibrate(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchOne(args) => bench::serve(&args),
        Command::Strip(args) => strip::run(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Doctor(args) => check::doctor(&args),
    };
    match result {
        Ok(()) if UNTOLD.load(Ordering::Relaxed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            eprintln!("dflow: {error}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("dflow: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Cancelled(text)) => {
            eprintln!("dflow: {text}");
            ExitCode::from(130)
        }
    }
}

/// Set when the result could not be told.
static UNTOLD: AtomicBool = AtomicBool::new(false);

/// Prints a line of the command's result. A reader that has gone away has seen enough, and the work goes on; that
/// the result cannot be told for another reason is a failure.
fn tell(line: std::fmt::Arguments<'_>) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe && !UNTOLD.swap(true, Ordering::Relaxed) => {
            eprintln!("dflow: cannot write the result: {error}");
        }
        _ => {}
    }
}

/// [`tell`], as `println!`.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::tell(format_args!($($arg)*)) };
}
