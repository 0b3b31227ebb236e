//! `dflow watch`: generate in the background and write the picture at each level.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use detailflow::{Error, EventKind, ImageRequest, Request, SubmitOptions, Worker, WorkerOptions};

use crate::batches::finished;
use crate::finishing::FinishArgs;
use crate::mixes::{AvoidArgs, Wanted};
use crate::output::Output;
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs, complain, interrupt, say, stream};

#[derive(Args)]
pub struct WatchArgs {
    /// Class name or index, or several classes with their weights: dragon:0.6,golem:0.4
    class: String,
    #[command(flatten)]
    avoid: AvoidArgs,
    /// Picture file, rewritten at each level; several pictures become a contact sheet. A viewer that reloads the file shows
    /// the picture sharpen
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten, next_help_heading = "Generation options")]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn run(args: &WatchArgs) -> Result<(), Failure> {
    if stream::is_std(&args.output) {
        let text = "-: the picture is rewritten at each level, which standard output cannot be".to_owned();
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let finish = args.finish.of(model.bundle())?;
    let finish = Some(&finish).filter(|finish| !finish.is_off());
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    let wanted = Wanted::one(model.bundle(), &args.class, args.avoid.avoid.as_deref())?;
    let class = wanted.classes[0];
    request.set_count(args.settings.count)?;
    for (at, seed) in args.settings.seeds().enumerate() {
        wanted.set(&mut request, at, ImageRequest { class, seed })?;
    }
    let name = wanted.name(model.bundle(), class);
    let labels: Vec<_> = args.settings.seeds().map(|seed| (Some(name.clone()), Some(seed))).collect();
    // Reports a file that cannot be written before any work is done.
    Output::plan(Some(&args.output), labels.clone(), &[], None)?;

    let worker = Worker::new(&WorkerOptions::default())?;
    let pressed = interrupt::pressed();
    worker.submit(&request, SubmitOptions::new().with_decode(true))?;
    loop {
        if pressed() {
            worker.cancel_all();
        }
        let Some(event) = worker.wait(Duration::from_millis(50)) else { continue };
        match event.kind() {
            EventKind::Failed(error) => {
                complain!("{error}");
                return Err(Failure::Reported);
            }
            EventKind::Cancelled => {
                let what = event.level().map_or("no level was finished".to_owned(), |level| {
                    format!("the {} px level is saved", level.size)
                });
                return Err(Failure::Cancelled(format!("cancelled: {what}")));
            }
            EventKind::Level => {
                let mut output = Output::plan(Some(&args.output), labels.clone(), &[], None)?;
                for image in 0..event.images() {
                    output.add(finished(finish, event.image(image)?.into_owned())?)?;
                }
                let size = event.level().map_or(0, |level| level.size);
                output.finish()?.iter().for_each(|path| say!("{}  {size} px", path.display()));
            }
            EventKind::Done => return Ok(()),
        }
    }
}
