//! `dflow batch`: the pictures of a job file, drawn and written in one run that can be resumed.

mod list;
mod watch;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use detailflow::pipeline::run::{
    Encode, End, Lanes, Outcome, Run, RunProgress, Scope, Session, Shard, Watch, estimate,
};
use detailflow::pipeline::{
    self, Assembly, Checked, Filter, Picks, Picture, PictureFiles, ReportHead, RunSetup, TokenOutput,
};
use detailflow::{Error, Model};
use indicatif::{ProgressBar, ProgressStyle};

use crate::finishing::FinishArgs;
use crate::{Failure, ModelArgs, complain, interrupt, memory, say};

#[derive(Args)]
pub struct BatchArgs {
    /// Job file: .toml, .jsonl or .csv; - is JSON Lines on standard input
    #[arg(value_name = "JOB", required_unless_present = "watch")]
    job: Option<PathBuf>,
    /// Folder that is filled. The same command goes on where it was interrupted; - writes tokens as JSON Lines to standard
    /// output, and no files
    #[arg(short, long, value_name = "FOLDER", required_unless_present_any = ["dry_run", "list"])]
    output: Option<PathBuf>,
    /// Stop if any row of the job is wrong, rather than leaving it out
    #[arg(long)]
    strict: bool,
    /// Check the job, show what it will cost, and draw nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON line for each picture, with everything that another program needs to draw it, and draw nothing
    #[arg(long, conflicts_with = "dry_run")]
    list: bool,
    /// Make only the first N pictures, and of rows with selection all of the class of the last
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Make only pictures that all conditions take, such as "class=potion,wand tag=boss seed=10-20"; keys are class, tag, row, seed
    /// and number
    #[arg(long, value_name = "CONDITIONS")]
    filter: Option<String>,
    /// Make only the pictures of a list that the page of the job has saved
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    picks: Option<PathBuf>,
    /// Make only part I of N, on one of several machines that share the folder or not; a run without it makes what is left, and
    /// atlases, page and report
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Run each new job file in this folder, with the pictures in a folder of its name; ends with Control-C
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["job", "dry_run", "list", "shard", "filter"])]
    watch: Option<PathBuf>,
    /// Models that draw at once, 1 to 256 [default: for a small model one for each core, with one thread each; for a large one 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Lanes::MOST as u64))]
    lanes: Option<u64>,
    /// Most pictures that a lane draws together [default: up to 16]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: Option<u64>,
    /// Threads that encode and write files, 1 to 16 [default: one for four cores, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=16))]
    writers: Option<u64>,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn run(args: &BatchArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.watch {
        return watch::run(args, folder);
    }
    let job = args.job.as_deref().unwrap_or(Path::new("-"));
    let shard = args.shard.as_deref().map(str::parse).transpose().map_err(Failure::Usage)?;
    let bundle = args.model.bundle.open()?;
    let checked = check(args, job, &bundle)?;
    let filter = args.filter.as_deref().map(|text| Filter::parse(text, &bundle)).transpose().map_err(Failure::Usage)?;
    let picks = args.picks.as_deref().map(|path| Picks::open(path, &checked.identity, checked.plan.pictures()));
    let picks = picks.transpose()?;
    let takes = |picture: &Picture<'_>| {
        filter.as_ref().is_none_or(|filter| filter.has(picture))
            && picks.as_ref().is_none_or(|picks| picks.has(picture.number))
    };
    let some = filter.is_some() || picks.is_some();
    let scope = Scope { shard, limit: args.limit, filter: some.then_some(&takes) };
    if args.list {
        return list::list(&args.model.open()?, &checked, scope);
    }
    let studio = Studio::open(args)?;
    match args.output.as_deref() {
        _ if args.dry_run => studio.dry_run(&checked, scope),
        None => Ok(()),
        Some(out) if out.as_os_str() == "-" => list::stream(&studio.models, args.batch(), &checked, scope),
        Some(out) => studio.run(job, &checked, scope, out),
    }
}

/// Reads and checks a job; what is wrong with it is printed.
fn check(args: &BatchArgs, job: &Path, bundle: &detailflow::Bundle) -> Result<Checked, Failure> {
    let mut checked = pipeline::check_job(job, bundle)?;
    for problem in &checked.problems {
        complain!("{problem}");
    }
    if checked.stops(args.strict) {
        return Err(Failure::Reported);
    }
    let finish = args.finish.over(&checked.settings.finish)?;
    if finish != checked.settings.finish {
        checked.set_finish(finish);
    }
    Ok(checked)
}

impl BatchArgs {
    fn batch(&self) -> usize {
        self.batch.unwrap_or(0) as usize
    }
}

/// The models that draw, and how.
struct Studio<'a> {
    args: &'a BatchArgs,
    lanes: Lanes,
    models: Vec<Model>,
}

impl<'a> Studio<'a> {
    fn open(args: &'a BatchArgs) -> Result<Self, Failure> {
        let bundle = args.model.bundle.open()?;
        bundle.check_can_generate()?;
        let device = args.model.device.device.parse().map_err(Failure::Usage)?;
        let lanes = Lanes::choose(&bundle, &device, args.lanes.unwrap_or(0) as usize, args.model.threads);
        let count = if args.dry_run { 1 } else { lanes.count };
        let models = (0..count).map(|_| args.model.open_with_threads(lanes.threads)).collect::<Result<_, _>>()?;
        Ok(Self { args, lanes, models })
    }

    fn dry_run(&self, checked: &Checked, scope: Scope<'_>) -> Result<(), Failure> {
        let numbers = scope.pictures(&checked.plan);
        let cost = estimate(&checked.plan, numbers, &self.models[0], self.args.batch(), self.lanes.count)?;
        say!("pictures         {}", cost.pictures);
        say!("steps            {}, those of each picture counted alone", cost.steps);
        say!("picture files    {}, {:.1} MB uncompressed", cost.files, cost.bytes as f64 / 1e6);
        say!("lanes            {} of {} threads", self.lanes.count, self.models[0].threads());
        match cost.time {
            Some(time) => say!("time             {}", duration(time)),
            None => say!("time             unknown: run `dflow calibrate --batch {}` once on this machine", cost.batch),
        }
        if checked.left_out() > 0 {
            say!("rows left out    {}", checked.left_out());
        }
        Ok(())
    }

    /// Draws and writes what is left of a job.
    fn run(&self, job: &Path, checked: &Checked, scope: Scope<'_>, out: &Path) -> Result<(), Failure> {
        let model = &self.models[0];
        let files = PictureFiles::new(model, &checked.settings);
        let variant = model.variant();
        let identity = format!("{} {} {}", checked.identity, variant.precision, model.device());
        let run = Run {
            plan: &checked.plan,
            identity: &identity,
            out,
            output: &files as &dyn Encode,
            scope,
            log_probabilities: false,
            batch: self.args.batch(),
            writers: self.writers(),
        };
        let mut session = run.open()?;
        let outcome = draw(&mut session, &self.models)?;
        let (pictures, settled) = session.settled();
        let so_far = || format!("{settled} of {pictures} pictures are done; the same command goes on");
        let full = |error: Error| {
            complain!("{error}: {} when there is space", so_far());
            Failure::Reported
        };
        match outcome.end {
            End::Stopped => return Err(Failure::Cancelled(format!("cancelled: {}", so_far()))),
            End::Full(error) => return Err(full(error)),
            _ => {}
        }
        let assembled = self.assemble(job, checked, &files, scope.shard, out, &session).and_then(|()| {
            let none = outcome.progress.counts.pictures() == 0;
            let (lanes, threads, writers) = (self.models.len(), model.threads(), self.writers());
            let setup = RunSetup { lanes, threads, writers, peak_memory: memory::peak() };
            if none { Ok(()) } else { pipeline::write_timings(out, &outcome, &setup) }
        });
        assembled.map_err(|error| match &error {
            Error::Io { source, .. } if is_full(source) => full(error),
            _ => error.into(),
        })?;
        let failed = pictures - settled;
        say!("{}", summary(&outcome, settled, failed, out));
        if failed > 0 || checked.left_out() > 0 {
            let report = if scope.shard.is_none() { " (report.json lists them)" } else { "" };
            return Err(Failure::Partly(format!(
                "{failed} pictures failed and {} rows were left out{report}; the same command tries the pictures again",
                checked.left_out()
            )));
        }
        Ok(())
    }

    /// Writes what is made of all pictures together; that is left to a run without shards.
    fn assemble(
        &self,
        job: &Path,
        checked: &Checked,
        files: &PictureFiles<'_>,
        shard: Option<Shard>,
        out: &Path,
        session: &Session<'_>,
    ) -> Result<(), Error> {
        if shard.is_some() {
            return Ok(());
        }
        let model = &self.models[0];
        let (bundle, plan, settings) = (model.bundle(), &checked.plan, &checked.settings);
        let name = job.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy());
        if settings.tokens() == TokenOutput::Pack {
            pipeline::write_pack(out, plan, bundle, session)?;
        }
        let assembly = Assembly { out, plan, files, model, session };
        if let Some(atlas) = &settings.atlas {
            assembly.write_atlas(atlas)?;
        }
        if let Some(page) = &settings.page {
            assembly.write_page(&checked.identity, page.title.as_deref().unwrap_or(&name))?;
        }
        let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        let head = ReportHead { job: &name, bundle, precision: &model.variant().precision, problems: &problems };
        pipeline::write_report(out, plan, &head, session).map(|_| ())
    }

    fn writers(&self) -> usize {
        self.args.writers.map_or(self.lanes.writers(), |writers| writers as usize)
    }
}

/// Draws with a progress bar, until Control-C.
fn draw(session: &mut Session<'_>, models: &[Model]) -> Result<Outcome, Error> {
    let bar = progress_bar();
    let pressed = interrupt::pressed();
    let mut show = |progress: &RunProgress| {
        bar.set_length(progress.pictures);
        bar.set_position(progress.before + progress.counts.pictures());
        let rate = progress.counts.pictures() as f64 / progress.time.as_secs_f64().max(1e-3);
        let left = progress.pictures - progress.before - progress.counts.pictures();
        let eta = Duration::try_from_secs_f64(left as f64 / rate.max(1e-9)).map_or_else(|_| "?".to_owned(), duration);
        let failed = match progress.counts.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        bar.set_message(format!("{rate:.1}/s, {eta} left{failed}"));
    };
    let outcome = session.draw(models, Watch { stop: &pressed, progress: &mut show });
    bar.finish_and_clear();
    outcome
}

/// Whether a write failed since there is no space.
fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A progress bar of pictures on a terminal, nothing in a pipe.
fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {percent}%  {pos}/{len}  {msg}").expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}

fn summary(outcome: &Outcome, settled: u64, failed: u64, out: &Path) -> String {
    let progress = &outcome.progress;
    let made = progress.counts.pictures();
    let rate = made as f64 / progress.time.as_secs_f64().max(1e-9);
    let dropped = match progress.counts.dropped {
        0 => String::new(),
        dropped => format!(", {dropped} of them dropped by selection"),
    };
    let now = if made == 0 { "none to do".to_owned() } else { format!("{made} now, {rate:.1} a second{dropped}") };
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    format!("{}: {settled} pictures done ({now}){failed}", out.display())
}

/// A duration for people.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", time.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}
