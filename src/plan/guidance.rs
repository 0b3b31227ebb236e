//! Classifier-free guidance per token: `guided = uncond + (cond - uncond) * scale`.

use super::Curve;

/// Far beyond any useful scale, and far below where scaled logits would overflow.
const LARGEST: f32 = 1000.0;

/// How strongly the class conditions the tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    /// The guidance scale, 0 to 1000. 1 is off and costs nothing; the published models are best at about 1.5. A curve that
    /// stays at 1 from some token on costs nothing from there on.
    pub scale: Curve,
    /// The "gradual" schedule of the reference code: from the first group after the causal part on, the scale falls
    /// linearly with the group index i, as `scale * (G - i + 1) / (G + 1)` with G groups in all.
    pub gradual: bool,
}

impl Guidance {
    /// The same scale for every token.
    #[must_use]
    pub fn constant(scale: f32) -> Self {
        Self { scale: scale.into(), gradual: false }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.scale.check(|scale| (0.0..=LARGEST).contains(&scale), "guidance", &format!("0 to {LARGEST}"))
    }

    /// Whether any token needs unconditional logits.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on_from(0)
    }

    /// Whether the token with index `token` or a later one needs unconditional logits.
    #[must_use]
    pub fn is_on_from(&self, token: usize) -> bool {
        !self.scale.stays(token, 1.0)
    }

    /// The scale at the token with index `token`, for a model of `tokens` tokens with a causal part of `causal` and groups
    /// of `group` (0 counts as 1).
    #[must_use]
    pub fn scale_at(&self, token: usize, tokens: usize, causal: usize, group: usize) -> f32 {
        let scale = self.scale.at(token);
        // A scale that is off stays off.
        if !self.gradual || token < causal || !self.is_on_from(token) {
            return scale;
        }
        let group = group.max(1);
        let groups = (tokens / group) as f32;
        let index = (token / group) as f32;
        scale * (groups - index + 1.0) / (groups + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradual_scale_falls_from_the_first_group_after_the_causal_part() {
        let guidance = Guidance { scale: 3.4.into(), gradual: true };
        let at = |token| guidance.scale_at(token, 128, 8, 8);
        assert_eq!(at(7), 3.4);
        assert!((at(8) - 3.4 * 16.0 / 17.0).abs() < 1e-6);
        assert_eq!(at(8), at(15), "a group has one scale");
        assert!((at(120) - 3.4 * 2.0 / 17.0).abs() < 1e-6);
        assert_eq!(Guidance::constant(2.0).scale_at(120, 128, 8, 8), 2.0);
    }

    #[test]
    fn guidance_is_off_where_the_curve_stays_at_1() {
        let guidance = Guidance { scale: "3@0,1@64".parse().unwrap(), gradual: false };
        assert!(guidance.is_on() && guidance.is_on_from(63) && !guidance.is_on_from(64));
        assert_eq!(guidance.scale_at(32, 128, 8, 8), 2.0);
        assert!(!Guidance::constant(1.0).is_on());
        assert!(Guidance { scale: "1@8,3@64".parse().unwrap(), gradual: false }.is_on());
        assert!(Guidance { scale: "1@8,-3@64".parse().unwrap(), gradual: false }.check().is_err());
    }
}
