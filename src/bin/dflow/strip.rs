//! `dflow strip`: a decode-only bundle from a full one.

use std::path::PathBuf;

use clap::Args;
use detailflow::{Bundle, Error};

use crate::batches::progress_bar;
use crate::{Failure, interrupt, say};

#[derive(Args)]
pub struct StripArgs {
    /// The bundle: a folder, or a single file
    bundle: PathBuf,
    /// Folder to write, or a single file when the name ends with .dflow; a bundle there is replaced
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Copy only this precision, such as int8 [default: all]
    #[arg(long, value_name = "P")]
    precision: Option<String>,
}

pub fn run(args: &StripArgs) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    let bar = progress_bar(0);
    let stopped = interrupt::pressed();
    let stripped = bundle.strip(&args.output, args.precision.as_deref(), |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        !stopped()
    });
    bar.finish_and_clear();
    let stripped = stripped.map_err(|error| match error {
        Error::Cancelled => Failure::Cancelled(format!("cancelled; {} is unchanged", args.output.display())),
        error => error.into(),
    })?;
    let megabytes = |bundle: &Bundle| bundle.files().iter().map(|file| file.length).sum::<u64>() as f64 / 1e6;
    say!(
        "{}: the decoder of {}, {:.1} MB of {:.1} MB",
        args.output.display(),
        stripped.name(),
        megabytes(&stripped),
        megabytes(&bundle)
    );
    Ok(())
}
