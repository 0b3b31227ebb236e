//! Best of many.

use std::ffi::c_void;

use super::call::array;
use super::generation::{copy_of, detailflow_generation, make};
use super::image::{detailflow_image, picture_of};
use super::plain::{Plain, read};
use super::request::detailflow_request;
use super::status::{Failure, detailflow_status};
use crate::pixels::PixelFormat;
use crate::tasks::{BestOf, Candidate, Round, Scorer};

/// Scorer: the mean log-probability of a candidate's tokens, how typical the model finds it of its class.
pub const DETAILFLOW_SCORE_LOG_PROBABILITY: u32 = 1;
/// Scorer: likeness to a given picture at the level: minus the mean squared difference of the channels (0 to 1).
pub const DETAILFLOW_SCORE_LIKENESS: u32 = 2;
/// Scorer: a function of yours.
pub const DETAILFLOW_SCORE_FUNCTION: u32 = 3;

/// A candidate at the level where it is scored. All pointers are valid during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_candidate {
    /// sizeof(detailflow_candidate).
    pub struct_size: u32,
    /// Which picture of the request it is.
    pub index: u32,
    /// Its class.
    pub class_index: u32,
    /// Pixels a side of the level.
    pub size: u32,
    /// Its seed.
    pub seed: u64,
    /// Its tokens so far: those of the level.
    pub tokens: *const u32,
    /// How many.
    pub token_count: usize,
    /// What they decode to: size x size pixels, RGBA8, rows without gaps.
    pub pixels: *const u8,
}

/// Scores a candidate: the larger the better, and not NaN. Called on the calling thread, once for each candidate, in
/// order. It must return: no exception and no longjmp across it. It may use the model, and must not free the request.
pub type detailflow_score_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, candidate: *const detailflow_candidate) -> f32>;

/// How the best are chosen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_best_options {
    /// sizeof(detailflow_best_options).
    pub struct_size: u32,
    /// DETAILFLOW_SCORE_LOG_PROBABILITY, DETAILFLOW_SCORE_LIKENESS or DETAILFLOW_SCORE_FUNCTION.
    pub scorer: u32,
    /// The level of each round, in pixels, rising: where candidates are scored.
    pub levels: *const u32,
    /// How many go on after each round: fewer each time, at least 1.
    pub keeps: *const u32,
    /// How many rounds; at least 1.
    pub rounds: usize,
    /// For DETAILFLOW_SCORE_LIKENESS: the picture, of any size and format.
    pub picture: *const detailflow_image,
    /// For DETAILFLOW_SCORE_FUNCTION: the function.
    pub score: detailflow_score_fn,
    /// Handed to the function.
    pub user: *mut c_void,
}

// SAFETY: struct_size comes first, and it holds numbers and pointers only; a NULL function is None.
unsafe impl Plain for detailflow_best_options {
    const NAME: &'static str = "detailflow_best_options";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Draws the pictures of `request` as candidates, in one call: at the level of each round they are scored, and only the
/// best go on; the last that stay reach the request's level. `generation` has these, the best first.
///
/// `survivors` (may be NULL, with `capacity` 0) has room for `capacity`, at least as many as the last round keeps, and gets
/// which pictures of the request they are; `survivor_count` (may be NULL) gets their number. `scores` (may be NULL) has
/// room for one float for each picture of the request and gets its last score. The work that was done is
/// detailflow_generation_get_work. Free the generation with detailflow_generation_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_best_of(
    request: *const detailflow_request,
    options: *const detailflow_best_options,
    generation: *mut *mut detailflow_generation,
    survivors: *mut u32,
    capacity: usize,
    survivor_count: *mut usize,
    scores: *mut f32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe {
        make(request, generation, |request| {
            let options = read(options)?;
            let request = copy_of(request)?;
            let most = request.model().bundle().ladder().levels().len();
            let levels = array(options.levels, options.rounds, most, "levels")?;
            let keeps = array(options.keeps, options.rounds, most, "keeps")?;
            let rounds: Vec<Round> = levels
                .iter()
                .zip(&keeps)
                .map(|(&level_size, &keep)| Round { level_size, keep: keep as usize })
                .collect();
            let kept = keeps.last().copied().unwrap_or(0) as usize;
            if survivors.is_null() && capacity > 0 {
                return Err(Failure::invalid("survivors is NULL"));
            }
            if !survivors.is_null() && capacity < kept {
                return Err(Failure::invalid(format!("room for {capacity} survivors, there will be {kept}")));
            }
            let picture;
            let mut function;
            let scorer = match options.scorer {
                DETAILFLOW_SCORE_LOG_PROBABILITY => Scorer::LogProbability,
                DETAILFLOW_SCORE_LIKENESS => {
                    picture = picture_of(options.picture)?;
                    Scorer::Likeness(&picture)
                }
                DETAILFLOW_SCORE_FUNCTION => {
                    let score =
                        options.score.ok_or_else(|| Failure::invalid("detailflow_best_options.score is NULL"))?;
                    let user = options.user;
                    function = move |candidate: &Candidate<'_>| judge(score, user, candidate);
                    Scorer::Custom(&mut function)
                }
                other => {
                    let text = format!(
                        "detailflow_best_options.scorer is {other}; it is 1 (log-probability), 2 (likeness) or 3 (function)"
                    );
                    return Err(Failure::invalid(text));
                }
            };
            let mut best = BestOf::new(&request, &rounds, scorer)?;
            best.finish()?;
            // From here on nothing fails. There is room, as was looked at before the work.
            if !survivors.is_null() {
                for (at, &index) in best.survivors().iter().enumerate() {
                    survivors.add(at).write_unaligned(index as u32);
                }
            }
            if !survivor_count.is_null() {
                survivor_count.write_unaligned(best.survivors().len());
            }
            if !scores.is_null() {
                for (at, score) in best.scores().iter().enumerate() {
                    scores.add(at).write_unaligned(score.unwrap_or(f32::NAN));
                }
            }
            Ok(best.into_generation())
        })
    }
}

fn judge(
    score: unsafe extern "C" fn(*mut c_void, *const detailflow_candidate) -> f32,
    user: *mut c_void,
    candidate: &Candidate<'_>,
) -> f32 {
    // What cannot be shown has no score: there is no memory for its pixels.
    let Ok(pixels) = candidate.image.to_vec(PixelFormat::Rgba8) else { return f32::NAN };
    let shown = detailflow_candidate {
        struct_size: size_of::<detailflow_candidate>() as u32,
        index: candidate.index as u32,
        class_index: candidate.class,
        size: candidate.image.size(),
        seed: candidate.seed,
        tokens: candidate.tokens.as_ptr(),
        token_count: candidate.tokens.len(),
        pixels: pixels.as_ptr(),
    };
    // SAFETY: what it points to lives during the call, and the caller of the export vouches for the function.
    unsafe { score(user, &shown) }
}
