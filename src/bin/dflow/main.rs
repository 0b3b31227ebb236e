//! `dflow`: DetailFlow on the command line, one file per sub-command. It uses only the public Rust API of the library, which
//! shows that this API is complete.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 success; 1 the operation failed; 2 wrong usage; 3 some pictures
//! of a batch failed; 130 interrupted by Control-C (pictures finished so far are saved).

mod atlas;
mod atlas_pages;
mod batch;
mod batches;
mod bench;
mod bundle;
mod cost;
mod doctor;
mod effort;
mod entries;
mod finishing;
mod generate;
mod info;
mod interrupt;
mod memory;
mod mips;
mod mixes;
mod output;
mod pack;
mod reproduce;
mod score;
mod settings;
mod sheet;
mod show;
mod source;
mod stream;
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
use detailflow::{Bundle, Device, Error, Model, ModelOptions, Spinning, printable_lines};

/// Shown at the end of `dflow --help`.
const EXIT_STATUS: &str = "Exit status: 0 success; 1 the operation failed; 2 wrong usage; 3 some pictures of a batch \
                           failed; 130 interrupted by Control-C (pictures finished so far are saved)";

#[derive(Parser)]
#[command(
    name = "dflow",
    version,
    about = "Generate, encode and decode pictures with DetailFlow models",
    after_help = EXIT_STATUS,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a bundle contains: sizes, levels, classes, variants
    Info(info::InfoArgs),
    /// Generate pictures of one class, or of every class
    Generate(generate::GenerateArgs),
    /// Generate the pictures of a job file; an interrupted run goes on where it ended
    Batch(batch::BatchArgs),
    /// Keep the coarse tokens of a picture and generate variations, or continue to a finer level
    Vary(vary::VaryArgs),
    /// Generate in the background and rewrite the picture file at each level
    Watch(watch::WatchArgs),
    /// Keep the coarse structure of a picture file and generate new detail
    Redetail(vary::RedetailArgs),
    /// Encode a picture file into tokens
    Encode(tokens::EncodeArgs),
    /// Decode tokens into pictures
    Decode(tokens::DecodeArgs),
    /// Regenerate the tokens that a damaged .dft file lost
    Repair(tokens::RepairArgs),
    /// Combine token files into one .dftpack
    Pack(pack::PackArgs),
    /// Extract or list the entries of a .dftpack
    Unpack(pack::UnpackArgs),
    /// Show the record of a picture file: bundle, class, seed, settings, tokens; or what a token file holds
    Show(show::ShowArgs),
    /// Make pictures again from the records of their settings, and compare the files
    Reproduce(reproduce::ReproduceArgs),
    /// Write a picture at every mip size, each decoded at the nearest level
    Mips(mips::MipsArgs),
    /// Decode many pictures into one atlas, with the position of each
    Atlas(atlas::AtlasArgs),
    /// Show how likely the tokens of a file are for one class, or for every class
    Score(score::ScoreArgs),
    /// Show what a request costs: steps, multiply-adds, memory, time
    Cost(cost::CostArgs),
    /// Measure the step latencies of this machine once and save them, for predicted times
    Calibrate(cost::CalibrateArgs),
    /// Measure generation speed by precision, attention form and batch: steps, levels, memory
    Bench(bench::BenchArgs),
    /// One configuration of `bench`, in a process of its own
    #[command(hide = true)]
    BenchOne(bench::OneArgs),
    /// Write a bundle as a single file, or a single file as a folder
    Bundle(bundle::BundleCommandArgs),
    /// Reduce a bundle to its decoder, for programs that ship tokens
    Strip(strip::StripArgs),
    /// Check a bundle: file lengths, hashes, graph signatures, one run of each graph, accuracy
    Verify(verify::VerifyArgs),
    /// Show the ONNX Runtime in use, the devices, and what is missing
    Doctor(doctor::DoctorArgs),
}

/// Selects the bundle.
#[derive(Args)]
struct BundleArgs {
    /// The bundle, a folder or a single file (.dflow) [default: the environment variable DETAILFLOW_BUNDLE, else the bundle
    /// installed with dflow]
    #[arg(long, value_name = "PATH")]
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

/// The help of `--device`: a constant, because rustdoc would take the brackets in a doc comment for links.
const DEVICE_HELP: &str = "Device that runs the graphs: cpu, auto, cuda[:i], tensorrt[:i], directml[:i], coreml, webgpu, \
                           openvino[:CPU|GPU|NPU], migraphx[:i] or plugin:PATH[:device]; `dflow doctor` lists the devices \
                           of this machine";

/// Selects the device that runs the graphs.
#[derive(Args)]
struct DeviceArgs {
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help = DEVICE_HELP)]
    device: String,
    /// Option of the device's execution provider, in the provider's own names; may be repeated
    #[arg(long = "device-option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Use the CPU if the device is not available (without this flag that is an error)
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
                    "--device-option {option}: must be KEY=VALUE, such as precision=bf16"
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
    /// Only while a graph runs
    Runs,
    /// Never; waiting threads sleep
    Never,
}

/// Selects the model and how it runs.
#[derive(Args)]
struct ModelArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Number of threads, 0 to 1024; 0 is one per core that the process may use
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// When waiting threads spin, that is, keep a core busy polling for work [default: as the library does]
    #[arg(long, value_name = "WHEN")]
    spinning: Option<SpinningArg>,
    /// Read the weights into memory and check them, instead of mapping their file, which may then change
    #[arg(long)]
    weights_in_memory: bool,
    /// Precision: fp32, fp16, int8 or int4 [default: on the CPU the first that the bundle lists; on other devices fp16, then
    /// fp32, then the others]
    #[arg(long, value_name = "P")]
    precision: Option<String>,
    /// Attention form (backend and KV layout): native, mha, plain or fixed [default: the first that suits the
    /// device, onnx/BUNDLE.md]
    #[arg(long, value_name = "FORM", hide = true)]
    form: Option<String>,
}

impl ModelArgs {
    fn open(&self) -> Result<Model, Failure> {
        self.open_as(self.threads, self.precision.as_deref(), self.form.as_deref())
    }

    fn open_with_threads(&self, threads: usize) -> Result<Model, Failure> {
        self.open_as(threads, self.precision.as_deref(), self.form.as_deref())
    }

    /// Opens this variant of the bundle.
    fn open_variant(&self, precision: Option<&str>, form: Option<&str>) -> Result<Model, Failure> {
        self.open_as(self.threads, precision, form)
    }

    fn open_as(&self, threads: usize, precision: Option<&str>, form: Option<&str>) -> Result<Model, Failure> {
        let mut options = ModelOptions::new().with_threads(threads).with_weights_in_memory(self.weights_in_memory);
        options.precision = precision.map(Into::into);
        options.form = form.map(str::parse).transpose().map_err(Failure::Usage)?;
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
                complain!("{why}; using {} instead", model.device());
            }
        }
        Ok(model)
    }
}

/// Why a command does not end with 0.
enum Failure {
    /// The command line is wrong or names something that does not exist: 2.
    Usage(Error),
    /// The operation failed: 1.
    Failed(Error),
    /// The operation failed and the error has been printed: 1.
    Reported,
    /// Some pictures of a batch failed, the others are done: 3.
    Partly(String),
    /// Control-C: 130, the shells' convention.
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
    #[cfg(windows)]
    let cli = Cli::parse_from(wild::args_os());
    #[cfg(not(windows))]
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Info(args) => info::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Batch(args) => batch::run(&args),
        Command::Vary(args) => vary::vary(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Redetail(args) => vary::redetail(&args),
        Command::Encode(args) => tokens::encode(&args),
        Command::Decode(args) => tokens::decode(&args),
        Command::Repair(args) => tokens::repair(&args),
        Command::Pack(args) => pack::pack(&args),
        Command::Unpack(args) => pack::unpack(&args),
        Command::Show(args) => show::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Mips(args) => mips::run(&args),
        Command::Atlas(args) => atlas::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Cost(args) => cost::cost(&args),
        Command::Calibrate(args) => cost::calibrate(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchOne(args) => bench::serve(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Strip(args) => strip::run(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Doctor(args) => doctor::doctor(&args),
    };
    match result {
        Ok(()) if OUTPUT_FAILED.load(Ordering::Relaxed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            complain!("{error}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            complain!("{error}");
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Partly(text)) => {
            complain!("{text}");
            ExitCode::from(3)
        }
        Err(Failure::Cancelled(text)) => {
            complain!("{text}");
            ExitCode::from(130)
        }
    }
}

/// Set when a line of the result could not be written.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line of the command's result. A closed pipe is not an error, and the work continues; any other write error makes
/// the command fail.
///
/// Where stdout takes a picture or tokens (`-o -`), lines go to stderr.
///
/// Text of bundles and token files is untrusted: characters that a terminal would obey are escaped.
fn print_line(line: std::fmt::Arguments<'_>) {
    if stream::is_claimed() {
        eprintln!("{}", printable_lines(&line.to_string()));
        return;
    }
    match writeln!(std::io::stdout(), "{}", printable_lines(&line.to_string())) {
        Err(error)
            if error.kind() != std::io::ErrorKind::BrokenPipe && !OUTPUT_FAILED.swap(true, Ordering::Relaxed) =>
        {
            complain!("cannot write the result: {error}");
        }
        _ => {}
    }
}

/// Prints a message on stderr, escaped as by [`print_line`].
fn print_message(message: std::fmt::Arguments<'_>) {
    eprintln!("dflow: {}", printable_lines(&message.to_string()));
}

/// `eprintln!` by [`print_message`].
#[macro_export]
macro_rules! complain {
    ($($arg:tt)*) => { $crate::print_message(format_args!($($arg)*)) };
}

/// `println!` by [`print_line`].
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::print_line(format_args!($($arg)*)) };
}
