//! `dflow bundle`: a bundle as one file, and back.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use detailflow::{Bundle, Error};

use crate::batches::progress_bar;
use crate::{Failure, interrupt, say};

#[derive(Args)]
pub struct BundleCommandArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Subcommand)]
enum BundleCommand {
    /// Write a bundle as a single file (.dflow), which every command takes in place of a folder
    Pack(PackArgs),
    /// Write a bundle as a folder with a file for each of its files
    Unpack(UnpackArgs),
}

#[derive(Args)]
struct PackArgs {
    /// The bundle: a folder, or a single file
    bundle: PathBuf,
    /// File to write, such as model.dflow; an existing file is replaced
    output: PathBuf,
}

#[derive(Args)]
struct UnpackArgs {
    /// The bundle: a single file, or a folder
    bundle: PathBuf,
    /// Folder to write; a bundle there is replaced
    output: PathBuf,
}

pub fn run(args: &BundleCommandArgs) -> Result<(), Failure> {
    match &args.command {
        BundleCommand::Pack(PackArgs { bundle, output }) => {
            write(bundle, output, |bundle, progress| bundle.pack(output, progress))
        }
        BundleCommand::Unpack(UnpackArgs { bundle, output }) => {
            write(bundle, output, |bundle, progress| bundle.unpack(output, progress))
        }
    }
}

/// Reports progress, and stops by returning false.
type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

fn write(
    bundle: &Path,
    output: &Path,
    write: impl FnOnce(&Bundle, Progress<'_>) -> detailflow::Result<Bundle>,
) -> Result<(), Failure> {
    let bundle = Bundle::open(bundle)?;
    let bar = progress_bar(0);
    let stopped = interrupt::pressed();
    let written = write(&bundle, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        !stopped()
    });
    bar.finish_and_clear();
    let written = written.map_err(|error| match error {
        Error::Cancelled => Failure::Cancelled(format!("cancelled; {} is unchanged", output.display())),
        error => error.into(),
    })?;
    let bytes: u64 = written.files().iter().map(|file| file.length).sum();
    say!("{}: {}, {} files, {:.1} MB", output.display(), written.name(), written.files().len() + 1, bytes as f64 / 1e6);
    Ok(())
}
