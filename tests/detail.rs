//! Levels of detail: batch decoding equals single decoding, mips, atlases and coarser levels follow from it, and memory
//! outside the requested pixels is not written.

mod common;

use common::random_tokens as tokens;
use detailflow::pixels::layout;
use detailflow::{
    Canvas, Error, Image, MipSource, Model, ModelOptions, ParallelFor, PixelFormat, Sprite, pixels, tasks,
};

/// Every precision and form of the small bundles, and the shipped one.
fn models() -> Vec<Model> {
    let small = [
        ("fp32", "native"),
        ("fp32", "mha"),
        ("fp32", "plain"),
        ("int8", "native"),
        ("int8", "mha"),
        ("int8", "plain"),
        ("int8", "fixed"),
    ];
    let mut models: Vec<Model> =
        small.into_iter().map(|(precision, form)| common::open(&common::small(), precision, form)).collect();
    models.extend(
        ["native", "mha", "plain", "fixed"].map(|form| common::open(&common::data("tiny-16/bundle"), "fp32", form)),
    );
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites");
    models.extend(["native", "mha"].map(|form| common::open(&shipped, "int8", form)));
    models
}

fn small() -> Model {
    common::open(&common::small(), "fp32", "mha")
}

fn same(a: &Image, b: &Image) -> bool {
    let bits = |image: &Image| image.planes().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    a.size() == b.size() && a.has_alpha() == b.has_alpha() && bits(a) == bits(b)
}

fn invalid<T: std::fmt::Debug>(result: detailflow::Result<T>, words: &[&str]) {
    match result {
        Err(Error::Invalid(text)) => {
            words.iter().for_each(|word| assert!(text.contains(word), "\"{text}\" does not say \"{word}\""));
        }
        other => panic!("{other:?}, wanted one that says {words:?}"),
    }
}

#[test]
fn decode_batch_equals_single_decodes_bit_for_bit() {
    for model in models() {
        let bundle = model.bundle();
        let all: Vec<Vec<u32>> = (0..37).map(|seed| tokens(&model, seed)).collect();
        for prefix in bundle.ladder().prefixes() {
            // More than are decoded at once, where that is quick; a large picture is one of few.
            let most = if prefix.size > 64 { 5 } else { 37 };
            let sequences: Vec<&[u32]> = all.iter().take(most).map(|tokens| &tokens[..prefix.tokens]).collect();
            let alone: Vec<Image> = sequences.iter().map(|tokens| model.decode(tokens).unwrap()).collect();
            for count in [1, 2, 3, most] {
                let together = model.decode_batch(&sequences[..count]).unwrap();
                assert_eq!(together.len(), count);
                for (at, (a, b)) in together.iter().zip(&alone).enumerate() {
                    let (name, tokens) = (bundle.name(), prefix.tokens);
                    assert!(same(a, b), "{name} {:?}: {at} of {count} with {tokens} tokens", model.variant());
                }
            }
            assert!(most < 2 || prefix.tokens < 8 || !same(&alone[0], &alone[1]), "other tokens, another picture");
        }
    }
}

#[test]
fn decode_batch_of_mixed_lengths_is_refused() {
    let model = small();
    let (a, mut b) = (tokens(&model, 1), tokens(&model, 2));
    assert!(model.decode_batch(&[]).unwrap().is_empty());
    invalid(model.decode_batch(&[&a, &b[..4]]), &["sequence 1 has 4 tokens", "16"]);
    invalid(model.decode_batch(&[&a[..5], &b[..5]]), &["sequence 0", "prefix"]);
    b[3] = model.bundle().codes() as u32;
    invalid(model.decode_batch(&[&a, &a, &b]), &["sequence 2", "token 3", "codebook"]);
    invalid(model.decode(&[]), &["prefix"]);
}

#[test]
fn demoted_tokens_decode_to_the_coarser_level() {
    for model in models() {
        let all = tokens(&model, 3);
        for level in model.bundle().ladder().levels() {
            let kept = model.demote(&all, level.size).unwrap();
            assert_eq!(kept, &all[..level.tokens]);
            assert!(same(&model.decode(kept).unwrap(), &model.decode_level(&all, level.size).unwrap()));
            invalid(model.demote(&all[..level.tokens - 1], level.size), &["takes", "tokens, there are"]);
        }
        invalid(model.demote(&all, 7), &["levels are", &model.bundle().size().to_string()]);
        invalid(model.demote(&all, 0), &["levels are"]);
    }
}

#[test]
fn mips_are_decoded_at_levels_and_filtered_below() {
    for model in models() {
        let (all, bundle) = (tokens(&model, 4), model.bundle());
        let mut sizes: Vec<u32> = pixels::mip_sizes(bundle.size()).collect();
        // Any size, in any order, twice.
        sizes.extend([bundle.size() - 3, 5, bundle.size(), 5]);
        let mips = tasks::mips(&model, &all, &sizes, MipSource::Levels).unwrap();
        assert_eq!(mips.len(), sizes.len());
        let levels = bundle.ladder().levels();
        for (mip, &size) in mips.iter().zip(&sizes) {
            let level = levels.iter().find(|level| level.size >= size).unwrap();
            let decoded = model.decode_level(&all, level.size).unwrap();
            assert_eq!(mip.size(), size);
            assert!(same(mip, &decoded.downscale(size).unwrap()), "{} px of {}", size, bundle.name());
            assert!(level.size != size || same(mip, &decoded), "{size} px is as it was decoded");
        }
        let whole = model.decode(&all).unwrap();
        for (mip, &size) in tasks::mips(&model, &all, &sizes, MipSource::Finest).unwrap().iter().zip(&sizes) {
            assert!(same(mip, &whole.downscale(size).unwrap()), "{} px of {}", size, bundle.name());
        }
    }
}

#[test]
fn mip_chain_equals_mips_in_one_block() {
    let model = small();
    let (all, size) = (tokens(&model, 4), model.bundle().size());
    let sizes: Vec<u32> = pixels::mip_sizes(size).collect();
    for format in FORMATS {
        let layout = pixels::mip_layout(size, format, 20).unwrap();
        for (source, count) in [(MipSource::Levels, sizes.len()), (MipSource::Finest, 2)] {
            let (offsets, mut block) = (&layout.offsets[..count], vec![0xA5; layout.bytes]);
            tasks::decode_mip_chain(&model, &all, size, format, source, offsets, &mut block).unwrap();
            let mut wanted = vec![0xA5; layout.bytes];
            for (mip, &offset) in tasks::mips(&model, &all, &sizes[..count], source).unwrap().iter().zip(offsets) {
                let pixels = mip.to_vec(format).unwrap();
                wanted[offset..][..pixels.len()].copy_from_slice(&pixels);
            }
            assert!(block == wanted, "{format:?}");
        }
    }
    let mut block = [0xA5; 4096 + 1024];
    let mut chain = |tokens: &[u32], size, offsets: &[usize], bytes| {
        let block = &mut block[..bytes];
        tasks::decode_mip_chain(&model, tokens, size, PixelFormat::Bgra8, MipSource::Levels, offsets, block)
    };
    invalid(chain(&all, size, &[], 5120), &["0 offsets", "1 to 6"]);
    invalid(chain(&all, size, &[0; 7], 5120), &["7 offsets"]);
    invalid(chain(&all, 0, &[0], 5120), &["0 px"]);
    invalid(chain(&all, size, &[0, 4095], 5120), &["overlap"]);
    invalid(chain(&all, size, &[0, 4096], 5119), &["mip 1 of 16 px"]);
    invalid(chain(&all[..4], size, &[0], 5120), &["mip 0 of 32 px"]);
    invalid(chain(&all[..5], 1, &[0], 5120), &["prefix"]);
    assert_eq!(block, [0xA5; 5120]);
}

#[test]
fn parallel_for_gives_the_same_pixels_and_is_used() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // The decoder of fp32 is one graph for all forms.
    for (precision, form) in [("int8", "native"), ("int8", "mha")] {
        let counted = calls.clone();
        let parallel_for = ParallelFor::new(move |count, task| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::thread::scope(|scope| {
                (0..3).for_each(|first| drop(scope.spawn(move || (first..count).step_by(3).for_each(task))));
            });
        });
        let options = ModelOptions::new().with_precision(precision).with_form(form.parse().unwrap());
        let model = Model::open(common::small(), &options.with_threads(3).with_parallel_for(parallel_for)).unwrap();
        let alone = common::open(&common::small(), precision, form);
        let all: Vec<Vec<u32>> = (0..40).map(|seed| tokens(&model, seed)).collect();
        let sequences: Vec<&[u32]> = all.iter().map(Vec::as_slice).collect();
        let images = model.decode_batch(&sequences).unwrap();
        assert!(images.iter().zip(alone.decode_batch(&sequences).unwrap()).all(|(a, b)| same(a, &b)));
        assert_eq!(calls.swap(0, std::sync::atomic::Ordering::Relaxed) > 0, form == "native", "{form}");
    }
}

#[test]
fn mips_end_at_the_level_of_the_tokens() {
    let model = small();
    let all = tokens(&model, 5);
    for prefix in model.bundle().ladder().prefixes() {
        let part = &all[..prefix.tokens];
        for source in [MipSource::Levels, MipSource::Finest] {
            let mips = tasks::mips(&model, part, &[prefix.size, 1], source).unwrap();
            assert!(same(&mips[0], &model.decode(part).unwrap()), "{} tokens", prefix.tokens);
            assert_eq!(mips[1].size(), 1);
            invalid(tasks::mips(&model, part, &[1, prefix.size + 1], source), &["mip 1", &prefix.tokens.to_string()]);
            invalid(tasks::mips(&model, part, &[0], source), &["mip 0 of 0 px"]);
        }
    }
    assert!(tasks::mips(&model, &all, &[], MipSource::Levels).unwrap().is_empty());
    invalid(tasks::mips(&model, &all[..5], &[1], MipSource::Levels), &["prefix"]);
    let size = model.bundle().size();
    invalid(tasks::mips(&model, &[model.bundle().codes() as u32; 16], &[size], MipSource::Finest), &["codebook"]);
}

#[test]
fn detail_functions_work_with_a_decoder_alone() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| {
        for variant in m["variants"].as_array_mut().unwrap() {
            ["ar", "encoder"].iter().for_each(|part| drop(variant.as_object_mut().unwrap().remove(*part)));
        }
        for key in ["ar", "ids", "sampling", "classes", "encoder"] {
            m.as_object_mut().unwrap().remove(key);
        }
    });
    let (alone, model) = (common::open(folder.path(), "fp32", "mha"), small());
    assert!(!alone.bundle().can_generate());
    let all = tokens(&model, 7);
    for source in [MipSource::Levels, MipSource::Finest] {
        let sizes: Vec<u32> = pixels::mip_sizes(32).collect();
        let (a, b) =
            (tasks::mips(&alone, &all, &sizes, source).unwrap(), tasks::mips(&model, &all, &sizes, source).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| same(a, b)));
    }
    let atlas = |model: &Model| {
        let mut pixels = vec![0; 32 * 32 * 4];
        let mut atlas = Canvas::new(PixelFormat::Rgba8, 32, 32, &mut pixels, 128).unwrap();
        tasks::decode_atlas(model, &[Sprite::new(&all)], &mut atlas).unwrap();
        pixels
    };
    assert_eq!(atlas(&alone), atlas(&model));
}

const FORMATS: [PixelFormat; 8] = PixelFormat::ALL;

#[test]
fn upscaled_pixel_art_has_square_pixels() {
    let model = small();
    let image = model.decode(&tokens(&model, 6)[..8]).unwrap();
    let size = image.size() as usize;
    for format in FORMATS {
        let (bytes, pixels) = (format.bytes(), image.to_vec(format).unwrap());
        for factor in [1usize, 2, 3, 64] {
            let side = size * factor;
            let stride = side * bytes + 5;
            let mut target = vec![0xA5; stride * side];
            image.write_upscaled(format, factor as u32, &mut target, stride).unwrap();
            for (y, row) in target.chunks(stride).enumerate() {
                assert_eq!(row[side * bytes..], [0xA5; 5]);
                for (x, pixel) in row[..side * bytes].chunks(bytes).enumerate() {
                    assert_eq!(pixel, &pixels[(y / factor * size + x / factor) * bytes..][..bytes], "{x}, {y}");
                }
            }
            let enough = stride * (side - 1) + side * bytes;
            image.write_upscaled(format, factor as u32, &mut target[..enough], stride).unwrap();
            assert!(image.write_upscaled(format, factor as u32, &mut target[..enough - 1], stride).is_err());
            assert!(image.write_upscaled(format, factor as u32, &mut target, side * bytes - 1).is_err());
        }
        for factor in [0, 65, u32::MAX] {
            invalid(image.write_upscaled(format, factor, &mut [], 0), &["factor", "1 to 64"]);
        }
    }
}

/// An atlas of `width` x `height`, its rows a few bytes apart, everything 0xA5.
fn blank(format: PixelFormat, width: u32, height: u32) -> (Vec<u8>, usize) {
    let stride = width as usize * format.bytes() + 7;
    (vec![0xA5; stride * height as usize], stride)
}

#[test]
fn atlas_decode_writes_only_the_cells_of_its_sprites() {
    for model in models() {
        let (bundle, all) = (model.bundle(), (0..25).map(|seed| tokens(&model, seed)).collect::<Vec<_>>());
        let (coarse, fine) = (bundle.ladder().levels()[0], *bundle.ladder().levels().last().unwrap());
        // A picture of three sizes, three factors, and many of one length: more than are decoded at once.
        let mut sprites = vec![
            Sprite { x: 3, y: 2, ..Sprite::new(&all[0]) },
            Sprite { x: 3 + fine.size, y: 2, level_size: Some(coarse.size), factor: 3, ..Sprite::new(&all[0]) },
            Sprite { x: 3, y: 2 + fine.size, factor: 2, ..Sprite::new(&all[1][..1]) },
        ];
        let top = 2 + fine.size + 2 * bundle.ladder().prefix(1).unwrap().size;
        for (at, tokens) in all[2..].iter().enumerate() {
            let (x, y) = (at as u32 % 8 * (coarse.size + 1), top + at as u32 / 8 * (coarse.size + 1));
            sprites.push(Sprite { x, y, level_size: Some(coarse.size), ..Sprite::new(tokens) });
        }
        let (width, height) = (9 * (coarse.size + 1) + 2 * fine.size, top + 3 * (coarse.size + 1) + 5);
        for format in FORMATS {
            let (mut found, stride) = blank(format, width, height);
            let mut wanted = found.clone();
            let mut atlas = Canvas::new(format, width, height, &mut found, stride).unwrap();
            tasks::decode_atlas(&model, &sprites, &mut atlas).unwrap();
            let bytes = format.bytes();
            for sprite in &sprites {
                let image = match sprite.level_size {
                    Some(size) => model.decode_level(sprite.tokens, size).unwrap(),
                    None => model.decode(sprite.tokens).unwrap(),
                };
                let (size, factor) = (image.size() as usize, sprite.factor as usize);
                assert_eq!(tasks::sprite_size(&model, sprite).unwrap() as usize, size * factor);
                let pixels = image.to_vec(format).unwrap();
                for y in 0..size * factor {
                    for x in 0..size * factor {
                        let at = (sprite.y as usize + y) * stride + (sprite.x as usize + x) * bytes;
                        let pixel = &pixels[(y / factor * size + x / factor) * bytes..][..bytes];
                        wanted[at..at + bytes].copy_from_slice(pixel);
                    }
                }
            }
            assert!(found == wanted, "{} as {format:?}", bundle.name());
        }
    }
}

#[test]
fn atlas_with_invalid_layout_is_refused_before_any_decode() {
    let model = small();
    let (a, b) = (tokens(&model, 1), tokens(&model, 2));
    let outside = vec![model.bundle().codes() as u32; 16];
    let at = |tokens, x, y| Sprite { x, y, ..Sprite::new(tokens) };
    let cases: [(Vec<Sprite>, &[&str]); 10] = [
        (vec![at(&a, 0, 0), at(&b, 31, 31)], &["sprites 0", "and 1", "overlap", "31, 31"]),
        (vec![at(&a, 0, 32), at(&b, 0, 0), at(&b, 5, 0)], &["sprites 1", "and 2", "overlap"]),
        (vec![at(&a, 0, 0), at(&b, 33, 32)], &["sprite 1", "64 x 64"]),
        (vec![at(&a, 0, 0), at(&b, 32, 33)], &["sprite 1", "64 x 64"]),
        (vec![at(&a, u32::MAX, u32::MAX)], &["sprite 0", "64 x 64"]),
        (vec![at(&a, 0, 0), Sprite { factor: 3, ..at(&b, 32, 32) }], &["sprite 1", "96 x 96"]),
        (vec![at(&a, 0, 0), Sprite { factor: 0, ..at(&b, 32, 32) }], &["sprite 1", "factor"]),
        (vec![at(&a, 0, 0), at(&b[..5], 32, 0)], &["sprite 1", "prefix"]),
        (vec![at(&a, 0, 0), at(&outside, 32, 0)], &["sprite 1", "codebook"]),
        (vec![at(&a, 0, 0), Sprite { level_size: Some(7), ..at(&b, 32, 0) }], &["sprite 1", "levels are"]),
    ];
    for (sprites, words) in &cases {
        let (mut bytes, stride) = blank(PixelFormat::Rgba8, 64, 64);
        let mut atlas = Canvas::new(PixelFormat::Rgba8, 64, 64, &mut bytes, stride).unwrap();
        invalid(tasks::decode_atlas(&model, sprites, &mut atlas), words);
        assert!(bytes.iter().all(|&byte| byte == 0xA5), "{words:?}: something was written");
    }
    // To touch is fine, and so is nothing at all.
    let (mut bytes, stride) = blank(PixelFormat::Rgba8, 64, 64);
    let mut atlas = Canvas::new(PixelFormat::Rgba8, 64, 64, &mut bytes, stride).unwrap();
    tasks::decode_atlas(&model, &[at(&a, 0, 0), at(&b, 32, 0), at(&a, 0, 32), at(&b, 32, 32)], &mut atlas).unwrap();
    tasks::decode_atlas(&model, &[], &mut atlas).unwrap();
}

#[test]
fn layout_of_squares_is_a_valid_atlas() {
    let model = small();
    let all: Vec<Vec<u32>> = (0..30).map(|seed| tokens(&model, seed)).collect();
    let lengths = [16, 12, 8, 4, 1];
    let mut sprites: Vec<Sprite> = all
        .iter()
        .enumerate()
        .map(|(at, tokens)| Sprite { factor: 1 + at as u32 % 3, ..Sprite::new(&tokens[..lengths[at % 5]]) })
        .collect();
    let height = tasks::lay_out_atlas(&model, &mut sprites, 200, 2).unwrap();
    let sides: Vec<u32> = sprites.iter().map(|sprite| tasks::sprite_size(&model, sprite).unwrap()).collect();
    let corners: Vec<(u32, u32)> = sprites.iter().map(|sprite| (sprite.x, sprite.y)).collect();
    assert_eq!(layout(&sides, 200, 2).unwrap().corners, corners);
    let (mut bytes, stride) = blank(PixelFormat::Rgba8, 200, height);
    let mut atlas = Canvas::new(PixelFormat::Rgba8, 200, height, &mut bytes, stride).unwrap();
    tasks::decode_atlas(&model, &sprites, &mut atlas).unwrap();
    invalid(tasks::lay_out_atlas(&model, &mut sprites, 95, 2), &["sprite", "96 px", "95 px"]);
    assert_eq!(corners, sprites.iter().map(|sprite| (sprite.x, sprite.y)).collect::<Vec<_>>(), "nothing was moved");
}
