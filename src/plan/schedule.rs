//! The steps of a picture: c steps that sample one token each, then steps that sample a group of g tokens at once
//! (DetailFlow paper, section 3.4). Position s predicts token s.

/// One run of the autoregressive graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The first input position, which is the first sampled token.
    pub start: usize,
    /// The number of input positions and of sampled tokens: 1 or g.
    pub query: usize,
}

/// The steps from the first token to a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    group: usize,
    causal: usize,
    target: usize,
}

impl Schedule {
    /// The schedule of `target` tokens, which must be a prefix, of a model with a causal part of `causal` tokens and groups
    /// of `group` after it. A `group` of 0 counts as 1.
    #[must_use]
    pub fn new(group: usize, causal: usize, target: usize) -> Self {
        Self { group: group.max(1), causal, target }
    }

    /// The number of tokens after the last step.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// The step that follows after `tokens` tokens; `None` after the last.
    #[must_use]
    pub fn after(&self, tokens: usize) -> Option<Step> {
        let query = if tokens < self.causal { 1 } else { self.group };
        (tokens < self.target).then_some(Step { start: tokens, query })
    }

    /// The number of steps left after `tokens` tokens.
    #[must_use]
    pub fn left(&self, tokens: usize) -> usize {
        let single = self.causal.min(self.target).saturating_sub(tokens);
        let parallel = self.target.saturating_sub(tokens.max(self.causal)).div_ceil(self.group);
        single.saturating_add(parallel)
    }

    /// Every step, in order.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        std::iter::successors(self.after(0), move |step| self.after(step.start.saturating_add(step.query)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_of_detailflow_16_has_23_steps() {
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
    fn extreme_schedules_do_not_overflow() {
        let endless = Schedule::new(usize::MAX, usize::MAX, usize::MAX);
        assert_eq!(endless.left(0), usize::MAX);
        assert_eq!(Schedule::new(0, 0, usize::MAX).left(0), usize::MAX);
        assert_eq!(Schedule::new(usize::MAX, 0, usize::MAX).left(0), 1);
        assert_eq!(Schedule::new(usize::MAX - 1, 0, usize::MAX).steps().count(), 2);
        assert_eq!(endless.after(usize::MAX), None);
    }

    #[test]
    fn schedule_within_the_causal_part_ends_at_its_target() {
        assert_eq!(Schedule::new(8, 16, 5).steps().count(), 5);
        assert_eq!(Schedule::new(8, 16, 5).left(0), 5);
        assert_eq!(Schedule::new(4, 16, 16).left(3), 13);
    }
}
