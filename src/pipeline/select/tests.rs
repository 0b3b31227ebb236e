//! The selector with pictures and with random facts.

use super::near::{Match, Near};
use super::pictures::{disc, picture};
use super::*;
use crate::pixels::Image;
use crate::support::error::Error;

/// Pseudo-random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Facts of few shapes, with noise: many of them are duplicates, and many scores are equal.
    fn facts(&mut self, shapes: u64) -> Facts {
        let mut shape = Random(self.below(shapes));
        let mut hash = shape.next();
        for _ in 0..self.below(8) {
            hash ^= 1 << self.below(64);
        }
        let coarse = self.below(4) as u32;
        Facts {
            hash,
            tokens: self.below(200),
            coarse,
            colour: [100 + self.below(12) as u8, 50, 50, 128],
            score: if self.below(50) == 0 { f32::NAN } else { -(self.below(40) as f32) / 8.0 },
            opaque: self.below(101) as f32 / 100.0,
            flags: if self.below(20) == 0 { self.below(16) as u8 } else { Facts::ALPHA },
        }
    }
}

fn offer(selector: &mut Selector, number: u64, tokens: &[u32], image: &Image) -> Decision {
    let candidate = Candidate { number, tokens, coarse: &tokens[..1], mean_log_probability: -1.0, image };
    selector.offer(&candidate).unwrap()
}

fn selector(settings: SelectSettings) -> Selector {
    let mut selector = Selector::new(&settings).unwrap();
    selector.begin_group(0);
    selector
}

#[test]
fn alpha_limits_reject_empty_full_flat_and_cut_off_pictures() {
    let alpha = Some(AlphaLimits { min: 0.05, max: 0.9, edges: true });
    let mut selector = selector(SelectSettings { alpha, ..Default::default() });
    let clear = picture(32, 4, |_, _| [0.0; 4]);
    let full = picture(32, 4, |x, _| [x, x, x, 1.0]);
    let flat = picture(32, 4, |x, _| if x < 0.5 { [0.5, 0.5, 0.5, 1.0] } else { [0.0; 4] });
    let cross =
        picture(32, 4, |x, y| if (x - y).abs() < 0.1 || (x + y - 1.0).abs() < 0.1 { [1.0; 4] } else { [0.0; 4] });
    let broken = picture(32, 4, |x, _| [f32::NAN, x, x, 1.0]);
    let mut name = |number, image: &Image| match offer(&mut selector, number, &[1, 2], image) {
        Decision::Drop(reason) => reason.name(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(0, &clear), "empty");
    assert_eq!(name(1, &full), "full");
    // What shows on the mid grey ground is one colour, whatever alpha says.
    assert_eq!(name(2, &flat), "one-colour");
    assert_eq!(name(3, &cross), "edges");
    assert_eq!(name(4, &broken), "broken");
    assert_eq!(name(5, &picture(32, 3, |_, _| [0.2, 0.4, 0.6, 1.0])), "one-colour");
    // A model without alpha has no share of opaque pixels.
    assert_eq!(offer(&mut selector, 6, &[1, 2], &picture(32, 3, |x, y| [x, y, 0.5, 1.0])), Decision::Keep);
    assert_eq!(offer(&mut selector, 7, &[1, 2], &disc(32, 0.5, 0.5, 0.3, [1.0, 0.0, 0.0])), Decision::Keep);
    assert!(selector.end_group().is_empty());
}

#[test]
fn duplicates_are_dropped_for_the_earliest_of_their_group() {
    let mut selector = selector(SelectSettings { duplicates: Some(4), ..Default::default() });
    let red = disc(32, 0.45, 0.5, 0.3, [0.8, 0.2, 0.1]);
    let near = disc(32, 0.455, 0.5, 0.3, [0.79, 0.2, 0.1]);
    let blue = disc(32, 0.45, 0.5, 0.3, [0.1, 0.2, 0.8]);
    let small = disc(32, 0.7, 0.3, 0.15, [0.8, 0.2, 0.1]);
    assert_eq!(offer(&mut selector, 3, &[1, 1], &red), Decision::Keep);
    let near_duplicate = offer(&mut selector, 5, &[2, 1], &near);
    assert!(
        matches!(near_duplicate, Decision::Drop(Reason::NearDuplicate { of: 3, distance: 0..=4 })),
        "{near_duplicate:?}"
    );
    assert_eq!(offer(&mut selector, 6, &[2, 2], &blue), Decision::Keep, "recoloured");
    assert_eq!(offer(&mut selector, 7, &[3, 1], &small), Decision::Keep);
    assert_eq!(offer(&mut selector, 8, &[1, 1], &small), Decision::Drop(Reason::SameTokens { of: 3 }));
    // Those of another group are other pictures.
    selector.end_group();
    selector.begin_group(9);
    assert_eq!(offer(&mut selector, 9, &[1, 1], &red), Decision::Keep);
}

#[test]
fn equal_coarse_codes_double_the_distance() {
    let facts = |hash: u64, tokens: u64, coarse: u32| Facts {
        hash,
        tokens,
        coarse,
        colour: [9; 4],
        score: 0.0,
        opaque: 0.5,
        flags: Facts::ALPHA,
    };
    let near = |facts: &Facts, of: &Facts| {
        let mut near = Near::new(3);
        near.add(7, of).unwrap();
        near.find(facts)
    };
    let found = |distance| Some(Match { offset: 7, distance: Some(distance) });
    assert_eq!(near(&facts(0b111, 1, 1), &facts(0, 2, 2)), found(3));
    assert_eq!(near(&facts(0b1111, 1, 1), &facts(0, 2, 2)), None);
    assert_eq!(near(&facts(0b11_1111, 1, 1), &facts(0, 2, 1)), found(6));
    assert_eq!(near(&facts(0b111_1111, 1, 1), &facts(0, 2, 1)), None);
    // No coarse codes are no equal ones.
    assert_eq!(near(&facts(0b1111, 1, 0), &facts(0, 2, 0)), None);
    assert_eq!(near(&facts(u64::MAX, 1, 0), &facts(0, 1, 0)), Some(Match { offset: 7, distance: None }));
}

#[test]
fn index_of_many_candidates_finds_what_comparing_all_finds() {
    for (distance, count) in [(0, 1000), (3, 800), (4, 1500), (9, 2600)] {
        let mut random = Random(distance.into());
        let (mut indexed, mut all) = (Near::indexed_from(distance, 100), Near::indexed_from(distance, usize::MAX));
        let (mut before, mut matches): (Vec<Facts>, u32) = (Vec::new(), 0);
        for offset in 0..count {
            let mut facts = Facts { coarse: random.below(500) as u32, ..random.facts(1 << 40) };
            facts.tokens = random.below(1 << 20);
            if offset % 7 == 6 {
                // One that differs little from an earlier.
                let of = before[random.below(before.len() as u64) as usize];
                let coarse = if offset % 2 == 0 { of.coarse } else { facts.coarse };
                facts = Facts { tokens: facts.tokens, coarse, ..of };
                for _ in 0..random.below(u64::from(2 * distance) + 3) {
                    facts.hash ^= 1 << random.below(64);
                }
            }
            let wanted = all.find(&facts);
            assert_eq!(indexed.find(&facts), wanted, "candidate {offset} at distance {distance}");
            matches += u32::from(wanted.is_some());
            indexed.add(offset, &facts).unwrap();
            all.add(offset, &facts).unwrap();
            before.push(facts);
        }
        assert!(matches > 20, "{matches} at distance {distance}");
    }
}

#[test]
fn best_are_chosen_by_score_and_among_equal_ones_by_number() {
    let mut selector = selector(SelectSettings { best: Some(2), ..Default::default() });
    let scores = [-3.0, -1.0, f32::NAN, -2.0, -1.0, -4.0, -1.0];
    let facts = |score| Facts { score, ..Random(1).facts(1) };
    let decisions: Vec<Decision> =
        (0..).zip(scores).map(|(number, score)| selector.consider(number, &facts(score)).unwrap()).collect();
    let not_best = |score| Decision::Drop(Reason::NotBest { score, best: 2 });
    assert_eq!(decisions[..2], [Decision::Pending; 2]);
    assert_eq!(decisions[2], Decision::Drop(Reason::NoScore));
    assert_eq!(decisions[3..5], [Decision::Pending; 2]);
    assert_eq!(decisions[5..], [not_best(-4.0), not_best(-1.0)]);
    assert_eq!(selector.pending(), [1, 4]);
    assert_eq!(
        selector.end_group(),
        [(0, not_best(-3.0)), (1, Decision::Keep), (3, not_best(-2.0)), (4, Decision::Keep)]
    );
}

#[test]
fn candidates_out_of_order_are_refused() {
    let mut selector = Selector::new(&SelectSettings::default()).unwrap();
    let facts = Random(3).facts(1);
    assert!(matches!(selector.consider(0, &facts), Err(Error::State(_))));
    selector.begin_group(5);
    assert!(matches!(selector.consider(4, &facts), Err(Error::Invalid(_))));
    assert_eq!(selector.consider(6, &facts).unwrap(), Decision::Keep);
    assert!(matches!(selector.consider(6, &facts), Err(Error::Invalid(_))));
    assert!(matches!(selector.consider(5 + (1 << 32), &facts), Err(Error::Invalid(_))));
    assert_eq!(selector.consider(4 + (1 << 32), &facts).unwrap(), Decision::Keep);
}

/// Decisions about a group, by number: those at once, with those of pending candidates filled in.
fn decide(settings: &SelectSettings, all: &[(u64, Facts)], restarts: &[usize], take: bool) -> Vec<Decision> {
    let mut selector = Selector::new(settings).unwrap();
    selector.begin_group(10);
    let mut decisions = vec![Decision::Pending; all.len()];
    let place = |number: u64| all.iter().position(|&(of, _)| of == number).unwrap();
    for (at, (number, facts)) in all.iter().enumerate() {
        if restarts.contains(&at) {
            selector = Selector::new(settings).unwrap();
            // By way of what is recorded.
            let recorded = all[..at].iter().map(|(number, facts)| (*number, Facts::from_bytes(&facts.to_bytes())));
            selector.restore(10, recorded).unwrap();
        }
        decisions[at] = selector.consider(*number, facts).unwrap();
        if take {
            for (number, reason) in selector.take_displaced() {
                decisions[place(number)] = Decision::Drop(reason);
            }
        }
    }
    for (number, decision) in selector.end_group() {
        decisions[place(number)] = decision;
    }
    decisions
}

#[test]
fn decisions_do_not_depend_on_restarts() {
    let mut random = Random(19);
    for round in 0..200 {
        let settings = SelectSettings {
            duplicates: [None, Some(0), Some(4), Some(16)][random.below(4) as usize],
            best: [None, Some(1), Some(7), Some(1000)][random.below(4) as usize],
            alpha: [None, Some(AlphaLimits { min: 0.1, max: 0.8, edges: true })][random.below(2) as usize].clone(),
            ..Default::default()
        };
        let mut number = 10;
        let all: Vec<(u64, Facts)> = (0..random.below(120))
            .map(|_| {
                number += 1 + random.below(3);
                (number, random.facts(6))
            })
            .collect();
        let wanted = decide(&settings, &all, &[], false);
        assert!(!wanted.contains(&Decision::Pending), "round {round}");
        if let Some(best) = settings.best {
            assert!(wanted.iter().filter(|decision| **decision == Decision::Keep).count() <= best as usize);
        }
        for take in [false, true] {
            let restarts: Vec<usize> = (0..random.below(6)).map(|_| random.below(120) as usize).collect();
            assert_eq!(decide(&settings, &all, &restarts, take), wanted, "round {round}, restarts {restarts:?}");
        }
        let every: Vec<usize> = (0..all.len()).collect();
        assert_eq!(decide(&settings, &all, &every, true), wanted, "round {round}");
    }
}
