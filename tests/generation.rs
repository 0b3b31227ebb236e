//! Guarantees of a generation: the same request gives the same tokens, however it is stepped, batched, threaded or
//! interrupted.

mod common;

use common::{WILD, request, sample as draw};
use detailflow::{
    Error, Form, Generation, Guidance, Model, ModelOptions, OpenCancel, OpenWatch, ParallelFor, PixelFormat, Request,
    Sampling, tasks,
};

#[test]
fn image_tokens_do_not_depend_on_the_batch_row() {
    for model in common::models() {
        let alone = draw(&request(&model, &[(1, 7)]));
        let others = draw(&request(&model, &[(0, 3), (2, 9), (1, 7), (1, 8), (0, 7)]));
        assert_eq!(alone[0], others[2], "{:?}", model.variant());
        assert_ne!(others[2], others[3], "another seed is another picture");
    }
}

#[test]
fn step_by_step_generation_equals_finish() {
    for model in common::models() {
        let wanted = request(&model, &[(0, 1), (2, 2)]);
        let whole = draw(&wanted);
        let mut generation = Generation::new(&wanted).unwrap();
        assert_eq!(generation.progress().size, 0);
        assert!(matches!(generation.image(0), Err(Error::State(_))), "nothing is drawn before the first step");
        let bundle = model.bundle();
        let steps = model.schedule(bundle.tokens()).steps().count();
        for done in 1..=steps {
            let progress = generation.step().unwrap();
            assert_eq!((progress.steps_done, progress.steps_left), (done, steps - done));
            let tokens = generation.tokens(1).unwrap();
            assert_eq!(tokens, &whole[1][..progress.tokens]);
            let prefix = bundle.ladder().prefix(progress.tokens).unwrap();
            assert_eq!(progress.size, prefix.size);
            // Looking does not disturb.
            assert_eq!(generation.image(1).unwrap(), model.decode(&whole[1][..progress.tokens]).unwrap());
        }
        assert_eq!(generation.step().unwrap().steps_left, 0, "a step after the last does nothing");
        assert_eq!(generation.tokens(0).unwrap(), whole[0]);
    }
}

#[test]
fn request_for_a_level_stops_at_its_tokens() {
    let model = common::open(&common::small(), "fp32", "mha");
    let mut wanted = request(&model, &[(1, 5)]);
    let whole = draw(&wanted);
    for level in model.bundle().ladder().levels() {
        wanted.set_level_size(level.size).unwrap();
        let tokens = draw(&wanted);
        assert_eq!(tokens[0], whole[0][..level.tokens], "the {} px level", level.size);
        assert_eq!(model.decode(&tokens[0]).unwrap().size(), level.size);
        assert_eq!(model.decode_level(&whole[0], level.size).unwrap(), model.decode(&tokens[0]).unwrap());
    }
    let error = wanted.set_level_size(7).map(drop).unwrap_err().to_string();
    for level in model.bundle().ladder().levels() {
        assert!(error.contains(&level.size.to_string()), "{error}");
    }
}

#[test]
fn forms_agree_in_fp32() {
    let greedy = |form| {
        let model = common::open(&common::small(), "fp32", form);
        let mut wanted = request(&model, &[(0, 0), (1, 0), (2, 0)]);
        wanted.set_sampling(Sampling { temperature: 0.0, ..WILD }).unwrap();
        draw(&wanted)
    };
    assert_eq!(greedy("mha"), greedy("plain"));
    assert_eq!(greedy("mha"), greedy("fixed"));
}

#[test]
fn guidance_of_one_equals_no_guidance() {
    let model = common::open(&common::small(), "fp32", "mha");
    let mut wanted = request(&model, &[(1, 3)]);
    let mut with = |scale: f32, gradual| {
        wanted.set_guidance(Guidance { scale: scale.into(), gradual }).unwrap();
        draw(&wanted)
    };
    let off = with(1.0, false);
    assert_eq!(off, with(1.0, true), "gradual of nothing is nothing");
    assert_eq!(off, with(1.000_000_1, false), "and a hair above 1, with both halves, gives the same tokens");
    assert_ne!(off, with(8.0, false));
    assert_ne!(with(8.0, true), with(8.0, false));
}

#[test]
fn threads_do_not_change_tokens() {
    let model = common::open(&common::small(), "int8", "native");
    let wanted = request(&model, &[(0, 11), (1, 12)]);
    let expected = draw(&wanted);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| draw(&wanted))).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), expected, "generations that take turns on one model");
        }
    });
    let options = detailflow::ModelOptions::new().with_threads(2).with_precision("int8");
    let two = Model::open(common::small(), &options).unwrap();
    assert_eq!(draw(&request(&two, &[(0, 11), (1, 12)])), expected);
}

/// Large batches are divided among threads by rows, in sessions of their own.
#[test]
fn large_batch_on_several_threads_gives_the_tokens_of_one_thread() {
    let images: Vec<(u32, u64)> = (0..45).map(|n| (n % 2, u64::from(n) + 100)).collect();
    let parallel_for = ParallelFor::new(|count, task| {
        std::thread::scope(|scope| {
            for index in 0..count {
                scope.spawn(move || task(index));
            }
        });
    });
    for precision in ["fp32", "int8"] {
        let single = common::open(&common::small(), precision, "native");
        let each: Vec<_> = images.iter().map(|&image| draw(&request(&single, &[image])).remove(0)).collect();
        for threads in [2, 3, 7] {
            let options = ModelOptions::new().with_precision(precision).with_form(Form::Native).with_threads(threads);
            for options in [options.clone(), options.with_parallel_for(parallel_for.clone())] {
                let model = Model::open(common::small(), &options).unwrap();
                let wanted = request(&model, &images);
                assert_eq!(draw(&wanted), each, "{precision}, {threads} threads");
                let mut cancelled = Generation::new(&wanted).unwrap();
                cancelled.step().unwrap();
                cancelled.cancel_handle().cancel();
                assert!(matches!(cancelled.step(), Err(Error::Cancelled)));
                assert_eq!(draw(&wanted), each, "{precision}, {threads} threads, after a cancel");
            }
        }
    }
}

#[test]
fn cancelled_generation_keeps_its_tokens_and_the_model_works() {
    for model in common::models() {
        let wanted = request(&model, &[(1, 4)]);
        let whole = draw(&wanted);
        let mut generation = Generation::new(&wanted).unwrap();
        generation.step().unwrap();
        generation.step().unwrap();
        let cancel = generation.cancel_handle();
        cancel.cancel();
        assert!(matches!(generation.step(), Err(Error::Cancelled)));
        assert!(matches!(generation.finish(), Err(Error::Cancelled)));
        assert_eq!(generation.tokens(0).unwrap(), &whole[0][..2]);
        generation.image(0).unwrap();
        drop(generation);
        cancel.cancel();
        assert_eq!(draw(&wanted), whole);
    }
}

#[test]
fn cancel_from_another_thread_ends_a_long_generation() {
    let model = common::open(&common::small(), "fp32", "mha");
    let mut wanted = request(&model, &[(1, 4)]);
    wanted.set_count(512).unwrap();
    let mut generation = Generation::new(&wanted).unwrap();
    let cancel = generation.cancel_handle();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            cancel.cancel();
        });
        generation.finish()
    });
    // The machine may be so fast that all was done before; then nothing was cancelled in time, and the tokens are
    // whole.
    match result {
        Err(Error::Cancelled) => assert!(generation.progress().steps_left > 0),
        other => assert_eq!(other.unwrap().steps_left, 0),
    }
}

#[test]
fn batch_too_large_for_memory_is_refused_and_the_next_works() {
    // Keys and values of a million pictures of this model are 400 GB.
    let model = common::open(&common::data("tiny-16/bundle"), "fp32", "mha");
    let mut wanted = request(&model, &[(0, 0)]);
    wanted.set_level_size(32).unwrap();
    let expected = draw(&wanted);
    wanted.set_count(1 << 20).unwrap();
    match Generation::new(&wanted) {
        Err(Error::OutOfMemory { bytes, .. }) => assert!(bytes > 100 << 30, "{bytes}"),
        other => panic!("{other:?}"),
    }
    wanted.set_count(1).unwrap();
    assert_eq!(draw(&wanted), expected);
}

#[test]
fn encode_of_a_saved_picture_equals_encode_of_its_pixels() {
    let model = common::open(&common::small(), "fp32", "mha");
    let bundle = model.bundle();
    let tokens = draw(&request(&model, &[(2, 2)]));
    let image = model.decode(&tokens[0]).unwrap();
    let size = image.size();
    let pixels = image.to_vec(PixelFormat::Rgba8).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    image.save(&path).unwrap();
    let from_file = model.encode(&detailflow::Picture::open(&path).unwrap()).unwrap();
    let raw = detailflow::Picture::from_pixels(PixelFormat::Rgba8, size, size, &pixels, size as usize * 4).unwrap();
    assert_eq!(from_file, model.encode(&raw).unwrap());
    assert_eq!(from_file.len(), bundle.tokens());
    assert!(from_file.iter().all(|&token| (token as usize) < bundle.codes()));
}

#[test]
fn picture_files_of_every_color_mode_are_read() {
    use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
    let model = common::open(&common::small(), "fp32", "mha");
    let folder = tempfile::tempdir().unwrap();
    let modes: [(&str, DynamicImage); 5] = [
        ("grey", DynamicImage::ImageLuma8(ImageBuffer::from_pixel(50, 20, Luma([77])))),
        ("grey with alpha", DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(3, 200, LumaA([77, 9])))),
        ("16 bit", DynamicImage::ImageRgb16(ImageBuffer::from_pixel(32, 32, Rgb([65535, 3, 700])))),
        ("16 bit with alpha", DynamicImage::ImageRgba16(ImageBuffer::from_pixel(33, 31, Rgba([9, 3, 700, 40000])))),
        ("1 x 1", DynamicImage::ImageRgb8(ImageBuffer::from_pixel(1, 1, Rgb([1, 2, 3])))),
    ];
    for (name, picture) in modes {
        let path = folder.path().join("picture.png");
        picture.save(&path).unwrap();
        let tokens = model.encode(&detailflow::Picture::open(&path).unwrap()).unwrap();
        assert_eq!(tokens.len(), model.bundle().tokens(), "{name}");
    }
}

#[test]
fn decode_of_invalid_tokens_is_refused() {
    let model = common::open(&common::small(), "fp32", "mha");
    let bundle = model.bundle();
    let refuse = |tokens: &[u32]| model.decode(tokens).unwrap_err().to_string();
    assert!(refuse(&[]).contains("prefix"));
    assert!(refuse(&vec![0; bundle.causal() + 1]).contains("prefix"));
    assert!(refuse(&vec![0; bundle.tokens() + bundle.group()]).contains("prefix"));
    assert!(refuse(&[bundle.codes() as u32]).contains("codebook"));
    assert!(refuse(&[u32::MAX]).contains("codebook"));
    let error = model.decode_level(&[0; 4], bundle.size()).unwrap_err().to_string();
    assert!(error.contains("takes") && error.contains('4'), "{error}");
}

/// Our own operators and ONNX Runtime's multiply int8 exactly; the rest they add up in orders of their own, and a last bit
/// decides now and then which integer a value becomes. So tokens that are drawn part sooner or later; how likely given tokens
/// are differs little.
#[test]
fn int8_tokens_are_equally_likely_by_native_and_mha() {
    let open = |form| common::open(std::path::Path::new("onnx/bundles/sprites"), "int8", form);
    let models = [open("native"), open("mha")];
    let pairs: Vec<(u32, u64)> = (0..21).flat_map(|class| [1, 2, 3, 4].map(|seed| (class, seed))).collect();
    // A lower temperature and top-p than the bundle's avoid rare tokens, which are the furthest apart.
    let mut wanted = request(&models[1], &pairs);
    wanted.set_guidance(Guidance { scale: 1.5.into(), gradual: false }).unwrap();
    wanted.set_temperature(0.75).unwrap().set_top_p(0.95).unwrap();
    let tokens = draw(&wanted);
    let pictures: Vec<(u32, &[u32])> =
        pairs.iter().map(|&(class, _)| class).zip(tokens.iter().map(|t| &t[..])).collect();
    let [ours, theirs] = models.map(|model| tasks::score_all(&model, &pictures).unwrap().concat());
    let apart: Vec<f32> = std::iter::zip(&ours, &theirs).map(|(a, b)| (a - b).abs()).collect();
    let mean = apart.iter().sum::<f32>() / apart.len() as f32;
    let most = apart.iter().copied().fold(0.0, f32::max);
    println!("{mean} nats in the mean, {most} at most");
    assert!(mean < 0.02 && most < 0.4, "{mean} nats in the mean, {most} at most");
}

/// Where values are few, and the KV caches of one type, the last bits decide nothing, and the two draw the same.
#[test]
fn int8_tokens_of_a_small_model_are_equal_by_native_and_mha() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |manifest| {
        let variants = manifest["variants"].as_array_mut().unwrap();
        variants.iter_mut().for_each(|variant| variant["keys"] = "fp32".into());
    });
    let pairs: Vec<(u32, u64)> = (0..3).flat_map(|class| (1..=16).map(move |seed| (class, seed))).collect();
    let tokens = |form| draw(&request(&common::open(folder.path(), "int8", form), &pairs));
    assert_eq!(tokens("native"), tokens("mha"));
}

/// What others measured meanwhile counts: a reader predicts what a budget goes by.
#[test]
fn reader_predicts_the_next_step_from_what_is_known_now() {
    let model = common::open(&common::small(), "fp32", "mha");
    let wanted = request(&model, &[(0, 1)]);
    let waiting = Generation::new(&wanted).unwrap();
    let reader = waiting.reader();
    for _ in 0..3 {
        let mut generation = Generation::new(&wanted).unwrap();
        generation.finish().unwrap();
        let (read, own) = (reader.snapshot().progress(), waiting.progress());
        assert!(read.next_step.is_some(), "a step of this shape was measured");
        assert_eq!(read, own);
    }
}

#[test]
fn reader_shows_finished_steps_while_another_thread_steps() {
    for model in common::models() {
        let mut wanted = request(&model, &[(1, 7), (2, 8), (0, 9)]);
        wanted.set_log_probabilities(true);
        let mut whole = Generation::new(&wanted).unwrap();
        whole.finish().unwrap();
        let all: Vec<(Vec<u32>, Vec<f32>)> = (0..3)
            .map(|at| (whole.tokens(at).unwrap().to_vec(), whole.log_probabilities(at).unwrap().to_vec()))
            .collect();
        let mut generation = Generation::new(&wanted).unwrap();
        let reader = generation.reader();
        let first = reader.snapshot();
        assert!(matches!(first.image(0), Err(Error::State(_))) && first.tokens(0).unwrap().is_empty());
        assert!(matches!(first.tokens(3), Err(Error::Invalid(_))));
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let (reader, all) = (reader.clone(), &all);
                    scope.spawn(move || {
                        let mut seen = 0;
                        loop {
                            let snapshot = reader.snapshot();
                            let progress = snapshot.progress();
                            assert!(progress.steps_done >= seen, "never back in time");
                            seen = progress.steps_done;
                            for (image, (tokens, values)) in all.iter().enumerate() {
                                assert_eq!(snapshot.tokens(image).unwrap(), tokens[..progress.tokens]);
                                assert_eq!(snapshot.log_probabilities(image).unwrap(), values[..progress.tokens]);
                            }
                            if progress.steps_left == 0 {
                                return snapshot.level_image(2).unwrap();
                            }
                        }
                    })
                })
                .collect();
            generation.finish().unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), whole.image(2).unwrap());
            }
        });
        assert!(first.tokens(0).unwrap().is_empty(), "a snapshot does not change");
        assert_eq!(reader.snapshot().progress().steps_left, 0);
        assert_eq!(reader.snapshot().work(), generation.work());
        assert_eq!(reader.snapshot().memory(), generation.memory());
    }
}

#[test]
fn reader_follows_keep_and_set_level_and_outlives_the_generation() {
    let model = common::open(&common::small(), "int8", "native");
    let level = model.bundle().ladder().levels()[0];
    let mut wanted = request(&model, &[(1, 7), (2, 8), (0, 9)]);
    wanted.set_level_size(level.size).unwrap();
    let mut generation = Generation::new(&wanted).unwrap();
    generation.finish().unwrap();
    let reader = generation.reader();
    let three = reader.snapshot();
    let fork = generation.fork(&[4, 5, 6]).unwrap();
    assert_eq!(fork.reader().snapshot().progress().tokens, level.tokens);
    assert_eq!(fork.reader().snapshot().images()[2].seed, 6);
    generation.retain_images(&[2, 0]).unwrap();
    let two = reader.snapshot();
    assert_eq!(two.images(), generation.images());
    assert_eq!(two.tokens(0).unwrap(), three.tokens(2).unwrap());
    assert_eq!((three.images().len(), two.progress().steps_left), (3, 0));
    generation.set_level_size(0).unwrap();
    assert!(reader.snapshot().progress().steps_left > 0);
    generation.step().unwrap();
    let tokens = generation.tokens(1).unwrap().to_vec();
    drop(generation);
    assert_eq!(reader.snapshot().tokens(1).unwrap(), tokens);
    reader.snapshot().image(1).unwrap();
}

#[test]
fn open_with_reports_stages_and_stops_when_cancelled() {
    let options = detailflow::ModelOptions::new().with_threads(1).with_precision("int8").with_form(Form::Native);
    let stages = std::cell::RefCell::new(Vec::new());
    let watch = OpenWatch::new().with_progress(|at| stages.borrow_mut().push((at.done, at.total, at.stage.to_owned())));
    let model = Model::open_with(Some(&common::small()), &options, watch).unwrap();
    assert_eq!(model.variant().form, "native");
    let names = ["files", "ar.int8.native.onnx", "decoder.int8.native.onnx", ""];
    let expected: Vec<_> = [(0, 1), (1, 3), (2, 3), (3, 3)].into_iter().zip(names).collect();
    let expected: Vec<_> = expected.into_iter().map(|((done, total), name)| (done, total, name.to_owned())).collect();
    assert_eq!(*stages.borrow(), expected);
    // Cancelled before, and from within each stage.
    for stop_at in 0..expected.len() {
        let cancel = OpenCancel::new();
        let mut calls = 0;
        let watch = OpenWatch::new().with_cancel(cancel.clone()).with_progress(|_| {
            if calls == stop_at {
                cancel.cancel();
            }
            calls += 1;
        });
        let error = Model::open_with(Some(&common::small()), &options, watch).unwrap_err();
        assert!(matches!(error, Error::Cancelled) && cancel.is_cancelled(), "{error}");
        assert_eq!(calls, stop_at + 1, "nothing is done after that");
    }
}

#[test]
fn generate_image_is_the_image_of_its_request() {
    let model = common::open(&common::small(), "int8", "native");
    let class = model.bundle().classes()[1].clone();
    let mut wanted = Request::new(&model);
    wanted.set_class(1).unwrap().set_seed(7);
    let mut generation = Generation::new(&wanted).unwrap();
    generation.finish().unwrap();
    assert_eq!(tasks::generate_image(Some(&model), &class, 7).unwrap(), generation.image(0).unwrap());
    let level = model.bundle().ladder().levels()[0];
    let small = tasks::generate_image_at(Some(&model), &class, 7, level.size).unwrap();
    assert_eq!(small, model.decode_level(generation.tokens(0).unwrap(), level.size).unwrap());
    assert!(matches!(tasks::generate_image(Some(&model), "no such class", 7), Err(Error::Invalid(_))));
}
