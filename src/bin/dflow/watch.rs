//! `dflow watch`: draw in the background, and show the picture at each level as it is reached.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use detailflow::{EventKind, ImageRequest, Request, SubmitOptions, Worker, WorkerOptions};

use crate::output::Output;
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs, interrupt, say};

#[derive(Args)]
pub struct WatchArgs {
    /// A class's name or index
    class: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    /// The picture file, written anew at each level; for several pictures a contact sheet. A viewer that follows the
    /// file shows it sharpen
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(args: &WatchArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    let class = model.bundle().class(&args.class).map_err(Failure::Usage)?;
    request.set_count(args.settings.count)?;
    for (at, seed) in args.settings.seeds().enumerate() {
        request.set_image(at, ImageRequest { class, seed })?;
    }
    let name = &model.bundle().classes()[class as usize];
    let labels: Vec<_> = args.settings.seeds().map(|seed| (Some(name.clone()), Some(seed))).collect();
    // A file that cannot be written is said before the work.
    Output::plan(Some(&args.output), labels.clone(), &[])?;

    let worker = Worker::new(&WorkerOptions::default())?;
    let asked = interrupt::asked();
    worker.submit(&request, SubmitOptions::new().with_decode(true))?;
    loop {
        if asked() {
            worker.cancel_all();
        }
        let Some(event) = worker.wait(Duration::from_millis(50)) else { continue };
        match event.kind() {
            EventKind::Failed(error) => {
                eprintln!("dflow: {error}");
                return Err(Failure::Told);
            }
            EventKind::Cancelled => {
                let what = event.level().map_or("no level".to_owned(), |level| format!("the {} px level", level.size));
                return Err(Failure::Cancelled(format!("cancelled: {what} is kept")));
            }
            EventKind::Level => {
                let mut output = Output::plan(Some(&args.output), labels.clone(), &[])?;
                for image in 0..event.images() {
                    output.add(event.image(image)?.into_owned())?;
                }
                let size = event.level().map_or(0, |level| level.size);
                output.finish()?.iter().for_each(|path| say!("{}  {size} px", path.display()));
            }
            EventKind::Done => return Ok(()),
        }
    }
}
