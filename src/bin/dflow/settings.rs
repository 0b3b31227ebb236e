//! Sampling options shared by generate, vary, redetail, watch, cost and (in part) repair.

use clap::Args;
use detailflow::{Curve, Error, Guidance, Request};

#[derive(Args)]
pub struct SettingsArgs {
    /// Seed of the first picture, 0 to 2^64 - 1; each further picture uses the next seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Pictures of each class, 1 to 1000000
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Level to stop at, in pixels per side [default: the full size]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
}

impl SettingsArgs {
    /// Applies everything except seed and count, which are checked.
    pub fn apply(&self, request: &mut Request) -> detailflow::Result<()> {
        let Self { seed, count, .. } = *self;
        if seed.checked_add(u64::from(count) - 1).is_none() {
            let text =
                format!("--seed {seed} --count {count}: the seeds after it would pass {}, the largest", u64::MAX);
            return Err(Error::Invalid(text));
        }
        self.sampling.apply(request)?;
        if let Some(level) = self.level {
            request.set_level_size(level)?;
        }
        Ok(())
    }

    /// The seeds of the `count` pictures.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + Clone + use<> {
        let first = self.seed;
        (0..u64::from(self.count)).map(move |k| first.saturating_add(k))
    }
}

/// How tokens are sampled.
#[derive(Args)]
pub struct SamplingArgs {
    /// Guidance scale, 0 to 1000, 1 is off: a number, or a curve of VALUE@TOKEN points such as 1.0@8,3.0@64 [default: the
    /// bundle's]
    #[arg(long, value_name = "CURVE", allow_hyphen_values = true)]
    guidance: Option<Curve>,
    /// Decrease guidance linearly over the groups
    #[arg(long)]
    gradual: bool,
    /// Temperature, 0 is greedy: a number or a curve [default: the bundle's]
    #[arg(long, value_name = "CURVE", allow_hyphen_values = true)]
    temperature: Option<Curve>,
    /// Sample from the K most likely codes, 0 is off: a number or a curve [default: the bundle's]
    #[arg(long, value_name = "CURVE", allow_hyphen_values = true)]
    top_k: Option<Curve>,
    /// Sample from the most likely codes up to this total probability, 1 is off: a number or a curve [default: the
    /// bundle's]
    #[arg(long, value_name = "CURVE", allow_hyphen_values = true)]
    top_p: Option<Curve>,
}

impl SamplingArgs {
    pub fn apply(&self, request: &mut Request) -> detailflow::Result<()> {
        let guidance = request.guidance();
        request.set_guidance(Guidance {
            scale: self.guidance.clone().unwrap_or_else(|| guidance.scale.clone()),
            gradual: self.gradual || guidance.gradual,
        })?;
        if let Some(temperature) = &self.temperature {
            request.set_temperature(temperature.clone())?;
        }
        if let Some(top_k) = &self.top_k {
            request.set_top_k(top_k.clone())?;
        }
        if let Some(top_p) = &self.top_p {
            request.set_top_p(top_p.clone())?;
        }
        Ok(())
    }
}
