//! Classifier-free guidance over the steps: `guided = uncond + (cond - uncond) * scale`.

use super::Step;

/// Far beyond any use, and far from where logits times it would overflow.
const LARGEST: f32 = 1000.0;

/// How strongly the class pulls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// 1 is off and costs nothing; the published models are best at about 1.5. 0 to 1000.
    pub scale: f32,
    /// The authors' "gradual" schedule: from the first parallel step on the scale falls linearly with the group
    /// index i, as `scale * (G - i + 1) / (G + 1)` with G groups in all.
    pub gradual: bool,
}

impl Guidance {
    pub(crate) fn check(&self) -> Result<(), String> {
        if (0.0..=LARGEST).contains(&self.scale) {
            return Ok(());
        }
        Err(format!("guidance {} is not a number of 0 to {LARGEST}", self.scale))
    }

    /// Whether the unconditional half is needed at all.
    pub fn is_on(&self) -> bool {
        self.scale != 1.0
    }

    /// The scale of one step of a model with `tokens` tokens, the first `causal` drawn singly, in groups of
    /// `group`.
    pub fn scale_at(&self, step: Step, tokens: usize, causal: usize, group: usize) -> f32 {
        if !self.gradual || step.start < causal {
            return self.scale;
        }
        let groups = (tokens / group) as f32;
        let index = (step.start / group) as f32;
        self.scale * (groups - index + 1.0) / (groups + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradual_starts_with_the_parallel_part_and_falls() {
        let guidance = Guidance { scale: 3.4, gradual: true };
        let at = |start, query| guidance.scale_at(Step { start, query }, 128, 8, 8);
        assert_eq!(at(7, 1), 3.4);
        assert!((at(8, 8) - 3.4 * 16.0 / 17.0).abs() < 1e-6);
        assert!((at(120, 8) - 3.4 * 2.0 / 17.0).abs() < 1e-6);
        assert_eq!(Guidance { scale: 2.0, gradual: false }.scale_at(Step { start: 120, query: 8 }, 128, 8, 8), 2.0);
    }
}
