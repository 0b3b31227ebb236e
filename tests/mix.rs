//! Mixes of several classes: what they equal, and the formula on logits.

mod common;

use common::{all_tokens, finished, request, sample};
use detailflow::{
    Curve, Error, Generation, Guidance, ImageRequest, Mix, Model, ModelOptions, Request, Sampling, tasks,
};

fn curve(text: &str) -> Curve {
    text.parse().unwrap()
}

fn mix(classes: &[(u32, f32)], avoid: &[(u32, f32)]) -> Mix {
    let curves = |list: &[(u32, f32)]| list.iter().map(|&(class, weight)| (class, weight.into())).collect::<Vec<_>>();
    Mix::new(&curves(classes), &curves(avoid)).unwrap()
}

/// The tokens of a picture of a mix.
fn mixed(model: &Model, scale: &str, mix: &Mix) -> Vec<u32> {
    let mut wanted = request(model, &[(0, 7)]);
    wanted.set_guidance(Guidance { scale: curve(scale), gradual: false }).unwrap().set_mix(mix).unwrap();
    sample(&wanted).swap_remove(0)
}

fn plain(model: &Model, scale: &str, class: u32) -> Vec<u32> {
    let mut wanted = request(model, &[(class, 7)]);
    wanted.set_guidance(Guidance { scale: curve(scale), gradual: false }).unwrap();
    sample(&wanted).swap_remove(0)
}

/// The small bundle in all forms, and the shipped one as it opens.
fn models() -> impl Iterator<Item = Model> {
    let sprites = common::root().join("onnx/bundles/sprites");
    common::models().chain([Model::open(sprites, &ModelOptions::new().with_threads(1)).unwrap()])
}

#[test]
fn mix_of_one_class_is_the_class() {
    for model in models() {
        for scale in ["1", "2", "3@0,1@6", "0"] {
            let class = plain(&model, scale, 1);
            for one in [
                mix(&[(1, 1.0)], &[]),
                mix(&[(1, 1e-20)], &[]),
                mix(&[(1, 333.0), (2, 0.0)], &[(0, 0.0)]),
                mix(&[(1, 0.3)], &[(Mix::NO_CLASS, 2.0)]),
            ] {
                assert_eq!(one.as_class(), Some(1));
                assert_eq!(mixed(&model, scale, &one), class, "{:?} {scale} {one:?}", model.variant());
            }
            // Not a class from the start: the second one counts at no token that is sampled.
            let late = Mix::new(&[(1, 0.7.into()), (2, curve("0@60000,1@60001"))], &[(0, curve("0@60000,1@60001"))]);
            let late = late.unwrap();
            assert_eq!(late.as_class(), None);
            assert_eq!(mixed(&model, scale, &late), class, "{:?} {scale}", model.variant());
        }
    }
}

#[test]
fn mix_does_not_depend_on_the_order_nor_on_classes_of_weight_0() {
    for model in models() {
        let equal = mixed(&model, "2", &mix(&[(0, 0.5), (1, 0.5), (2, 0.5)], &[]));
        for order in [[2, 1, 0], [1, 0, 2]] {
            assert_eq!(mixed(&model, "2", &mix(&order.map(|class| (class, 2.0)), &[])), equal);
        }
        let two = mix(&[(0, 0.25), (2, 0.5)], &[(1, 0.5)]);
        let with = mix(&[(2, 0.5), (1, 0.0), (0, 0.25)], &[(2, 0.0), (1, 0.5), (Mix::NO_CLASS, 1.0)]);
        assert_eq!(mixed(&model, "2", &two), mixed(&model, "2", &with));
        assert_ne!(equal, mixed(&model, "2", &two));
    }
}

#[test]
fn mix_follows_its_classes_over_the_tokens() {
    for model in models() {
        // What comes before the change is the first class; a picture of no class is one at guidance 0.
        let outline = Mix::new(&[(0, curve("1@7,0@8")), (1, curve("0@7,1@8"))], &[]).unwrap();
        let tokens = mixed(&model, "2", &outline);
        assert_eq!(tokens[..8], plain(&model, "2", 0)[..8]);
        let mut rest = request(&model, &[(1, 7)]);
        rest.set_prefix(&tokens[..8]).unwrap();
        assert_eq!(sample(&rest)[0], tokens, "then it is the second class, of that start");
        let free = Mix::new(&[(0, curve("1@7,0@8")), (Mix::NO_CLASS, curve("0@7,1@8"))], &[]).unwrap();
        rest.set_guidance(Guidance::constant(0.0)).unwrap();
        let tokens = mixed(&model, "2", &free);
        rest.set_prefix(&tokens[..8]).unwrap();
        assert_eq!(sample(&rest)[0], tokens);
    }
}

#[test]
fn avoiding_changes_the_picture_and_its_own_strength_cancels_the_class() {
    for model in models() {
        let class = plain(&model, "2", 1);
        assert_ne!(mixed(&model, "2", &mix(&[(1, 1.0)], &[(2, 1.0)])), class);
        // u + s (c - u) - s (c - u): the unconditional picture, but for rounding.
        let greedy = |wanted: &mut Request| {
            wanted.set_sampling(Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 }).unwrap();
            sample(wanted).swap_remove(0)
        };
        let mut cancelled = request(&model, &[(1, 7)]);
        cancelled.set_avoid(&[(1, 1.0.into())]).unwrap();
        let mut unconditional = request(&model, &[(1, 7)]);
        unconditional.set_guidance(Guidance::constant(0.0)).unwrap();
        assert_eq!(greedy(&mut cancelled), greedy(&mut unconditional), "{:?}", model.variant());
    }
}

/// Rows of logits by teacher forcing: the log-probabilities of every code at the first position are logits but for a constant.
#[test]
fn mixed_tokens_follow_the_formula_on_the_logits() {
    for model in common::models() {
        let bundle = model.bundle();
        let codes = 16;
        let logits = |class: Option<u32>| -> Vec<f64> {
            let score = |token: u32| match class {
                Some(class) => tasks::score(&model, class, &[token]).unwrap()[0],
                // The unconditional ones: of a mix that is all but no class.
                None => {
                    let free = Mix::new(&[(Mix::NO_CLASS, 1000.0.into()), (0, 1e-30.into())], &[]).unwrap();
                    tasks::score_mix(&model, &free, &[token]).unwrap()[0]
                }
            };
            (0..codes).map(|token| f64::from(score(token))).collect()
        };
        let (a, b, avoided, u) = (logits(Some(0)), logits(Some(1)), logits(Some(2)), logits(None));
        for (scale, strength) in [(1.0f32, 0.0f32), (1.0, 0.8), (2.5, 0.0), (2.5, 0.8), (1.5, 3.0)] {
            let guided: Vec<f64> = (0..codes as usize)
                .map(|at| {
                    let (s, strength) = (f64::from(scale), f64::from(strength));
                    let m = 0.75 * a[at] + 0.25 * b[at];
                    u[at] + s * (m - u[at]) - s * strength * (avoided[at] - u[at])
                })
                .collect();
            let top = guided.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = guided.iter().map(|x| (x - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            // The first tokens of many seeds: their shares are the probabilities of the formula.
            let count = 4000;
            let mut wanted = request(&model, &[(0, 0)]);
            wanted.set_count(count).unwrap().set_guidance(Guidance::constant(scale)).unwrap();
            wanted.set_mix(&mix(&[(0, 3.0), (1, 1.0)], &[(2, strength)])).unwrap();
            let mut generation = Generation::new(&wanted).unwrap();
            generation.step().unwrap();
            let mut seen = vec![0u32; codes as usize];
            (0..count as usize).for_each(|image| seen[generation.tokens(image).unwrap()[0] as usize] += 1);
            for (at, &seen) in seen.iter().enumerate() {
                let wanted = weights[at] / total;
                let found = f64::from(seen) / f64::from(count);
                let deviation = (wanted * (1.0 - wanted) / f64::from(count)).sqrt();
                assert!((found - wanted).abs() < 6.0 * deviation + 2e-3, "{scale} {strength} {at}: {found} {wanted}");
            }
        }
        assert_eq!(bundle.classes().len(), 3);
    }
}

#[test]
fn mixed_and_plain_images_in_one_batch_are_those_alone() {
    for model in models() {
        let blend = mix(&[(0, 0.6), (2, 0.4)], &[(1, 0.5)]);
        let alone = mixed(&model, "2", &blend);
        let mut wanted = request(&model, &[(1, 3), (0, 7), (2, 9), (0, 8)]);
        wanted.set_image_mix(1, &blend).unwrap().set_image_mix(3, &mix(&[(1, 1.0)], &[(0, 1.0)])).unwrap();
        assert_eq!((wanted.mix(0), wanted.mix(1), wanted.images()[3].class), (None, Some(&blend), 1));
        let together = sample(&wanted);
        assert_eq!(together[1], alone);
        let others = sample(&request(&model, &[(1, 3), (2, 9)]));
        assert_eq!([&together[0], &together[2]], [&others[0], &others[1]]);
        // Stepped, forked, retained: the same.
        let mut generation = Generation::new(&wanted).unwrap();
        (0..5).for_each(|_| _ = generation.step().unwrap());
        let mut fork = generation.fork(&[3, 7, 9, 8]).unwrap();
        generation.retain_images(&[3, 1]).unwrap();
        assert_eq!(generation.mix(1), Some(&blend));
        generation.finish().unwrap();
        fork.finish().unwrap();
        assert_eq!(all_tokens(&fork), together);
        assert_eq!(all_tokens(&generation), [together[3].clone(), together[1].clone()]);
    }
}

#[test]
fn mixed_prefixes_share_rows_and_continue_as_without() {
    for model in models() {
        let blend = mix(&[(0, 0.6), (2, 0.4)], &[(1, 0.5)]);
        for scale in ["2", "1", "2@0,1@8"] {
            let whole = mixed(&model, scale, &blend);
            for given in [1, 4, 8] {
                let mut wanted = request(&model, &[(0, 7), (0, 7), (0, 7)]);
                wanted.set_guidance(Guidance { scale: curve(scale), gradual: false }).unwrap();
                wanted.set_image_mix(0, &blend).unwrap().set_image_mix(2, &blend).unwrap();
                wanted.set_prefix(&whole[..given]).unwrap();
                let tokens = sample(&wanted);
                assert_eq!([&tokens[0], &tokens[2]], [&whole, &whole], "{given} {scale}");
                let cost = tasks::cost(&wanted).unwrap();
                let generation = Generation::new(&wanted).unwrap();
                // Of the second picture the class 0, which is one of those of the mix.
                assert_eq!(cost.steps[0].rows, 4, "three classes and none, for all three pictures");
                assert_eq!(generation.images().len(), 3);
            }
        }
    }
}

#[test]
fn mixed_log_probabilities_are_those_of_the_score() {
    for model in models() {
        for blend in [mix(&[(0, 0.6), (2, 0.4)], &[]), mix(&[(0, 0.5), (Mix::NO_CLASS, 0.5)], &[(1, 0.5)])] {
            let mut wanted = request(&model, &[(0, 7)]);
            wanted.set_mix(&blend).unwrap().set_log_probabilities(true);
            let generation = finished(&wanted);
            let tokens = generation.tokens(0).unwrap();
            let scored = tasks::score_mix(&model, &blend, tokens).unwrap();
            let kept = generation.log_probabilities(0).unwrap();
            assert!(scored.iter().zip(kept).all(|(a, b)| (a - b).abs() < 1e-4), "{scored:?} {kept:?}");
            assert!(kept.iter().all(|&value| value < 0.0));
            // Given tokens have theirs, too.
            wanted.set_prefix(&tokens[..8]).unwrap();
            let given = finished(&wanted);
            assert!(given.log_probabilities(0).unwrap().iter().zip(kept).all(|(a, b)| (a - b).abs() < 1e-4));
        }
        let one = mix(&[(1, 0.5)], &[(0, 1.0)]);
        let tokens = plain(&model, "2", 1);
        let scores = [tasks::score_mix(&model, &one, &tokens).unwrap(), tasks::score(&model, 1, &tokens).unwrap()];
        assert_eq!(scores[0], scores[1], "what is avoided does not count");
    }
}

#[test]
fn cost_of_a_mix_counts_its_rows() {
    let model = common::open(&common::small(), "int8", "native");
    let mut wanted = request(&model, &[(0, 0), (1, 1)]);
    let rows = |wanted: &Request| {
        let cost = tasks::cost(wanted).unwrap();
        let mut generation = Generation::new(wanted).unwrap();
        let memory = generation.memory();
        assert!(memory.own > cost.key_bytes, "{memory:?} {cost:?}");
        generation.finish().unwrap();
        (cost.steps.iter().map(|step| step.rows).collect::<Vec<_>>(), cost.key_bytes, generation.work())
    };
    let (plain, bytes, work) = rows(&wanted);
    assert!(plain.iter().all(|&rows| rows == 4));
    wanted.set_image_mix(1, &mix(&[(0, 1.0), (2, 1.0)], &[(1, 1.0)])).unwrap();
    let (with, more, more_work) = rows(&wanted);
    assert!(with.iter().all(|&rows| rows == 6), "{with:?}");
    assert_eq!((more, more_work), (bytes / 4 * 6, work / 2 * 4));
    wanted.set_guidance(Guidance::constant(1.0)).unwrap();
    assert!(rows(&wanted).0.iter().all(|&rows| rows == 5), "the other image needs no unconditional row");
    wanted.set_image_mix(1, &mix(&[(0, 1.0), (2, 1.0)], &[])).unwrap();
    assert!(rows(&wanted).0.iter().all(|&rows| rows == 3));
    let outline = Mix::new(&[(0, curve("1@4,0@8")), (2, curve("0@4,1@8"))], &[]).unwrap();
    wanted.set_image_mix(1, &outline).unwrap();
    assert_eq!(rows(&wanted).0, [3, 3, 2]);
}

#[test]
fn request_setters_of_mixes_check_and_keep_what_they_do_not_set() {
    let model = common::open(&common::small(), "int8", "native");
    let mut wanted = request(&model, &[(0, 0), (1, 1)]);
    let refused = |result: detailflow::Result<&mut Request>, word: &str| match result {
        Err(Error::Invalid(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("{other:?}"),
    };
    refused(wanted.set_classes(&[(0, 1.0.into()), (3, 1.0.into())]), "class 3 is out of range");
    refused(wanted.set_avoid(&[(9, 1.0.into())]), "class 9 is out of range");
    refused(wanted.set_classes(&[]), "no class");
    refused(wanted.set_classes(&[(0, 1.0.into()), (0, 1.0.into())]), "listed twice");
    refused(wanted.set_classes(&[(0, 0.0.into())]), "are 0");
    refused(wanted.set_classes(&[(0, f32::NAN.into())]), "NaN is not 0 to 1000");
    refused(wanted.set_avoid(&[(0, (-1.0).into())]), "-1 is not 0 to 1000");
    refused(wanted.set_image_mix(2, &mix(&[(0, 1.0)], &[])), "image 2 is out of range");
    assert!(wanted.mix(0).is_none() && wanted.images()[1].class == 1, "nothing has changed");

    wanted.set_avoid(&[(2, 1.0.into())]).unwrap();
    assert_eq!(wanted.mix(1), Some(&mix(&[(1, 1.0)], &[(2, 1.0)])), "each keeps its class");
    wanted.set_classes(&[(0, 0.25.into()), (1, 0.75.into())]).unwrap();
    assert_eq!(wanted.mix(0), Some(&mix(&[(0, 0.25), (1, 0.75)], &[(2, 1.0)])));
    assert_eq!(wanted.images()[0].class, 1, "the class of the largest weight");
    wanted.set_count(3).unwrap();
    assert_eq!(wanted.mix(2), wanted.mix(0));
    wanted.set_image(1, ImageRequest { class: 2, seed: 5 }).unwrap();
    assert_eq!(wanted.mix(1), Some(&mix(&[(2, 1.0)], &[(2, 1.0)])));
    wanted.set_class(0).unwrap();
    assert_eq!(wanted.mix(2), Some(&mix(&[(0, 1.0)], &[(2, 1.0)])));
    wanted.set_avoid(&[]).unwrap();
    assert!((0..3).all(|image| wanted.mix(image).is_none()) && wanted.images().iter().all(|image| image.class == 0));
}

#[test]
fn bundle_reads_and_writes_mixes() {
    let model = common::open(&common::small(), "int8", "native");
    let bundle = model.bundle();
    let names = bundle.classes();
    let text = format!("{}:0.6,2:0.4", names[0]);
    let found = bundle.mix(&text, &names[1]).unwrap();
    assert_eq!(found, mix(&[(0, 0.6), (2, 0.4)], &[(1, 1.0)]));
    let (classes, avoid) = bundle.mix_text(&found);
    assert_eq!(
        (classes.clone(), avoid.clone()),
        (format!("{}:0.6,{}:0.4", names[0], names[2]), format!("{}:1", names[1]))
    );
    assert_eq!(bundle.mix(&classes, &avoid).unwrap(), found);
    assert_eq!(bundle.mix_name(&found), format!("{}+{}-{}", names[0], names[2], names[1]));
    assert_eq!(bundle.mix("0,none", "").unwrap(), mix(&[(0, 1.0), (Mix::NO_CLASS, 1.0)], &[]));
    let refused = bundle.mix("0,3", "").unwrap_err().to_string();
    assert!(refused.contains("class 3 is out of range"), "{refused}");
    let refused = bundle.mix("0:-1,1", "").unwrap_err().to_string();
    assert!(refused.contains(&format!("the weight of {}: -1 is not 0 to 1000", names[0])), "{refused}");
}

#[test]
fn class_weights_and_strengths_are_set_one_by_one() {
    let model = common::open(&common::small(), "int8", "native");
    let mut wanted = request(&model, &[(0, 0), (1, 1)]);
    wanted.set_class(0).unwrap().set_class_weight(1, curve("0@4,1@8")).unwrap();
    wanted.set_class_weight(0, curve("1@4,0@8")).unwrap().set_avoid_strength(2, 0.5).unwrap();
    let outline = Mix::new(&[(0, curve("1@4,0@8")), (1, curve("0@4,1@8"))], &[(2, 0.5.into())]).unwrap();
    assert_eq!((wanted.mix(0), wanted.mix(1)), (Some(&outline), Some(&outline)));
    let refused = wanted.set_class_weight(1, 0.0).unwrap_err().to_string();
    assert!(refused.contains("0 at token 8"), "{refused}");
    wanted.set_class_weight(0, 1.0).unwrap().set_class_weight(1, 0.0).unwrap().set_avoid_strength(2, 0.0).unwrap();
    assert!(wanted.mix(0).is_none());
}

#[cfg(feature = "worker")]
#[test]
fn worker_mixes_beside_plain_jobs() {
    use std::time::Duration;

    use detailflow::{EventKind, SubmitOptions, Worker, WorkerOptions};

    for form in ["native", "mha"] {
        let model = common::open(&common::small(), "int8", form);
        let blend = mix(&[(0, 0.6), (2, 0.4)], &[(1, 0.5)]);
        let mut wanted: Vec<Request> = (0..4).map(|at| request(&model, &[(at % 3, 7), (1, 8)])).collect();
        wanted[1].set_mix(&blend).unwrap();
        wanted[2].set_image_mix(1, &blend).unwrap().set_guidance(Guidance::constant(1.0)).unwrap();
        let alone: Vec<Vec<Vec<u32>>> = wanted.iter().map(sample).collect();
        let worker = Worker::new(&WorkerOptions::default()).unwrap();
        let jobs: Vec<_> = wanted.iter().map(|one| worker.submit(one, SubmitOptions::new()).unwrap()).collect();
        let mut done = 0;
        while done < jobs.len() {
            let Some(event) = worker.wait(Duration::from_secs(60)) else { panic!("no event") };
            if matches!(event.kind(), EventKind::Done) {
                let at = jobs.iter().position(|job| *job == event.job()).unwrap();
                (0..2).for_each(|image| assert_eq!(event.tokens(image).unwrap(), alone[at][image], "{form} job {at}"));
                done += 1;
            }
        }
        // A cancelled one stops, and the next one runs.
        let job = worker.submit(&wanted[1], SubmitOptions::new()).unwrap();
        worker.cancel_all();
        let last = worker.submit(&wanted[0], SubmitOptions::new()).unwrap();
        loop {
            let event = worker.wait(Duration::from_secs(60)).unwrap();
            match event.kind() {
                EventKind::Done if event.job() == last => break,
                EventKind::Done | EventKind::Cancelled => assert!(event.job() == job),
                _ => {}
            }
        }
    }
}

#[test]
fn token_files_keep_mixes() {
    use detailflow::tokens::{Dft, TokenFile, TokenImage};

    let model = common::open(&common::small(), "int8", "native");
    let bundle = model.bundle();
    let blend = Mix::new(&[(0, curve("1@3,0.5@4")), (2, 0.25.into())], &[(1, 0.5.into())]).unwrap();
    let mut wanted = request(&model, &[(0, 7), (1, 8)]);
    wanted.set_image_mix(0, &blend).unwrap();
    let generation = finished(&wanted);
    let snapshot = generation.reader().snapshot();
    let (dft, plain) = (snapshot.dft(0).unwrap(), snapshot.dft(1).unwrap());
    assert_eq!((dft.class, &dft.mix, dft.seed), (Some(0), &Some(blend.clone()), Some(7)));
    assert_eq!((plain.class, &plain.mix), (Some(1), &None), "one of one class is as it always was");
    assert_eq!(plain.encode().unwrap()[27] & 0x80, 0);
    let bytes = dft.encode().unwrap();
    let (read, soundness) = Dft::decode(&bytes).unwrap();
    assert!(soundness.is_sound() && read == dft);
    // A cut or changed byte is no other mix and no other token.
    for cut in 0..bytes.len() {
        match Dft::decode(&bytes[..cut]) {
            Ok((read, soundness)) => {
                assert!(!soundness.is_sound() && read.mix == dft.mix && dft.tokens.starts_with(&read.tokens));
            }
            Err(Error::Tokens(_)) => {}
            Err(other) => panic!("{other}"),
        }
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[cut] ^= 1 << bit;
            match Dft::decode(&changed) {
                Ok((read, soundness)) => {
                    assert!(!soundness.is_sound() && read.mix == dft.mix && dft.tokens.starts_with(&read.tokens));
                }
                Err(Error::Tokens(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    // What was lost is drawn again, by the mix.
    let lost = Dft { tokens: dft.tokens[..4].to_vec(), ..dft.clone() };
    let settings = request(&model, &[(1, 0)]);
    assert_eq!(tasks::repair(&settings, &lost, dft.tokens.len()).unwrap(), dft);
    // Where a file has no class, by that of the request.
    let unknown = Dft { class: None, mix: None, seed: None, ..lost };
    assert_eq!(tasks::repair(&wanted, &unknown, dft.tokens.len()).unwrap(), dft);
    assert!(Dft { class: Some(1), ..dft.clone() }.encode().is_err(), "not its main class");
    let foreign = Dft { mix: Some(mix(&[(0, 1.0), (9, 0.5)], &[])), ..dft.clone() };
    assert!(bundle.check_dft(&foreign).unwrap_err().to_string().contains("class 9"));
    // As JSON.
    let (classes, avoid) = bundle.mix_text(&blend);
    let image = TokenImage {
        class: Some(bundle.classes()[0].clone()),
        mix: Some(classes),
        avoid: Some(avoid),
        seed: Some(7),
        tokens: dft.tokens.clone(),
    };
    let file = TokenFile::new(bundle.tokenizer_id(), vec![image]);
    let read = TokenFile::decode(&file.encode().unwrap(), "x").unwrap();
    assert_eq!(bundle.dft_from_image(&read.images[0]).unwrap(), dft);
}

#[cfg(feature = "cli")]
mod command {
    use std::path::Path;

    use super::*;
    use common::run_dflow;

    fn run(folder: &Path, arguments: &[&str]) -> String {
        let output = run_dflow(folder, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn refused(folder: &Path, arguments: &[&str], word: &str) {
        let output = run_dflow(folder, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(word), "{arguments:?}: {error}");
    }

    fn bytes(folder: &Path, name: &str) -> Vec<u8> {
        std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn generate_mixes_and_records_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let one = |class: &str, avoid: &[&str], name: &str| {
            let arguments = [&["generate", class, "--seed", "3", "--no-provenance", "-o", name][..], avoid].concat();
            run(folder, &arguments);
            bytes(folder, name)
        };
        let plain = one("1", &[], "plain.png");
        assert_eq!(one("1:0.3", &[], "a.png"), plain);
        assert_eq!(one("1:0.3,2:0", &["--avoid", "0:0,none:4"], "a.png"), plain);
        let mixed = one("0:0.6,2:0.4", &["--avoid", "1:0.5"], "b.png");
        assert_eq!(one("2:0.4,0:0.6", &["--avoid", "1:0.5"], "a.png"), mixed);
        assert_ne!(mixed, one("0:0.6,2:0.4", &[], "a.png"));

        // The record, and the picture of the record.
        let arguments = ["generate", "0:0.6,2:0.4", "--avoid", "1:0.5", "--seed", "3", "--count", "2"];
        run(folder, &[&arguments[..], &["-o", "m{index}.png", "--tokens-out", "m.dftpack"]].concat());
        let shown = run(folder, &["show", "m0.png"]);
        let classes = common::open(&common::small(), "int8", "native").bundle().classes().to_vec();
        let text = format!("{}:0.6,{}:0.4", classes[0], classes[2]);
        assert!(shown.contains(&text) && shown.contains(&format!("avoid          {}:0.5", classes[1])), "{shown}");
        assert!(run(folder, &["reproduce", "m0.png", "m1.png"]).lines().all(|line| line.ends_with("identical")));
        run(folder, &["decode", "m.dftpack", "--entry", "0", "-o", "d.png"]);
        assert_eq!(bytes(folder, "d.png"), mixed, "the tokens are those of the picture");
        // Variations are of the mix of the file, by default.
        run(folder, &["vary", "m.dftpack", "--keep", "16", "--seed", "9", "-o", "v.png"]);
        assert!(run(folder, &["show", "v.png"]).contains(&text));
        assert!(run(folder, &["reproduce", "v.png"]).contains("identical"));
        run(folder, &["vary", "m.dftpack", "--keep", "16", "--seed", "9", "--class", "1", "-o", "w.png"]);
        assert!(!run(folder, &["show", "w.png"]).contains("mix"));
        assert!(run(folder, &["show", "m.dftpack"]).contains("0:0.6,2:0.4"));
        // Repair with other classes to avoid keeps those of the file.
        run(folder, &["generate", "0:0.6,2:0.4", "--seed", "3", "-o", "r.png", "--tokens-out", "r.dft"]);
        let whole = bytes(folder, "r.dft");
        std::fs::write(folder.join("cut.dft"), &whole[..whole.len() - 4]).unwrap();
        run(folder, &["repair", "cut.dft", "--avoid", "1:0.5", "-o", "repaired.dft"]);
        let (repaired, _) = detailflow::tokens::Dft::decode(&bytes(folder, "repaired.dft")).unwrap();
        assert_eq!(repaired.mix, Some(mix(&[(0, 0.6), (2, 0.4)], &[(1, 0.5)])));
        assert!(run(folder, &["score", "m.dftpack"]).contains(&format!("{}+{}", classes[0], classes[2])));
        let cost = |class: &str| run(folder, &["cost", "--class", class]);
        assert!(cost("0,1").contains("of 3 rows") && cost("1").contains("of 2 rows"), "{}", cost("0,1"));

        for (arguments, word) in [
            (&["generate", "0,drake"][..], "no class \"drake\""),
            (&["generate", "0:nan,1"], "not a finite number"),
            (&["generate", "0:-1,1"], "-1 is not 0 to 1000"),
            (&["generate", "0:0,1:0"], "are 0"),
            (&["generate", "0,1,0"], "listed twice"),
            (&["generate", "0", "--avoid", "1:x"], "curve"),
            (&["generate", "0", "--avoid", "7"], "class 7 is out of range"),
            (&["generate", "0,,1"], "empty place"),
            (&["cost", "--avoid", "9"], "class 9"),
        ] {
            refused(folder, arguments, word);
        }
    }

    #[test]
    fn every_class_avoids_and_the_job_of_the_sheet_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        run(folder, &["generate", "all", "--avoid", "1", "--seed", "3", "-o", "{index}.png"]);
        run(folder, &["generate", "2", "--avoid", "1", "--seed", "3", "-o", "alone.png"]);
        assert_eq!(bytes(folder, "2.png"), bytes(folder, "alone.png"));
        assert!(run(folder, &["reproduce", "0.png", "1.png", "2.png"]).lines().all(|line| line.ends_with("identical")));
        // The shipped model has every class that the example names.
        let (bundle, job) =
            (common::root().join("onnx/bundles/sprites"), common::root().join("examples/pipeline/mixes.csv"));
        let (bundle, job) = (bundle.to_str().unwrap(), job.to_str().unwrap());
        let listed = run(folder, &["batch", job, "--list", "--strict", "--bundle", bundle]);
        assert_eq!(listed.lines().count(), 80);
        assert!(listed.lines().all(|line| line.contains("\"mix\"")));
    }

    #[test]
    fn job_rows_mix_and_avoid() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let job = "[output]\nscale = 1\n[[row]]\nmix = '0:0.6,2:0.4'\navoid = '1:0.5'\nseed = 3\ncount = 3\n\
                   [[row]]\nclass = [1, 2]\navoid = '0'\nseed = 3\n[[row]]\nclass = 1\nseed = 3\n";
        std::fs::write(folder.join("job.toml"), job).unwrap();
        run(folder, &["batch", "job.toml", "-o", "out"]);
        let classes = common::open(&common::small(), "int8", "native").bundle().classes().to_vec();
        let mixed = format!("out/{}-mix0/000003.png", classes[0]);
        assert!(run(folder, &["reproduce", &mixed]).contains("identical"));
        let shown = run(folder, &["show", &mixed]);
        assert!(shown.contains(&format!("{}:0.6,{}:0.4", classes[0], classes[2])), "{shown}");
        run(folder, &["generate", "2:0.4,0:0.6", "--avoid", "1:0.5", "--seed", "3", "-o", "alone.png"]);
        assert_eq!(bytes(folder, "alone.png"), bytes(folder, &mixed), "the record as well");
        let avoided = format!("out/{}-mix1/000003.png", classes[2]);
        assert!(run(folder, &["show", &avoided]).contains(&format!("avoid          {}:1", classes[0])));
        assert!(!run(folder, &["show", &format!("out/{}/000003.png", classes[1])]).contains("avoid"));
        // As CSV and JSON Lines: the same pictures.
        std::fs::write(folder.join("job.csv"), "mix,avoid,seed\n\"0:0.6,2:0.4\",1:0.5,3\n").unwrap();
        std::fs::write(folder.join("job.jsonl"), r#"{"mix": "0:0.6,2:0.4", "avoid": "1:0.5", "seed": 3}"#).unwrap();
        for name in ["job.csv", "job.jsonl"] {
            run(folder, &["batch", name, "-o", name.trim_start_matches("job.")]);
            let same = mixed.replace("out", name.trim_start_matches("job."));
            assert_eq!(bytes(folder, &same), bytes(folder, &mixed), "{name}");
        }
        let listed = run(folder, &["batch", "job.toml", "--list"]);
        assert!(listed.lines().next().unwrap().contains("0.6") && listed.contains("\"avoid\""), "{listed}");
        let streamed = run(folder, &["batch", "job.toml", "-o", "-"]);
        std::fs::write(folder.join("s.jsonl"), streamed).unwrap();
        assert!(run(folder, &["show", "s.jsonl"]).contains("mix  "), "the stream says it as well");
        for (row, word) in [
            ("class = 0\nmix = '0,1'\n", "both `class` and `mix`"),
            ("mix = '0,drake'\n", "no class"),
            ("mix = '0:0'\n", "are 0"),
            ("class = 0\navoid = '1:-3'\n", "-3 is not 0 to 1000"),
        ] {
            std::fs::write(folder.join("bad.toml"), format!("[[row]]\n{row}")).unwrap();
            let output = run_dflow(folder, &["batch", "bad.toml", "-o", "bad", "--strict"]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && error.contains(word), "{row}: {error}");
        }
    }
}
