//! A request: setters with arbitrary values, its cost, and its tokens when it is small.
#![no_main]

use detailflow::tasks::{self, cost};
use detailflow::{Curve, Error, Generation, Guidance, ImageRequest, Picture, PixelFormat, Request, Sampling};
use detailflow_fuzz::{Bytes, model};
use libfuzzer_sys::fuzz_target;

/// Up to five points of a curve, in any order.
fn points(bytes: &mut Bytes) -> Vec<(u32, f32)> {
    let count = bytes.below(6);
    (0..count).map(|_| (bytes.number() as u32, bytes.float())).collect()
}

fn tokens(bytes: &mut Bytes) -> Vec<u32> {
    let count = bytes.below(20);
    (0..count).map(|_| if bytes.u8() == 255 { bytes.number() as u32 } else { u32::from(bytes.u8()) }).collect()
}

fn picture(bytes: &mut Bytes) -> Option<Picture> {
    let format = PixelFormat::ALL[bytes.below(8)];
    let (width, height, stride) = (bytes.below(48) as u32, bytes.below(48) as u32, bytes.number() as usize);
    let mut pixels = vec![0; 48 * 48 * 16];
    pixels.chunks_mut(4).for_each(|value| value.copy_from_slice(&bytes.float().to_le_bytes()));
    Picture::from_pixels(format, width, height, &pixels, stride).ok()
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let model = model();
    let mut request = Request::new(model);
    while !bytes.is_empty() {
        match bytes.below(17) {
            0 => _ = request.set_count(bytes.below(9) as u32).is_ok(),
            1 => _ = request.set_class(bytes.number() as u32).is_ok(),
            2 => _ = request.set_seed(bytes.number()),
            3 => {
                let image = ImageRequest { class: bytes.number() as u32, seed: bytes.number() };
                _ = request.set_image(bytes.number() as usize, image).is_ok();
            }
            4 => _ = request.set_guidance(Guidance::constant(bytes.float())).is_ok(),
            5 => {
                if let Ok(scale) = Curve::new(&points(&mut bytes)) {
                    _ = request.set_guidance(Guidance { scale, gradual: bytes.u8() & 1 == 1 }).is_ok();
                }
            }
            6 => {
                let (temperature, top_k) = (bytes.float(), bytes.number() as u32);
                _ = request.set_sampling(Sampling { temperature, top_k, top_p: bytes.float() }).is_ok();
            }
            7..=9 => {
                let which = bytes.below(3);
                if let Ok(curve) = Curve::new(&points(&mut bytes)) {
                    for token in 0..20 {
                        assert!(!curve.at(token).is_nan(), "a curve has no NaN");
                    }
                    _ = match which {
                        0 => request.set_temperature(curve).is_ok(),
                        1 => request.set_top_k(curve).is_ok(),
                        _ => request.set_top_p(curve).is_ok(),
                    };
                }
            }
            10 => _ = request.set_prefix(&tokens(&mut bytes)).is_ok(),
            11 => _ = request.set_image_prefix(bytes.below(9), &tokens(&mut bytes)).is_ok(),
            12 => _ = request.set_prefix_level(&tokens(&mut bytes), bytes.number() as u32).is_ok(),
            13 => {
                if let Some(picture) = picture(&mut bytes) {
                    _ = request.set_prefix_picture(&picture, bytes.number() as u32).is_ok();
                }
            }
            14 => _ = request.set_level_size(bytes.number() as u32).is_ok(),
            15 => _ = request.set_log_probabilities(bytes.u8() & 1 == 1),
            _ => {
                let image_tokens = tokens(&mut bytes);
                _ = tasks::score(model, bytes.number() as u32, &image_tokens).is_ok();
            }
        }
    }
    // Prefixes are compared with each other, and with what is asked for, once all of them are set.
    let cost = match cost(&request) {
        Ok(cost) => cost,
        Err(Error::Invalid(_)) => return assert!(matches!(Generation::new(&request), Err(Error::Invalid(_)))),
        Err(other) => panic!("what was accepted has a cost: {other}"),
    };
    assert!(!cost.levels.is_empty());
    let mut generation = Generation::new(&request).expect("what was accepted can be generated");
    generation.finish().expect("what was accepted can be generated");
    let codes = model.bundle().codes() as u32;
    for index in 0..generation.images().len() {
        let tokens = generation.tokens(index).unwrap();
        assert_eq!(tokens.len(), request.target());
        assert!(tokens.iter().all(|&token| token < codes));
    }
});
