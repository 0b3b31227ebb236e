//! Best of many.

use std::ffi::{c_char, c_void};

use super::call::{call, change, get_message};
use super::error::detailflow_error;
use super::generation::{detailflow_generation, make};
use super::handle::{Guard, Guarded, Object};
use super::image::detailflow_image;
use super::message::Message;
use super::param::{Exclusive, In, Out, Owned, Shared};
use super::request::{copy_of, detailflow_request};
use super::status::{Failure, detailflow_status};
use crate::pixels::{Picture, PixelFormat};
use crate::tasks::{BestOf, Candidate, Round, Scorer};

/// A candidate at the level where it is scored. All pointers are valid during the call only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_candidate {
    /// sizeof(detailflow_candidate).
    pub struct_size: u32,
    /// Which image of the request it is.
    pub image_index: u32,
    /// Its class.
    pub class_index: u32,
    /// Pixels per side of the level.
    pub level_size: u32,
    /// Its seed.
    pub seed: u64,
    /// Its tokens so far: those of the level.
    pub tokens: *const u32,
    /// Number of tokens.
    pub token_count: usize,
    /// What they decode to: level_size x level_size pixels, DETAILFLOW_FORMAT_RGBA8, rows without gaps.
    pub pixels: *const u8,
}

/// Scores a candidate. Called on the thread that calls detailflow_best_of, once for each candidate and round, in order.
/// It must return (no exception, no longjmp); it may use the model, and must not free the request.
///
/// @param user What was given to detailflow_best_of_options_set_scorer_function.
/// @param candidate Valid during the call.
/// @return The larger the better; NaN is an error.
pub type detailflow_score_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, candidate: *const detailflow_candidate) -> f32>;

/// How the best candidates are chosen. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_best_of_options(Guarded<Options>);

/// What the options say.
#[derive(Default)]
pub struct Options {
    rounds: Vec<Round>,
    scorer: Choice,
}

#[derive(Clone, Default)]
enum Choice {
    #[default]
    LogProbability,
    Likeness(std::sync::Arc<Picture>),
    Function(Host),
}

/// The caller vouches for the function.
#[derive(Clone, Copy)]
struct Host {
    function: unsafe extern "C" fn(*mut c_void, *const detailflow_candidate) -> f32,
    user: *mut c_void,
}

// SAFETY: the contract asks for a function that may be called with this pointer on the thread that calls best_of.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Object for detailflow_best_of_options {
    const KIND: &'static str = "detailflow_best_of_options";
    const NAME: &'static str = "options";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_best_of_options {
    type Value = Options;
    fn guarded(&self) -> &Guarded<Options> {
        &self.0
    }
}

/// Creates options without a round, with the log-probability as the score.
///
/// @param options Receives the handle. Free it with detailflow_best_of_options_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_new(
    options: Out<'_, *mut detailflow_best_of_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = options.place("options")?;
        place
            .set_handle(detailflow_best_of_options(Guarded::new(detailflow_best_of_options::KIND, Options::default())));
        Ok(())
    })
}

/// Adds a round: the level at which candidates are scored, and how many go on. At least one is needed; levels rise from
/// round to round, and fewer candidates go on each time. detailflow_best_of checks this.
///
/// @param level_size Pixels per side.
/// @param retained_count At least 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_add_round(
    options: Exclusive<'_, detailflow_best_of_options>,
    level_size: u32,
    retained_count: u32,
) -> detailflow_status {
    /// No ladder has as many levels.
    const MOST: usize = 1024;
    change(options, |options| {
        if options.rounds.len() == MOST {
            return Err(Failure::invalid(format!("best-of: there can be {MOST} rounds")));
        }
        options.rounds.push(Round { level_size, retained_count: retained_count as usize });
        Ok(())
    })
}

/// Scores by the mean log-probability of a candidate's tokens: how typical the model finds it for its class. This is the
/// default.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_set_scorer_log_probability(
    options: Exclusive<'_, detailflow_best_of_options>,
) -> detailflow_status {
    change(options, |options| {
        options.scorer = Choice::LogProbability;
        Ok(())
    })
}

/// Scores by the likeness to an image at the level: minus the mean squared difference of the premultiplied channels, 0
/// to 1.
///
/// @param picture Of any size and format; copied.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_set_scorer_likeness(
    options: Exclusive<'_, detailflow_best_of_options>,
    picture: In<'_, detailflow_image>,
) -> detailflow_status {
    change(options, |options| {
        options.scorer = Choice::Likeness(std::sync::Arc::new(picture.source()?.picture()?));
        Ok(())
    })
}

/// Scores by a function of the caller's.
///
/// @param function Must not be NULL.
/// @param user Passed to the function.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_set_scorer_function(
    options: Exclusive<'_, detailflow_best_of_options>,
    function: detailflow_score_fn,
    user: *mut c_void,
) -> detailflow_status {
    change(options, |options| {
        let function = function.ok_or_else(|| Failure::invalid("function is NULL"))?;
        options.scorer = Choice::Function(Host { function, user });
        Ok(())
    })
}

/// The message of the last failed call with these options: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_get_message(
    options: Shared<'_, detailflow_best_of_options>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(options, buffer, capacity, length)
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of_options_free(options: Owned<detailflow_best_of_options>) {
    options.free(|_| {});
}

/// Generates the images of a request as candidates, in one call: at the level of each round they are scored, and the
/// best go on; those that are left reach the request's level.
///
/// @param request Not changed.
/// @param options With at least one round.
/// @param generation Receives a generation of the images that are left, the best first. Free it with
/// detailflow_generation_free.
/// @param survivors Receives which images of the request they are: see "Arrays" above. May be NULL with
/// `survivor_capacity` 0.
/// @param survivor_capacity Indices that fit at `survivors`: at least the retained_count of the last round.
/// @param survivor_count Receives their number; may be NULL.
/// @param scores Receives the last score of each image of the request. May be NULL with `score_capacity` 0.
/// @param score_capacity Scores that fit at `scores`: at least the image_count of the request.
/// @return INVALID_ARGUMENT when the rounds do not fit the request, or a score is NaN; those of detailflow_generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_best_of(
    request: Shared<'_, detailflow_request>,
    options: Shared<'_, detailflow_best_of_options>,
    generation: Out<'_, *mut detailflow_generation>,
    survivors: Out<'_, u32>,
    survivor_capacity: usize,
    survivor_count: Out<'_, usize>,
    scores: Out<'_, f32>,
    score_capacity: usize,
) -> detailflow_status {
    make(request, generation, |request| {
        let (rounds, choice) = options.get()?.0.read(|options| Ok((options.rounds.clone(), options.scorer.clone())))?;
        let request = copy_of(request)?;
        let left = rounds.last().map_or(0, |round| round.retained_count);
        survivors.check_room(survivor_capacity, left, "survivors")?;
        scores.check_room(score_capacity, request.images().len(), "scores")?;
        let mut function;
        let scorer = match &choice {
            Choice::LogProbability => Scorer::LogProbability,
            Choice::Likeness(picture) => Scorer::Likeness(picture),
            Choice::Function(host) => {
                let host = *host;
                function = move |candidate: &Candidate<'_>| host.score(candidate);
                Scorer::Custom(&mut function)
            }
        };
        let mut best = BestOf::new(&request, &rounds, scorer)?;
        best.finish()?;
        let indices: Vec<u32> = best.survivors().iter().map(|&index| index as u32).collect();
        let last: Vec<f32> = best.scores().iter().map(|score| score.unwrap_or(f32::NAN)).collect();
        survivors.put_values(&indices, survivor_capacity, "survivors")?;
        scores.put_values(&last, score_capacity, "scores")?;
        if let Some(place) = survivor_count.optional() {
            place.set(indices.len());
        }
        Ok(best.into_generation())
    })
}

impl Host {
    fn score(self, candidate: &Candidate<'_>) -> f32 {
        // Without memory for the pixels there is no score, which is an error.
        let Ok(pixels) = candidate.image.to_vec(PixelFormat::Rgba8) else { return f32::NAN };
        let shown = detailflow_candidate {
            struct_size: size_of::<detailflow_candidate>() as u32,
            image_index: candidate.index as u32,
            class_index: candidate.class,
            level_size: candidate.image.size(),
            seed: candidate.seed,
            tokens: candidate.tokens.as_ptr(),
            token_count: candidate.tokens.len(),
            pixels: pixels.as_ptr(),
        };
        // SAFETY: what it points to lives during the call, and the caller vouched for the function.
        unsafe { (self.function)(self.user, &shown) }
    }
}
