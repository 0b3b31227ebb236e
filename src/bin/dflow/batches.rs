//! The loop shared by generate, vary and redetail: generate batch by batch and write each picture.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use detailflow::pipeline::provenance::{Head, Record};
use detailflow::pixels::Finish;
use detailflow::sample::SamplingCurves;
use detailflow::tokens::{TokenFileKind, TokenImage};
use detailflow::{BestOf, Error, Generation, Guidance, Image, ImageRequest, Model, Progress, Request, Round, Scorer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::finishing::FinishArgs;
use crate::mixes::Wanted;
use crate::output::{Drawn, Output, check_folder};
use crate::source::{check_target, save, with_mix};
use crate::tokens::say_written;
use crate::{Failure, interrupt, say, stream};

/// Pictures generated together: enough to use the cores, few enough to bound memory for any count.
pub const BATCH: usize = 16;
/// Up to this many pictures, tokens are saved after every batch.
const OFTEN: usize = 1 << 16;

#[derive(Args)]
pub struct OutputArgs {
    /// Picture file [default: {class}-{seed}.png, or sheet.png for several pictures]. Several pictures become one contact
    /// sheet, or one file each if the name contains {class}, {seed} or {index}; {level} writes one file per level.
    /// {seed:05} has at least 5 digits; missing folders of a name with fields are created. A large sheet continues in FILE-2
    /// and so on. - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(long, value_name = "FORMAT", help = stream::FORMAT_HELP)]
    format: Option<String>,
    /// Also write the tokens to this file: .dft (one picture), .dftpack (entries named class-seed), or any other extension
    /// for JSON. It is rewritten before the pictures of each batch are; beyond 65536 pictures less often. - writes to standard
    /// output at the end
    #[arg(long, value_name = "FILE")]
    tokens_out: Option<PathBuf>,
    /// Write no record into PNG files. By default each picture file has one: bundle, class, seed, settings and tokens, which
    /// `dflow show` prints and `dflow reproduce` makes again
    #[arg(long)]
    no_provenance: bool,
    /// Print the mean log-probability of each picture's tokens
    #[arg(long)]
    log_probabilities: bool,
    /// Generate in time slices of this many milliseconds, as a game does within its frames, and print how long they took
    #[arg(long, value_name = "MS")]
    slice: Option<f64>,
}

/// How the best candidates are selected.
pub struct Selection<'a> {
    pub rounds: Vec<Round>,
    pub scorer: &'a dyn Fn() -> Scorer<'static>,
}

/// One run of a command: its batches and their output.
pub struct Batches<'a> {
    args: &'a OutputArgs,
    model: Model,
    classes: &'a Wanted,
    output: Output,
    slice: Option<Duration>,
    slices: Vec<(Duration, Duration)>,
    bar: ProgressBar,
    tokens: Vec<TokenImage>,
    /// The kind of their file.
    token_kind: TokenFileKind,
    /// How many of them were saved last.
    saved: usize,
    /// What the records say of every picture.
    guidance: Guidance,
    sampling: SamplingCurves,
    kept: usize,
    /// `None` where nothing is to be done.
    finish: Option<Finish>,
    lines: Vec<String>,
    finished: usize,
    total: usize,
}

impl<'a> Batches<'a> {
    /// Plans `pictures` and checks everything that can be checked before any work.
    pub fn plan(
        args: &'a OutputArgs,
        finish: &FinishArgs,
        request: &mut Request,
        classes: &'a Wanted,
        pictures: &[ImageRequest],
    ) -> Result<Self, Failure> {
        let model = request.model().clone();
        let bundle = model.bundle();
        let finish = Some(finish.of(bundle)?).filter(|finish| !finish.is_off());
        let slice = match args.slice {
            Some(ms) if !(ms > 0.0 && ms < 1e9) => {
                return Err(Failure::Usage(Error::Invalid(format!(
                    "--slice {ms}: must be more than 0 and less than 1e9 milliseconds"
                ))));
            }
            slice => slice.map(|ms| Duration::from_secs_f64(ms / 1e3)),
        };
        let labels = pictures.iter().map(|image| (Some(classes.name(bundle, image.class)), Some(image.seed)));
        let levels = bundle.ladder().levels().iter().filter(|level| level.tokens <= request.target());
        let tokens_out = args.tokens_out.as_deref();
        // Only one of them can go to standard output.
        let (of_pictures, of_tokens) = match (args.format.as_deref(), tokens_out) {
            (format, Some(path)) if stream::is_std(path) => (None, format),
            (format, _) => (format, None),
        };
        let sizes: Vec<u32> = levels.map(|level| level.size).collect();
        let output = Output::plan(args.output.as_deref(), labels.collect(), &sizes, of_pictures)?;
        let mut token_kind = TokenFileKind::Json;
        if let Some(path) = tokens_out {
            check_folder(path)?;
            token_kind = check_target(path, bundle, pictures.len(), of_tokens)?;
            if output.paths().iter().any(|other| other == path) {
                let text = format!("{}: one file cannot hold both the picture and the tokens", path.display());
                return Err(Failure::Usage(Error::Invalid(text)));
            }
        }
        request.set_log_probabilities(args.log_probabilities);
        let steps = model.schedule(request.target()).steps().count();
        let bar = progress_bar((pictures.len().div_ceil(BATCH) * steps + pictures.len()) as u64);
        let (slices, tokens, lines) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            args,
            model,
            classes,
            output,
            slice,
            slices,
            bar,
            tokens,
            token_kind,
            saved: 0,
            guidance: request.guidance().clone(),
            sampling: request.sampling().clone(),
            kept: request.prefix_tokens(),
            finish,
            lines,
            finished: 0,
            total: pictures.len(),
        })
    }

    /// Generates pictures that share nothing but the prefix of `request`.
    pub fn generate(&mut self, request: &mut Request, pictures: &[ImageRequest]) -> Result<(), Failure> {
        for batch in pictures.chunks(BATCH) {
            request.set_count(batch.len() as u32)?;
            for (at, image) in batch.iter().enumerate() {
                self.classes.set(request, at, *image)?;
            }
            self.finish(Generation::new(request)?)?;
        }
        Ok(())
    }

    /// Generates pictures of one class that share all tokens up to the level of `size` pixels, sampled with the first seed.
    pub fn generate_forks(
        &mut self,
        request: &mut Request,
        pictures: &[ImageRequest],
        size: u32,
    ) -> Result<(), Failure> {
        let Some(&first) = pictures.first() else { return Ok(()) };
        let mut trunk = request.clone();
        self.classes.set(trunk.set_count(1)?, 0, first)?;
        trunk.set_level_size(size)?;
        self.kept = trunk.target();
        let mut trunk = Generation::new(&trunk)?;
        interrupt::cancels(trunk.cancel_handle());
        if let Err(error) = trunk.finish() {
            return self.stop(error);
        }
        let target = self.model.bundle().ladder().prefix(request.target()).map_or(0, |prefix| prefix.size);
        trunk.set_level_size(target)?;
        for image in pictures {
            self.finish(trunk.fork(&[image.seed])?)?;
        }
        Ok(())
    }

    /// Generates candidates and continues the best.
    pub fn generate_best(
        &mut self,
        request: &mut Request,
        candidates: &[ImageRequest],
        selection: &Selection<'_>,
    ) -> Result<(), Failure> {
        request.set_count(candidates.len() as u32)?;
        for (at, image) in candidates.iter().enumerate() {
            self.classes.set(request, at, *image)?;
        }
        let mut best = BestOf::new(request, &selection.rounds, (selection.scorer)())?;
        interrupt::cancels(best.cancel_handle());
        loop {
            match best.step() {
                Ok(progress) if progress.steps_left == 0 => break,
                Ok(_) => self.bar.inc(1),
                Err(error) => return self.stop(error),
            }
        }
        for (at, (image, score)) in candidates.iter().zip(best.scores()).enumerate() {
            let class = self.classes.name(self.model.bundle(), image.class);
            let kept = if best.survivors().contains(&at) { "  kept" } else { "" };
            let score = score.map_or("none".to_owned(), |score| format!("{score:.4}"));
            self.lines.push(format!("{class} {}: score {score}{kept}", image.seed));
        }
        self.lines.push(format!("work: {} steps of one picture", best.generation().work()));
        for (at, image) in best.generation().images().iter().enumerate() {
            let class = self.classes.name(self.model.bundle(), image.class);
            self.output.relabel(self.finished + at, (Some(class), Some(image.seed)));
        }
        self.finish(best.into_generation())
    }

    /// Runs the rest of a generation and writes its pictures; those of a cancelled one at the finest finished level.
    fn finish(&mut self, mut generation: Generation) -> Result<(), Failure> {
        interrupt::cancels(generation.cancel_handle());
        let model = self.model.clone();
        let mut written = 0;
        loop {
            let progress = match self.advance(&mut generation) {
                Ok(progress) => progress,
                Err(Error::Cancelled) => return self.save_cancelled(&generation),
                Err(error) => return Err(error.into()),
            };
            self.bar.inc(1);
            // All new levels: a slice or a prefix may have passed several.
            let reached = progress.level.filter(|_| self.output.by_level()).map_or(0, |level| level.tokens);
            let levels = model.bundle().ladder().levels().iter();
            if reached > written {
                self.take_tokens(&generation, progress.tokens)?;
                self.save_tokens(false)?;
            }
            for level in levels.filter(|level| written < level.tokens && level.tokens <= reached) {
                for (at, drawn) in self.decoded(&generation, level.tokens)?.iter().enumerate() {
                    self.output.add_level(self.finished + at, drawn)?;
                }
            }
            written = written.max(reached);
            if progress.steps_left == 0 {
                break;
            }
        }
        self.take_tokens(&generation, generation.progress().tokens)?;
        if !self.output.by_level() {
            let pictures = self.decoded(&generation, generation.progress().tokens)?;
            self.save_tokens(false)?;
            for drawn in pictures {
                self.output.add(drawn)?;
            }
        }
        for (at, image) in generation.images().iter().enumerate() {
            let class = self.classes.name(model.bundle(), image.class);
            if self.args.log_probabilities {
                let mean = generation.mean_log_probability(at)?;
                self.lines.push(format!("{class} {}: mean log-probability {mean:.4}", image.seed));
            }
            self.bar.inc(1);
        }
        self.finished += generation.images().len();
        Ok(())
    }

    /// Takes the first `count` tokens of each picture of the generation in progress.
    fn take_tokens(&mut self, generation: &Generation, count: usize) -> Result<(), Failure> {
        if self.args.tokens_out.is_none() {
            return Ok(());
        }
        self.tokens.truncate(self.finished);
        let classes = self.model.bundle().classes();
        for (at, image) in generation.images().iter().enumerate() {
            let tokens = generation.tokens(at)?[..count].to_vec();
            let class = Some(classes[image.class as usize].clone());
            let image = TokenImage { class, seed: Some(image.seed), tokens, ..TokenImage::default() };
            self.tokens.push(with_mix(self.model.bundle(), image, generation.mix(at)));
        }
        Ok(())
    }

    /// Saves the tokens so far, before the pictures are: if the process is killed, no picture is without its tokens. Returns
    /// the path of the file. Very many pictures are saved less often, unless these are the last.
    fn save_tokens(&mut self, last: bool) -> Result<Option<PathBuf>, Failure> {
        let Some(path) = &self.args.tokens_out else { return Ok(None) };
        // A .dft file is not written without a picture.
        if self.token_kind == TokenFileKind::Dft && self.tokens.is_empty() {
            return Ok(None);
        }
        // A sheet, and standard output, are written at the end.
        let soon = self.output.at_once()
            && !stream::is_std(path)
            && (self.tokens.len() <= OFTEN || self.tokens.len() - self.saved >= self.tokens.len() / 64);
        if last || soon {
            save(path, self.token_kind, self.model.bundle(), &self.tokens, None)?;
            self.saved = self.tokens.len();
        }
        Ok(Some(path.clone()))
    }

    fn advance(&mut self, generation: &mut Generation) -> Result<Progress, Error> {
        let Some(budget) = self.slice else { return generation.step() };
        let begun = Instant::now();
        let step = generation.progress().next_step.unwrap_or(Duration::ZERO);
        let progress = generation.advance(budget)?;
        self.slices.push((begun.elapsed(), step));
        Ok(progress)
    }

    /// Saves each picture of a cancelled generation at the finest finished level.
    fn save_cancelled(&mut self, generation: &Generation) -> Result<(), Failure> {
        let level = generation.progress().level;
        if let Some(level) = level {
            self.take_tokens(generation, level.tokens)?;
            if !self.output.by_level() {
                let pictures = self.decoded(generation, level.tokens)?;
                self.save_tokens(false)?;
                for drawn in pictures {
                    self.output.add(drawn)?;
                }
            }
        }
        let (finished, total) = (self.finished, self.total);
        let rest = match level {
            Some(level) => format!("{} stopped at {} px", generation.images().len(), level.size),
            None => "the next had not finished a level".to_owned(),
        };
        self.write()?;
        Err(Failure::Cancelled(format!("cancelled: {finished} of {total} pictures are done, {rest}")))
    }

    /// Saves the finished pictures when the cancelled ones have no level to show.
    fn stop(&mut self, error: Error) -> Result<(), Failure> {
        if !matches!(error, Error::Cancelled) {
            return Err(error.into());
        }
        let (finished, total) = (self.finished, self.total);
        self.write()?;
        Err(Failure::Cancelled(format!("cancelled: {finished} of {total} pictures are done")))
    }

    /// Decodes the first `count` tokens of every picture in one batch, and makes their records.
    fn decoded(&self, generation: &Generation, count: usize) -> Result<Vec<Drawn>, Error> {
        let sequences = (0..generation.images().len()).map(|at| Ok(&generation.tokens(at)?[..count]));
        let sequences: Vec<&[u32]> = sequences.collect::<Result<_, Error>>()?;
        let images = generation.model().decode_batch(&sequences)?.into_iter();
        let pictures =
            images.zip(generation.images()).zip(sequences).enumerate().map(|(at, ((image, &drawn), tokens))| {
                let image = finished(self.finish.as_ref(), image)?;
                let record = match self.args.no_provenance {
                    true => None,
                    false => {
                        let mut head = Head::new(generation.model(), drawn, &self.guidance, &self.sampling)?;
                        (head.level, head.kept) = (image.size(), self.kept.min(count) as u32);
                        head.finish = self.finish.clone();
                        head.set_mix(self.model.bundle(), generation.mix(at));
                        Some(Record { head, tokens: tokens.to_vec() })
                    }
                };
                Ok(Drawn { image, record })
            });
        pictures.collect()
    }

    /// Writes what is not written yet and prints the collected lines.
    pub fn end(mut self) -> Result<(), Failure> {
        self.write()?;
        for line in &self.lines {
            say!("{line}");
        }
        if let Some(budget) = self.slice {
            say!("{}", slices(&mut self.slices, budget));
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let tokens = self.save_tokens(true)?;
        let mut written = self.output.finish()?;
        written.extend(tokens);
        written.iter().for_each(|path| say_written(path));
        Ok(())
    }
}

/// An image, finished if settings say so.
pub fn finished(finish: Option<&Finish>, image: Image) -> Result<Image, Error> {
    finish.map_or(Ok(None), |finish| finish.image(&image).map(Some)).map(|finished| finished.unwrap_or(image))
}

/// A summary of slice durations; each slice is paired with the step latency predicted before it.
fn slices(slices: &mut [(Duration, Duration)], budget: Duration) -> String {
    let over = slices.iter().filter(|(took, step)| *took > budget.max(*step) + *step).count();
    slices.sort_unstable();
    let ms = |part: f64| {
        let at = ((slices.len().max(1) - 1) as f64 * part) as usize;
        slices.get(at).map_or(0.0, |(took, _)| took.as_secs_f64() * 1e3)
    };
    format!(
        "{} slices of {} ms: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms; {over} exceeded the budget by more than one step",
        slices.len(),
        budget.as_secs_f64() * 1e3,
        ms(0.5),
        ms(0.99),
        ms(1.0)
    )
}

/// A progress bar on a terminal, nothing in a pipe.
pub fn progress_bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent}%  {elapsed} (left {eta})")
        .expect("the template is a constant");
    ProgressBar::new(length).with_style(style)
}
