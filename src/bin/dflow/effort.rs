//! `--effort`: how a picture is encoded.

use clap::Args;
use detailflow::{EncodeOptions, MAX_EFFORT, Model, Picture, Result};
use indicatif::ProgressBar;

use crate::batches::progress_bar;

/// Steps of the progress bar.
const PERCENT: u64 = 100;

#[derive(Args)]
pub struct EffortArgs {
    /// How long to search for tokens that decode to the picture with less error: 0 (the encoder alone) to 4. From 2 on each
    /// takes two to five times as long as the one before
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_EFFORT)))]
    effort: u32,
}

impl EffortArgs {
    /// The tokens of the level of `level_size` pixels per side; 0 is the finest. Shows the progress of a search.
    pub fn encode(&self, model: &Model, picture: &Picture, level_size: u32) -> Result<Vec<u32>> {
        let bar = if self.effort > 0 { progress_bar(PERCENT) } else { ProgressBar::hidden() };
        let options = EncodeOptions::new().with_effort(self.effort).with_level_size(level_size);
        let options = options.with_progress(|share| bar.set_position((share * PERCENT as f32) as u64));
        let tokens = model.encode_with(picture, options);
        bar.finish_and_clear();
        tokens
    }
}
