//! Features of coarse-to-fine tokens: starting from a prefix, forks, dropping images, cancelling with the tokens kept,
//! scores, curves and costs.

mod common;

use std::time::Duration;

use common::{all_tokens, finished, request};
use detailflow::{
    BestOf, Error, Generation, Guidance, ImageRequest, Model, Picture, PixelFormat, Round, Scorer, tasks,
};

fn step_times(generation: &mut Generation, times: usize) {
    for _ in 0..times {
        generation.step().unwrap();
    }
}

/// Every number of tokens that is a prefix, and none.
fn prefixes(model: &Model) -> Vec<usize> {
    [0].into_iter().chain(model.bundle().ladder().prefixes().iter().map(|prefix| prefix.tokens)).collect()
}

#[test]
fn generation_from_its_own_prefix_gives_the_same_tokens() {
    for model in common::models() {
        let mut wanted = request(&model, &[(1, 7)]);
        let whole = all_tokens(&finished(&wanted)).remove(0);
        for count in prefixes(&model) {
            wanted.set_prefix(&whole[..count]).unwrap();
            let generation = Generation::new(&wanted).unwrap();
            assert_eq!(generation.tokens(0).unwrap(), &whole[..count], "what is given is there before the first step");
            assert_eq!(finished(&wanted).tokens(0).unwrap(), whole, "{count} tokens, {:?}", model.variant());
        }
    }
}

#[test]
fn shared_prefixes_are_computed_once_and_change_no_token() {
    for model in common::models() {
        let alone: Vec<Vec<u32>> =
            [(0, 1), (2, 2)].iter().map(|&image| all_tokens(&finished(&request(&model, &[image]))).remove(0)).collect();
        for count in prefixes(&model).into_iter().filter(|&count| count > 0 && count < model.bundle().tokens()) {
            // Two of one class that begin alike, one of another class that does too, and one that begins otherwise.
            let images = [(0, 5), (0, 6), (1, 5), (0, 5)];
            let starts = [0, 0, 0, 1].map(|which: usize| &alone[which][..count]);
            let mut together = request(&model, &images);
            for (at, start) in starts.iter().enumerate() {
                together.set_image_prefix(at, start).unwrap();
            }
            let generation = finished(&together);
            let mut work = 0;
            for (at, (&image, start)) in images.iter().zip(starts).enumerate() {
                let mut single = request(&model, &[image]);
                single.set_prefix(start).unwrap();
                let single = finished(&single);
                assert_eq!(generation.tokens(at).unwrap(), single.tokens(0).unwrap(), "{count} tokens, picture {at}");
                work += single.work();
            }
            // Three different pictures until they part, which is after the first step that draws.
            let schedule = model.schedule(model.bundle().tokens());
            let shared = schedule.steps().filter(|step| step.start <= count).count() as u64;
            assert_eq!(generation.work(), work - shared, "the first two shared {shared} steps");
        }
    }
}

#[test]
fn prefix_of_invalid_length_or_tokens_is_refused() {
    let model = common::open(&common::small(), "fp32", "mha");
    let mut wanted = request(&model, &[(0, 1), (0, 2)]);
    let said = |error: Error| error.to_string();
    assert!(said(wanted.set_prefix(&[1; 5]).unwrap_err()).contains("5 tokens are not a prefix"));
    assert!(said(wanted.set_prefix(&[1, 1, 1, u32::MAX]).unwrap_err()).contains("token 3"));
    assert!(said(wanted.set_image_prefix(2, &[1]).unwrap_err()).contains("out of range"));
    wanted.set_image_prefix(1, &[1; 4]).unwrap();
    assert!(said(Generation::new(&wanted).unwrap_err()).contains("0 tokens, image 1 with 4"));
    let first = model.bundle().ladder().levels()[0];
    wanted.set_prefix(&[1; 8]).unwrap().set_level_size(first.size).unwrap();
    assert!(said(Generation::new(&wanted).unwrap_err()).contains("the prefix has 8 tokens"));
    wanted.set_prefix(&[]).unwrap();
    assert_eq!(Generation::new(&wanted).unwrap().progress().tokens, 0);
}

#[test]
fn fork_keeps_tokens_and_samples_the_rest_by_its_own_seed() {
    for model in common::models() {
        let wanted = request(&model, &[(1, 7), (2, 8)]);
        let whole = all_tokens(&finished(&wanted));
        let steps = Generation::new(&wanted).unwrap().progress().steps_left;
        for before in 0..=steps {
            let mut parent = Generation::new(&wanted).unwrap();
            step_times(&mut parent, before);
            let at = parent.progress().tokens;
            let (mut same, mut other) = (parent.fork(&[7, 8]).unwrap(), parent.fork(&[70, 80]).unwrap());
            let again = other.fork(&[7, 8]).unwrap();
            // The parent goes on behind its forks, and its end does not touch them.
            parent.finish().unwrap();
            assert_eq!(all_tokens(&parent), whole);
            other.finish().unwrap();
            drop(parent);
            same.finish().unwrap();
            assert_eq!(all_tokens(&same), whole, "the same seeds, {before} steps before");
            for (other, whole) in all_tokens(&other).iter().zip(&whole) {
                assert_eq!(other[..at], whole[..at]);
                assert_eq!(other == whole, at == whole.len(), "other seeds draw another rest");
            }
            let mut again = again;
            again.finish().unwrap();
            assert_eq!(all_tokens(&again), whole, "a fork of a fork");
        }
        assert!(Generation::new(&wanted).unwrap().fork(&[1]).is_err());
    }
}

#[test]
fn fork_allocates_memory_at_its_first_step() {
    for model in common::models() {
        let mut parent = Generation::new(&request(&model, &[(1, 7)])).unwrap();
        step_times(&mut parent, 3);
        let mut forks: Vec<Generation> = (0..100).map(|seed| parent.fork(&[seed]).unwrap()).collect();
        let held = parent.memory();
        assert_eq!(held.shared, 0);
        for fork in &forks {
            assert!(fork.memory().own < 1024, "tokens only: {:?}", fork.memory());
            assert!(fork.memory().shared > 0);
        }
        for fork in &mut forks[1..3] {
            fork.step().unwrap();
            assert_eq!(fork.memory().shared, 0);
            assert!(fork.memory().own > 1024);
        }
        assert_eq!(forks[0].memory().own, forks[99].memory().own);
    }
}

#[test]
fn retain_images_drops_the_others_and_changes_no_other() {
    for model in common::models() {
        let images = [(0, 1), (1, 2), (2, 3), (0, 4)];
        let whole = all_tokens(&finished(&request(&model, &images)));
        let steps = Generation::new(&request(&model, &images)).unwrap().progress().steps_left;
        for before in 0..steps {
            let mut generation = Generation::new(&request(&model, &images)).unwrap();
            step_times(&mut generation, before);
            generation.retain_images(&[3, 1, 2]).unwrap();
            assert_eq!(generation.progress().steps_done, before);
            generation.step().unwrap();
            generation.retain_images(&[1]).unwrap();
            generation.finish().unwrap();
            assert_eq!(generation.images(), [ImageRequest { class: 1, seed: 2 }]);
            assert_eq!(generation.tokens(0).unwrap(), whole[1]);
            assert_eq!(generation.work() as usize, 4 * before + 3 + (steps - before - 1));
        }
        let mut generation = Generation::new(&request(&model, &images)).unwrap();
        for wrong in [&[][..], &[4], &[1, 1]] {
            assert!(matches!(generation.retain_images(wrong), Err(Error::Invalid(_))));
        }
        generation.finish().unwrap();
        assert_eq!(all_tokens(&generation), whole, "what is refused changes nothing");
    }
}

#[test]
fn generation_cancelled_at_each_step_keeps_its_tokens() {
    for model in common::models() {
        let wanted = request(&model, &[(1, 7), (0, 9)]);
        let whole = all_tokens(&finished(&wanted));
        let steps = Generation::new(&wanted).unwrap().progress().steps_left;
        for before in 0..steps {
            let mut generation = Generation::new(&wanted).unwrap();
            step_times(&mut generation, before);
            let progress = generation.progress();
            generation.cancel_handle().cancel();
            assert!(matches!(generation.step(), Err(Error::Cancelled)));
            assert!(matches!(generation.advance(Duration::from_secs(1)), Err(Error::Cancelled)));
            assert_eq!(generation.progress().tokens, progress.tokens);
            for (at, whole) in whole.iter().enumerate() {
                assert_eq!(generation.tokens(at).unwrap(), &whole[..progress.tokens]);
                match progress.level {
                    Some(level) => {
                        let expected = model.decode(&whole[..level.tokens]).unwrap();
                        assert_eq!(generation.level_image(at).unwrap(), expected);
                        assert_eq!(expected.size(), level.size);
                    }
                    None => assert!(matches!(generation.level_image(at), Err(Error::State(_)))),
                }
            }
            // The model is as it was, and a fork of what was cancelled goes on.
            let mut fork = generation.fork(&[7, 9]).unwrap();
            fork.finish().unwrap();
            assert_eq!(all_tokens(&fork), whole);
            assert_eq!(all_tokens(&finished(&wanted)), whole);
        }
    }
}

#[test]
fn set_level_continues_a_finished_generation() {
    for model in common::models() {
        let mut wanted = request(&model, &[(1, 7)]);
        let whole = all_tokens(&finished(&wanted)).remove(0);
        let levels = model.bundle().ladder().levels().to_vec();
        wanted.set_level_size(levels[0].size).unwrap();
        let mut generation = finished(&wanted);
        for level in &levels {
            generation.set_level_size(level.size).unwrap();
            generation.finish().unwrap();
            assert_eq!(generation.tokens(0).unwrap(), &whole[..level.tokens]);
        }
        assert!(generation.set_level_size(levels[0].size).unwrap_err().to_string().contains("already"));
        assert!(generation.set_level_size(5).is_err());
    }
}

#[test]
fn advance_does_at_least_one_step_and_all_within_budget() {
    let model = common::open(&common::small(), "fp32", "mha");
    let wanted = request(&model, &[(1, 7)]);
    let whole = all_tokens(&finished(&wanted));
    let mut generation = Generation::new(&wanted).unwrap();
    let steps = generation.progress().steps_left;
    for done in 1..=steps {
        let progress = generation.advance(Duration::ZERO).unwrap();
        assert_eq!(progress.steps_done, done);
        assert_eq!(progress.next_step.is_some(), done < steps, "steps were measured, so the next one is predicted");
    }
    assert_eq!(all_tokens(&generation), whole);
    let mut generation = Generation::new(&wanted).unwrap();
    let progress = generation.advance(Duration::from_secs(3600)).unwrap();
    assert_eq!((progress.steps_done, progress.steps_left), (steps, 0));
    assert_eq!(all_tokens(&generation), whole);
}

#[test]
fn scores_equal_the_log_probabilities_of_sampling() {
    for model in common::models() {
        let mut wanted = request(&model, &[(1, 7), (2, 8)]);
        wanted.set_log_probabilities(true);
        let generation = finished(&wanted);
        for (at, image) in generation.images().iter().enumerate() {
            let tokens = generation.tokens(at).unwrap();
            let noted = generation.log_probabilities(at).unwrap();
            assert!(noted.iter().all(|&value| value <= 0.0 && value.is_finite()));
            assert_eq!(tasks::score(&model, image.class, tokens).unwrap(), noted, "{:?}", model.variant());
            let prefix = model.bundle().causal();
            assert_eq!(tasks::score(&model, image.class, &tokens[..prefix]).unwrap(), noted[..prefix]);
            let mean = noted.iter().sum::<f32>() / noted.len() as f32;
            assert!((generation.mean_log_probability(at).unwrap() - mean).abs() < 1e-5);
            // Another seed draws otherwise, but judges the same tokens alike.
            let classes: Vec<(u32, &[u32])> = (0..3).map(|class| (class, tokens)).collect();
            assert_eq!(tasks::score_all(&model, &classes).unwrap()[image.class as usize], noted);
        }
        assert!(finished(&request(&model, &[(1, 7)])).log_probabilities(0).is_err());
        assert!(
            tasks::score(&model, 0, &[]).is_err()
                && tasks::score(&model, 99, &[1]).is_err()
                && tasks::score_all(&model, &[]).is_err()
        );
    }
}

/// The same sum in double precision, from the logits that one greedy token implies: probabilities of all codes of the
/// first token sum to one.
#[test]
fn first_token_probabilities_sum_to_one() {
    let model = common::open(&common::small(), "fp32", "mha");
    let codes: Vec<[u32; 1]> = (0..model.bundle().codes() as u32).map(|code| [code]).collect();
    let pictures: Vec<(u32, &[u32])> = codes.iter().map(|code| (1, &code[..])).collect();
    let sum: f64 = tasks::score_all(&model, &pictures).unwrap().iter().map(|scores| f64::from(scores[0]).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn flat_curves_equal_constants() {
    for model in common::models() {
        let whole = all_tokens(&finished(&request(&model, &[(1, 7)])));
        let mut wanted = request(&model, &[(1, 7)]);
        let flat = |value: f32| format!("{value}@0,{value}@5,{value}@11").parse::<detailflow::Curve>().unwrap();
        wanted.set_guidance(Guidance { scale: flat(2.0), gradual: false }).unwrap();
        wanted.set_temperature(flat(1.0)).unwrap().set_top_p(flat(1.0)).unwrap().set_top_k(flat(0.0)).unwrap();
        assert_eq!(all_tokens(&finished(&wanted)), whole);
        assert!(wanted.set_temperature("1@0,-1@4".parse::<detailflow::Curve>().unwrap()).is_err());
        assert_eq!(wanted.sampling().temperature, flat(1.0), "what is refused changes nothing");
    }
}

#[test]
fn guidance_curve_ending_at_one_continues_unguided() {
    for model in common::models() {
        let causal = model.bundle().causal();
        let scale: detailflow::Curve = format!("2@{},1@{}", causal - 1, causal).parse().unwrap();
        let mut wanted = request(&model, &[(1, 7), (2, 3)]);
        wanted.set_guidance(Guidance { scale, gradual: false }).unwrap();
        let ended = finished(&wanted);
        // The same by hand: the first level with guidance, the rest from its tokens without.
        let guided = all_tokens(&finished(&request(&model, &[(1, 7), (2, 3)])));
        let mut rest = request(&model, &[(1, 7), (2, 3)]);
        rest.set_guidance(Guidance::constant(1.0)).unwrap();
        for (at, guided) in guided.iter().enumerate() {
            rest.set_image_prefix(at, &guided[..causal]).unwrap();
        }
        assert_eq!(all_tokens(&ended), all_tokens(&finished(&rest)));
    }
}

/// What comes after all candidates were drawn to the end, by the same scores at the same level.
fn winners(scores: &[f32], keep: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(keep);
    order
}

#[test]
fn best_of_eight_equals_the_best_of_eight_generations() {
    for model in common::models() {
        let images: Vec<(u32, u64)> = (0..8).map(|seed| (1, seed)).collect();
        let mut wanted = request(&model, &images);
        wanted.set_log_probabilities(true);
        let all = finished(&wanted);
        let level = model.bundle().ladder().levels()[0];
        let coarse = |at: usize| model.decode_level(all.tokens(at).unwrap(), level.size).unwrap();
        let pixels = coarse(3).to_vec(PixelFormat::Rgba8).unwrap();
        let size = level.size;
        let picture = Picture::from_pixels(PixelFormat::Rgba8, size, size, &pixels, size as usize * 4).unwrap();
        let brightness = |planes: &[f32]| planes.iter().sum::<f32>();
        let mean = |at: usize| {
            let each = &all.log_probabilities(at).unwrap()[..level.tokens];
            (each.iter().map(|&value| f64::from(value)).sum::<f64>() / each.len() as f64) as f32
        };
        let mut custom = |candidate: &detailflow::Candidate<'_>| brightness(candidate.image.planes());
        let scorers: [(Scorer<'_>, Vec<f32>); 2] = [
            (Scorer::LogProbability, (0..8).map(mean).collect()),
            (Scorer::Custom(&mut custom), (0..8).map(|at| brightness(coarse(at).planes())).collect()),
        ];
        let steps = model.schedule(model.bundle().tokens()).steps().count() as u64;
        let before = model.schedule(level.tokens).steps().count() as u64;
        for (scorer, expected) in scorers {
            let mut best =
                BestOf::new(&request(&model, &images), &[Round { level_size: level.size, retained_count: 1 }], scorer)
                    .unwrap();
            best.finish().unwrap();
            assert_eq!(best.survivors(), winners(&expected, 1));
            assert_eq!(best.scores().iter().map(|score| score.unwrap()).collect::<Vec<_>>(), expected);
            assert_eq!(best.generation().tokens(0).unwrap(), all.tokens(best.survivors()[0]).unwrap());
            assert_eq!(best.generation().work(), 8 * before + (steps - before));
        }
        let mut best = BestOf::new(
            &request(&model, &images),
            &[Round { level_size: level.size, retained_count: 3 }],
            Scorer::Likeness(&picture),
        )
        .unwrap();
        best.finish().unwrap();
        assert_eq!(best.survivors()[0], 3, "what is compared with itself is likest: {best:?}");
        assert_eq!(best.generation().images().len(), 3);
    }
}

#[test]
fn advance_to_level_stops_at_its_tokens() {
    for model in common::models() {
        let levels = model.bundle().ladder().levels().to_vec();
        let wanted = request(&model, &[(1, 7), (2, 8)]);
        let whole = all_tokens(&finished(&wanted));
        let mut generation = Generation::new(&wanted).unwrap();
        for level in &levels {
            let progress = generation.advance_to_level(level.size).unwrap();
            assert_eq!((progress.tokens, progress.level), (level.tokens, Some(*level)));
            assert_eq!(generation.advance_to_level(level.size).unwrap(), generation.progress(), "nothing to do");
            assert_eq!(generation.tokens(1).unwrap(), &whole[1][..level.tokens]);
        }
        let done = generation.progress().steps_done;
        assert_eq!(generation.advance_to_level(levels[0].size).unwrap().steps_done, done, "passed already");
        let error = generation.advance_to_level(7).unwrap_err().to_string();
        assert!(error.contains("levels are"), "{error}");
        let mut short = request(&model, &[(1, 7)]);
        short.set_level_size(levels[0].size).unwrap();
        let mut short = Generation::new(&short).unwrap();
        let error = short.advance_to_level(levels[1].size).unwrap_err().to_string();
        assert!(error.contains("stops at"), "{error}");
        assert_eq!(short.advance_to_level(0).unwrap().tokens, levels[0].tokens, "0 is where it stops");
    }
}

#[test]
fn best_of_with_invalid_rounds_is_refused() {
    let model = common::open(&common::small(), "fp32", "mha");
    let levels = model.bundle().ladder().levels().to_vec();
    let wanted = request(&model, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
    let round = |level_size: u32, retained_count| Round { level_size, retained_count };
    let refused = |rounds: &[Round]| BestOf::new(&wanted, rounds, Scorer::LogProbability).unwrap_err().to_string();
    assert!(refused(&[]).contains("there is no round"));
    assert!(refused(&[round(levels[0].size, 0)]).contains("keeps 0 of 4"));
    assert!(refused(&[round(levels[0].size, 4)]).contains("keeps 4 of 4"));
    assert!(refused(&[round(3, 1)]).contains("no 3 px level"));
    assert!(refused(&[round(levels[1].size, 2), round(levels[0].size, 1)]).contains("not above the one before"));
    // Where nothing is drawn before the round all candidates would be one picture.
    let mut begun = request(&model, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
    begun.set_prefix(&vec![1; levels[0].tokens]).unwrap();
    let error = BestOf::new(&begun, &[round(levels[0].size, 1)], Scorer::LogProbability).unwrap_err().to_string();
    assert!(error.contains("part of the prefix"), "{error}");
    BestOf::new(&begun, &[round(levels[1].size, 1)], Scorer::LogProbability).unwrap().finish().unwrap();
    let mut nan = |_: &detailflow::Candidate<'_>| f32::NAN;
    let mut best = BestOf::new(&wanted, &[round(levels[0].size, 1)], Scorer::Custom(&mut nan)).unwrap();
    assert!(best.finish().unwrap_err().to_string().contains("candidate 0 is NaN"));
    // Two rounds, one after the other.
    let rounds = [round(levels[0].size, 2), round(levels[1].size, 1)];
    let mut best = BestOf::new(&wanted, &rounds, Scorer::LogProbability).unwrap();
    best.finish().unwrap();
    assert_eq!(best.survivors().len(), 1);
    assert!(best.scores().iter().all(Option::is_some));
}

#[test]
fn vary_keeps_the_given_tokens() {
    for model in common::models() {
        let whole = all_tokens(&finished(&request(&model, &[(1, 7)]))).remove(0);
        let level = model.bundle().ladder().levels()[0];
        let wanted = request(&model, &[(1, 7), (1, 8), (1, 9)]);
        let varied = tasks::vary(&wanted, &whole, level.size).unwrap();
        for at in 0..3 {
            assert_eq!(varied.tokens(at).unwrap()[..level.tokens], whole[..level.tokens]);
        }
        assert_eq!(varied.tokens(0).unwrap(), whole);
        assert_ne!(varied.tokens(1).unwrap(), whole);
        assert!(tasks::vary(&wanted, &whole[..1], level.size).unwrap_err().to_string().contains("takes"));
        assert!(tasks::vary(&wanted, &whole, 7).is_err());

        let pixels = model.decode(&whole).unwrap().to_vec(PixelFormat::Rgba8).unwrap();
        let size = model.bundle().size();
        let picture = Picture::from_pixels(PixelFormat::Rgba8, size, size, &pixels, size as usize * 4).unwrap();
        let encoded = model.encode(&picture).unwrap();
        let detailed = tasks::redetail(&wanted, &picture, level.size).unwrap();
        assert_eq!(detailed.tokens(2).unwrap()[..level.tokens], encoded[..level.tokens]);
        let by_hand = tasks::vary(&wanted, &encoded, level.size).unwrap();
        assert_eq!(all_tokens(&detailed), all_tokens(&by_hand));
        assert_eq!(
            tasks::redetail(&wanted, &picture, 0).unwrap().tokens(0).unwrap(),
            encoded,
            "all kept, nothing to draw"
        );
    }
}

/// What a request costs is what it then does.
#[test]
fn cost_counts_the_steps_of_a_generation() {
    let model = common::open(&common::small(), "fp32", "mha");
    let bundle = model.bundle();
    let whole = all_tokens(&finished(&request(&model, &[(1, 7)]))).remove(0);
    for (prefix, scale) in [(0, "2"), (0, "1"), (0, "2@5,1@8"), (4, "2"), (8, "1"), (3, "2@0,1@9"), (16, "2")] {
        for level in bundle.ladder().levels().iter().filter(|level| level.tokens >= prefix) {
            let mut wanted = request(&model, &[(1, 7), (1, 8), (2, 9)]);
            wanted.set_guidance(Guidance { scale: scale.parse().unwrap(), gradual: false }).unwrap();
            wanted.set_prefix(&whole[..prefix]).unwrap().set_level_size(level.size).unwrap();
            let cost = tasks::cost(&wanted).unwrap();
            let mut generation = Generation::new(&wanted).unwrap();
            assert_eq!(cost.steps.iter().map(|step| step.count).sum::<usize>(), generation.progress().steps_left);
            let last = cost.levels.last().unwrap();
            assert_eq!((last.level, last.steps), (*level, generation.progress().steps_left));
            let pictures: u64 = cost.steps.iter().map(|step| (step.rows * step.count) as u64).sum();
            generation.finish().unwrap();
            // Without guidance a row is a picture, with it half of one.
            match scale {
                "1" => assert_eq!(pictures, generation.work()),
                "2" if prefix == 0 => assert_eq!(pictures, 2 * generation.work()),
                _ => assert!(pictures >= generation.work()),
            }
            assert_eq!(cost.output_bytes, u64::from(level.size * level.size) * 4 * 3);
            generation.image(0).unwrap();
            assert!(tasks::cost(&wanted).unwrap().time().is_some(), "each shape ran: {cost:?}");
        }
    }
}

/// What an origin did behind a fork is not the fork's, even where its memory becomes the fork's.
#[test]
fn fork_ignores_nan_written_by_its_origin() {
    let sound = common::open(&common::small(), "fp32", "fixed");
    let fork = |model: &Model, steps: u32| {
        let mut origin = Generation::new(&request(model, &[(1, 3)])).unwrap();
        for _ in 0..steps {
            origin.step().unwrap();
        }
        (origin.fork(&[77]).unwrap(), origin)
    };
    let (mut wanted, mut origin) = fork(&sound, 2);
    wanted.finish().unwrap();
    origin.finish().unwrap();
    let (wanted, drawn) = (wanted.tokens(0).unwrap(), origin.tokens(0).unwrap());
    let begun = 2;
    let token =
        *drawn[begun..].iter().find(|token| !wanted.contains(token) && !drawn[..begun].contains(token)).unwrap();
    let folder = common::copy(&common::small());
    common::spoil_embedding(folder.path(), token.into());
    let (mut fork, mut origin) = fork(&common::open(folder.path(), "fp32", "fixed"), 2);
    assert!(origin.finish().unwrap_err().to_string().contains("NaN or infinite"));
    drop(origin);
    fork.finish().unwrap();
    assert_eq!(fork.tokens(0).unwrap(), wanted);
}
