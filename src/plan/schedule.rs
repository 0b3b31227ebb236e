//! Which steps a picture takes: c steps that draw one token, then steps that draw a group of g at once (DETAILFLOW
//! paper section 3.4). Position s predicts token s.

/// One run of the autoregressive graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The first position that is fed, and the first token that is drawn.
    pub start: usize,
    /// How many positions are fed and tokens drawn: 1 or g.
    pub query: usize,
}

/// The steps from nothing to a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    group: usize,
    causal: usize,
    target: usize,
}

impl Schedule {
    /// `target` tokens of a model with `causal` tokens drawn singly and groups of `group` after; `target` is a
    /// prefix of the ladder.
    pub fn new(group: usize, causal: usize, target: usize) -> Self {
        Self { group, causal, target }
    }

    /// How many tokens are drawn when all is done.
    pub fn target(&self) -> usize {
        self.target
    }

    /// The step that follows when `tokens` tokens are drawn, or none when that is all.
    pub fn after(&self, tokens: usize) -> Option<Step> {
        let query = if tokens < self.causal { 1 } else { self.group };
        (tokens < self.target).then_some(Step { start: tokens, query })
    }

    /// How many steps are left when `tokens` tokens are drawn.
    pub fn left(&self, tokens: usize) -> usize {
        let single = self.causal.min(self.target).saturating_sub(tokens);
        let parallel = self.target.saturating_sub(tokens.max(self.causal)).div_ceil(self.group);
        single + parallel
    }

    /// Every step, in order.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        std::iter::successors(self.after(0), move |step| self.after(step.start + step.query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detailflow_16_takes_23_steps() {
        let schedule = Schedule::new(8, 8, 128);
        let steps: Vec<Step> = schedule.steps().collect();
        assert_eq!(steps.len(), 23);
        assert_eq!(steps[7], Step { start: 7, query: 1 });
        assert_eq!(steps[8], Step { start: 8, query: 8 });
        assert_eq!(steps[22], Step { start: 120, query: 8 });
        for (done, step) in steps.iter().enumerate() {
            assert_eq!(schedule.left(step.start), 23 - done);
        }
        assert_eq!(schedule.left(128), 0);
    }

    #[test]
    fn a_prefix_within_the_causal_part_stops_there() {
        assert_eq!(Schedule::new(8, 16, 5).steps().count(), 5);
        assert_eq!(Schedule::new(8, 16, 5).left(0), 5);
        assert_eq!(Schedule::new(4, 16, 16).left(3), 13);
    }
}
