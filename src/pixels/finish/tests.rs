use super::super::format::PixelFormat;
use super::super::image::Image;
use super::*;
use crate::support::error::Error;

/// A sprite by a rule: a disc of many colours with a soft border, hidden colour outside, and stray pixels.
fn sprite(side: u32, salt: u32) -> Vec<u8> {
    let mut pixels = Vec::new();
    let middle = f64::from(side) / 2.0;
    for y in 0..side {
        for x in 0..side {
            let noise =
                (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ salt.wrapping_mul(31)).wrapping_mul(2_654_435_761);
            let away = ((f64::from(x) + 0.5 - middle).powi(2) + (f64::from(y) + 0.5 - middle).powi(2)).sqrt();
            let alpha = ((middle * 0.8 - away) * 90.0 + 128.0).clamp(0.0, 255.0) as u8;
            let alpha = if noise.is_multiple_of(97) { 255 - alpha } else { alpha };
            let [a, b, c, _] = noise.to_le_bytes();
            pixels.extend([(x * 255 / side) as u8 ^ (a & 15), (y * 200 / side) as u8 ^ (b & 15), c & 63, alpha]);
        }
    }
    pixels
}

fn finished(finish: &Finish, side: u32, pixels: &[u8]) -> Vec<u8> {
    let mut pixels = pixels.to_vec();
    finish.apply(side, side, &mut pixels, 4 * side as usize).unwrap();
    pixels
}

/// The different colours of visible pixels.
fn colors(pixels: &[u8]) -> std::collections::BTreeSet<[u8; 3]> {
    pixels.as_chunks::<4>().0.iter().filter(|pixel| pixel[3] > 0).map(|&[r, g, b, _]| [r, g, b]).collect()
}

fn palette(colors: &[&str]) -> Palette {
    Palette::new(colors.iter().map(|text| text.parse().unwrap())).unwrap()
}

/// All combinations of settings that matter to each other.
fn settings() -> Vec<Finish> {
    let mut all = Vec::new();
    let ours = palette(&["000000", "#ffffff", "#804020", "#c08040", "#204080", "#60a0c0", "#408040"]);
    for bits in 0..96 {
        all.push(Finish {
            alpha_cut: (bits & 1 > 0).then_some(110),
            colors: (bits & 2 > 0).then_some(5),
            palette: (bits & 4 > 0).then(|| ours.clone()),
            dither: bits & 8 > 0,
            despeckle: bits & 16 > 0,
            outline: [None, Some(Color([0; 3])), Some(Color([250, 10, 200]))][bits / 32],
            tile: false,
        });
    }
    all
}

#[test]
fn finishing_twice_is_finishing_once_for_all_settings() {
    for finish in settings() {
        for (side, salt) in [(1, 0), (2, 3), (5, 1), (16, 1), (33, 2)] {
            let once = finished(&finish, side, &sprite(side, salt));
            let twice = finished(&finish, side, &once);
            assert!(once == twice, "{finish:?}, {side} px");
        }
    }
}

#[test]
fn gaps_in_an_outline_are_filled_so_that_finishing_again_changes_nothing() {
    // A frame around a gap of 3 x 3 pixels, whose outline leaves one in the middle.
    let mut pixels = vec![0; 7 * 7 * 4];
    for (at, pixel) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (x, y) = (at % 7, at / 7);
        if x.min(y) == 1 && x.max(y) <= 5 || x.max(y) == 5 && x.min(y) >= 1 {
            *pixel = [200, 100, 50, 255];
        }
    }
    let finish = Finish { outline: Some(Color([0; 3])), despeckle: true, ..Finish::default() };
    let once = finished(&finish, 7, &pixels);
    assert_eq!(once[4 * (3 * 7 + 3)..][..4], [0, 0, 0, 255]);
    assert!(once == finished(&finish, 7, &once));
}

#[test]
fn colors_are_at_most_as_many_and_those_of_the_picture() {
    let pixels = sprite(32, 7);
    let before = colors(&pixels);
    for count in [2, 3, 16, 200, 256] {
        for dither in [false, true] {
            let finish = Finish { colors: Some(count), dither, ..Finish::default() };
            let after = colors(&finished(&finish, 32, &pixels));
            assert!(
                after.len() <= count as usize && after.len() * 10 >= count as usize * 9,
                "{count}: {}",
                after.len()
            );
            assert!(after.is_subset(&before));
        }
    }
}

#[test]
fn few_colors_stay_exactly() {
    let pixels: Vec<u8> = (0..64).flat_map(|at: u8| [at % 8 * 31, 200 - at % 8, 3, 255]).collect();
    for count in [8, 9, 256] {
        for dither in [false, true] {
            assert_eq!(finished(&Finish { colors: Some(count), dither, ..Finish::default() }, 8, &pixels), pixels);
        }
    }
    assert!(colors(&finished(&Finish { colors: Some(7), ..Finish::default() }, 8, &pixels)).len() <= 7);
}

#[test]
fn alpha_is_only_0_and_255_after_the_cut_and_kept_without() {
    let pixels = sprite(32, 1);
    let cut = finished(&Finish { alpha_cut: Some(110), ..Finish::default() }, 32, &pixels);
    for (pixel, before) in cut.as_chunks::<4>().0.iter().zip(pixels.as_chunks::<4>().0) {
        let wanted = if before[3] >= 110 { [before[0], before[1], before[2], 255] } else { [0; 4] };
        assert_eq!(*pixel, wanted);
    }
    let kept = finished(&Finish { colors: Some(4), ..Finish::default() }, 32, &pixels);
    assert!(kept.iter().skip(3).step_by(4).eq(pixels.iter().skip(3).step_by(4)));
}

#[test]
fn hidden_colour_does_not_count() {
    // Two visible colours, and a thousand hidden ones.
    let mut pixels = sprite(32, 1);
    for (at, pixel) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixel[3] = if at < 16 { 255 } else { 0 };
        if at < 16 {
            pixel[..3].copy_from_slice(if at % 2 == 0 { &[9, 8, 7] } else { &[99, 88, 77] });
        }
    }
    let found = finished(&Finish { colors: Some(2), ..Finish::default() }, 32, &pixels);
    assert_eq!(found[..64], pixels[..64]);
    assert!(found[64..].iter().all(|&byte| byte == 0));
}

#[test]
fn alpha_weighs_colours_when_it_is_kept() {
    // Reds that are nearly invisible, and blues that are not: the choice among many is for the blues.
    let mut pixels = Vec::new();
    for at in 0..128u8 {
        pixels.extend([100 + at, 0, 0, 2]);
        pixels.extend([0, 0, 100 + at, 255]);
    }
    let found = colors(&finished(&Finish { colors: Some(6), ..Finish::default() }, 16, &pixels));
    assert!(found.iter().filter(|color| color[2] > 0).count() >= 5, "{found:?}");
}

#[test]
fn palette_members_only_and_the_nearest_in_oklab() {
    let ours = palette(&["#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff"]);
    let members: std::collections::BTreeSet<_> = ours.colors().iter().map(|color| color.0).collect();
    for dither in [false, true] {
        let finish = Finish { palette: Some(ours.clone()), dither, ..Finish::default() };
        assert!(colors(&finished(&finish, 32, &sprite(32, 3))).is_subset(&members));
    }
    let finish = Finish { palette: Some(ours), ..Finish::default() };
    let of = |color: [u8; 3]| finished(&finish, 1, &[color[0], color[1], color[2], 9])[..3].to_vec();
    assert_eq!(of([250, 240, 245]), [255; 3]);
    assert_eq!(of([200, 30, 20]), [255, 0, 0]);
    assert_eq!(of([20, 20, 160]), [0, 0, 255]);
    assert_eq!(of([10, 5, 9]), [0; 3]);
}

#[test]
fn colors_with_a_palette_are_few_of_its_members() {
    let ours = palette(&["#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff", "#808080", "#804000", "#408000"]);
    for dither in [false, true] {
        let finish = Finish { colors: Some(3), palette: Some(ours.clone()), dither, ..Finish::default() };
        let found = colors(&finished(&finish, 32, &sprite(32, 3)));
        assert!(found.len() <= 3 && found.iter().all(|&color| ours.colors().contains(&Color(color))), "{found:?}");
    }
}

#[test]
fn dithering_of_a_grey_is_a_pattern_with_its_mean() {
    let finish = Finish { palette: Some(palette(&["#000000", "#ffffff"])), dither: true, ..Finish::default() };
    let white = |grey: u8| {
        let pixels: Vec<u8> = (0..64).flat_map(|_| [grey, grey, grey, 255]).collect();
        let found = finished(&finish, 8, &pixels);
        let rows: Vec<String> = found
            .chunks(32)
            .map(|row| row.as_chunks::<4>().0.iter().map(|pixel| if pixel[0] > 0 { '#' } else { '.' }).collect())
            .collect();
        assert_eq!((&rows[..4], &rows[0][..4]), (&rows[4..], &rows[0][4..]), "the pattern repeats");
        rows
    };
    // OKLab's middle grey: half of the pixels, as a chequerboard.
    assert_eq!(white(99)[..2], ["#.#.#.#.", ".#.#.#.#"]);
    let count = |grey| white(grey).concat().matches('#').count();
    let counts: Vec<usize> = (0..=255).map(count).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!((counts[0], counts[255]), (0, 64));
}

#[test]
fn stray_pixels_and_holes_are_removed() {
    let picture = |rows: &[&str]| -> Vec<u8> {
        rows.concat()
            .chars()
            .flat_map(|letter| match letter {
                'a' => [200, 0, 0, 255],
                'b' => [0, 200, 0, 255],
                'o' => [1, 2, 3, 255],
                _ => [0; 4],
            })
            .collect()
    };
    let before = picture(&["a....", "..aab", ".a.b.", "...bb", "a...."]);
    let after = picture(&[".....", "..aab", ".abb.", "...bb", "....."]);
    // (2, 2) has only three visible neighbours: below it is nothing.
    let kept = picture(&[".....", "..aab", ".a.b.", "...bb", "....."]);
    let finish = Finish { despeckle: true, ..Finish::default() };
    assert_eq!(finished(&finish, 5, &before), kept);
    let mut closed = before;
    closed[4 * (3 * 5 + 2)..][..4].copy_from_slice(&[0, 200, 0, 255]);
    let mut filled = after;
    filled[4 * (3 * 5 + 2)..][..4].copy_from_slice(&[0, 200, 0, 255]);
    // Neighbours a, a, b, b: none is in the majority, the one above is first.
    filled[4 * (2 * 5 + 2)..][..4].copy_from_slice(&[200, 0, 0, 255]);
    assert_eq!(finished(&finish, 5, &closed), filled);
    assert_eq!(finished(&finish, 1, &[5, 6, 7, 255]), [5, 6, 7, 255], "a picture of one pixel has no stray one");
}

#[test]
fn outline_surrounds_by_four_neighbours_and_is_not_reduced() {
    let mut pixels = vec![0; 5 * 5 * 4];
    pixels[4 * 12..][..4].copy_from_slice(&[10, 20, 30, 255]);
    pixels[4 * 5..][..4].copy_from_slice(&[1, 2, 3, 255]);
    let finish = Finish { outline: Some(Color([1, 2, 3])), colors: Some(2), ..Finish::default() };
    let found = finished(&finish, 5, &pixels);
    let visible: Vec<usize> = (0..25).filter(|at| found[4 * at + 3] > 0).collect();
    // The pixel at 5 has the colour of the outline: nothing is drawn around it.
    assert_eq!(visible, [5, 7, 11, 12, 13, 17]);
    assert_eq!(found[4 * 12..][..4], [10, 20, 30, 255]);
    for at in [7, 11, 13, 17] {
        assert_eq!(found[4 * at..][..4], [1, 2, 3, 255]);
    }
}

#[test]
fn empty_and_tiny_pictures_are_finished() {
    for finish in settings() {
        assert!(finished(&finish, 3, &[0; 36]).iter().all(|&byte| byte == 0), "{finish:?}");
        let hidden = [9, 9, 9, 0].repeat(9);
        assert!(finished(&finish, 3, &hidden).iter().all(|&byte| byte == 0), "{finish:?}");
        assert_eq!(finished(&finish, 1, &[0, 0, 0, 255])[3], 255);
    }
}

#[test]
fn apply_respects_stride_and_refuses_what_does_not_fit() {
    let tight = sprite(8, 4);
    let finish = Finish { alpha_cut: Some(110), colors: Some(4), despeckle: true, ..Finish::default() };
    let mut wide = vec![77u8; 8 * 40];
    wide.chunks_mut(40).zip(tight.chunks(32)).for_each(|(line, row)| line[..32].copy_from_slice(row));
    finish.apply(8, 8, &mut wide, 40).unwrap();
    let wanted = finished(&finish, 8, &tight);
    for (line, row) in wide.chunks(40).zip(wanted.chunks(32)) {
        assert_eq!((&line[..32], &line[32..]), (row, &[77u8; 8][..]));
    }
    let mut last = wide[..7 * 40 + 32].to_vec();
    finish.apply(8, 8, &mut last, 40).unwrap();
    let before = last.clone();
    for (width, height, stride) in [(0, 8, 40), (8, 0, 40), (8, 8, 31), (8, 9, 40), (u32::MAX, u32::MAX, usize::MAX)] {
        assert!(matches!(finish.apply(width, height, &mut last, stride), Err(Error::Invalid(_))));
    }
    for wrong in [
        Finish { alpha_cut: Some(0), ..Finish::default() },
        Finish { colors: Some(1), ..Finish::default() },
        Finish { colors: Some(257), ..Finish::default() },
    ] {
        let error = wrong.apply(8, 8, &mut last, 40).unwrap_err().to_string();
        assert!(error.contains("is allowed"), "{error}");
    }
    assert_eq!(last, before);
}

#[test]
fn image_has_the_bytes_of_the_finished_pixels() {
    for channels in [3, 4] {
        let planes: Vec<f32> = (0..channels * 48 * 48).map(|at| (at * 7919 % 2003) as f32 / 900.0 - 1.1).collect();
        let image = Image::new(48, channels, &planes).unwrap();
        for finish in settings() {
            let found = finish.image(&image).unwrap();
            assert_eq!((found.size(), found.has_alpha()), (48, channels == 4));
            let wanted = finished(&finish, 48, &image.to_vec(PixelFormat::Rgba8).unwrap());
            if finish.is_off() {
                assert!(found == image);
            } else {
                assert!(found.to_vec(PixelFormat::Rgba8).unwrap() == wanted, "{finish:?}");
            }
        }
    }
}

#[test]
fn every_byte_and_alpha_survives_as_an_image() {
    // Finishing by the cut at 1 or by nothing but despeckle keeps bytes as they are.
    let keep = Finish { despeckle: true, ..Finish::default() };
    for alpha in 1..=255u8 {
        let planes: Vec<f32> = (0..4)
            .flat_map(|channel| {
                (0..256)
                    .map(move |v| if channel == 3 { 255.0 } else { v as f32 } * f32::from(alpha) / 65025.0 * 2.0 - 1.0)
            })
            .collect();
        let image = Image::new(16, 4, &planes).unwrap();
        let bytes = image.to_vec(PixelFormat::Rgba8).unwrap();
        assert_eq!(keep.image(&image).unwrap().to_vec(PixelFormat::Rgba8).unwrap(), bytes, "{alpha}");
    }
}

#[test]
fn results_are_these_bytes_on_every_platform() {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for finish in settings() {
        hash.update(finished(&finish, 40, &sprite(40, 9)));
    }
    let mut counts = ColorCounts::new();
    for salt in 0..5 {
        counts.add(&Finish::default(), 40, 40, &sprite(40, salt), 160).unwrap();
    }
    counts.palette(32).unwrap().colors().iter().for_each(|color| hash.update(color.0));
    let found = crate::support::hex::hex(hash.finalize());
    assert_eq!(found, "6edc048f87fd011b6a6d89784255f0cf38c33b2ce7fa35097d667cc41d29bd9c");
}

#[test]
fn palette_of_a_set_does_not_depend_on_order_and_serves_every_picture() {
    let cut = Finish { alpha_cut: Some(110), ..Finish::default() };
    let of = |salts: &[u32]| {
        let mut counts = ColorCounts::new();
        for &salt in salts {
            counts.add(&cut, 24, 24, &sprite(24, salt), 96).unwrap();
        }
        (counts.len(), counts.palette(12).unwrap())
    };
    let (count, ours) = of(&[1, 2, 3]);
    assert_eq!((count, &ours), (of(&[3, 1, 2]).0, &of(&[2, 3, 1]).1));
    assert!(count > 300 && ours.colors().len() <= 12 && ours.colors().is_sorted());
    let finish = Finish { palette: Some(ours.clone()), ..cut };
    for salt in 1..4 {
        let found = colors(&finished(&finish, 24, &sprite(24, salt)));
        assert!(found.iter().all(|&color| ours.colors().contains(&Color(color))));
    }
    let mut empty = ColorCounts::new();
    empty.add(&Finish::default(), 2, 2, &[7, 7, 7, 0].repeat(4), 8).unwrap();
    assert!(empty.is_empty());
    assert!(empty.palette(4).unwrap_err().to_string().contains("no visible pixel"));
    assert!(ColorCounts::new().palette(1).unwrap_err().to_string().contains("2 to 256"));
}

#[test]
fn very_many_colours_are_reduced() {
    let side = 512u32;
    let pixels: Vec<u8> = (0..side * side).flat_map(|at| [(at >> 10) as u8, (at >> 2) as u8, at as u8, 255]).collect();
    let found = colors(&finished(&Finish { colors: Some(64), ..Finish::default() }, side, &pixels));
    assert!(found.len() > 48 && found.len() <= 64, "{}", found.len());
}

#[test]
fn palette_files_are_read() {
    let wanted = palette(&["#1a1c2c", "#ffffff", "#000001"]);
    for text in [
        "1a1c2c\nFFFFFF\n000001\n",
        "\u{feff}#1A1C2C\r\n\r\n; a comment\r\nffffff ; white\r\n1a1c2c\r\n000001",
        "GIMP Palette\nName: Three\nColumns: 4\n#\n# comment\n 26  28  44\tUntitled\n255 255 255\n\n0 0 1 almost black 9\n",
    ] {
        assert_eq!(Palette::decode(text.as_bytes()).unwrap(), wanted, "{text}");
    }
}

#[cfg(feature = "image-files")]
#[test]
fn png_palettes_are_read() {
    let png = |color: png::ColorType, palette: Option<&[u8]>, alpha: Option<&[u8]>, width: u32, pixels: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, 1);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        palette.into_iter().for_each(|palette| encoder.set_palette(palette));
        alpha.into_iter().for_each(|alpha| encoder.set_trns(alpha));
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    };
    let of = |bytes: &[u8]| Palette::decode(bytes).unwrap().colors().iter().map(|color| color.0).collect::<Vec<_>>();
    use png::ColorType::{Grayscale, Indexed, Rgb, Rgba};
    let entries = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
    // All entries, used or not, but for the one with alpha 0.
    let indexed = png(Indexed, Some(&entries), Some(&[255, 0]), 1, &[2]);
    assert_eq!(of(&indexed), [[1, 2, 3], [7, 8, 9]]);
    let rgba = png(Rgba, None, None, 3, &[1, 2, 3, 255, 4, 5, 6, 0, 7, 8, 9, 1]);
    assert_eq!(of(&rgba), [[1, 2, 3], [7, 8, 9]]);
    assert_eq!(of(&png(Rgb, None, None, 2, &[1, 2, 3, 1, 2, 3])), [[1, 2, 3]]);
    assert_eq!(of(&png(Grayscale, None, None, 2, &[9, 8])), [[9; 3], [8; 3]]);
    // A suggested palette, and a transparent colour, which is no list of alpha.
    assert_eq!(of(&png(Rgb, Some(&entries), Some(&[0; 6]), 1, &[11, 12, 13])), [[11, 12, 13]]);
    let many: Vec<u8> = (0..300u32).flat_map(|at| [at as u8, (at >> 8) as u8, 0]).collect();
    let error = Palette::decode(&png(Rgb, None, None, 300, &many)).unwrap_err().to_string();
    assert!(error.contains("more than 256 different colours"), "{error}");
    let error = Palette::decode(&rgba[..rgba.len() - 20]).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
}

#[test]
fn damaged_palette_files_are_errors_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.hex");
    let many: String = (0..257).map(|at| format!("{at:06x}\n")).collect();
    for (text, words) in [
        ("ffffff\nfffff\n", "line 2: \"fffff\" is not a colour"),
        ("ffffff\n\nffffg0\n", "line 3: "),
        ("#+12345\n", "line 1: "),
        ("GIMP Palette\n1 2 3\n1 2\n", "line 3: \"1 2\" is not a colour: three numbers from 0 to 255"),
        ("GIMP Palette\n1 2 256\n", "line 2: "),
        ("", "no colour"),
        ("GIMP Palette\n", "no colour"),
        (&many, "line 257: more than 256"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Palette::open(&path).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("ours.hex") && error.contains(words), "{error}");
    }
    std::fs::write(&path, b"\xff\xfe\x00").unwrap();
    assert!(Palette::open(&path).unwrap_err().to_string().contains("no palette"));
    assert!(matches!(Palette::open(folder.path().join("none.gpl")), Err(Error::NotFound { .. })));
}

#[test]
fn settings_as_json_leave_out_what_is_off() {
    let off = Finish::default();
    assert!(off.is_off() && !Finish { tile: true, ..off.clone() }.is_off());
    assert_eq!(serde_json::to_string(&off).unwrap(), "{}");
    let all = Finish {
        alpha_cut: Some(110),
        colors: Some(16),
        palette: Some(palette(&["#1a1c2c", "#ffffff"])),
        dither: true,
        outline: Some(Color([0, 0, 10])),
        despeckle: true,
        tile: true,
    };
    let text = r##"{"alpha_cut":110,"colors":16,"palette":["#1a1c2c","#ffffff"],"dither":true,"outline":"#00000a","despeckle":true,"tile":true}"##;
    assert_eq!(serde_json::to_string(&all).unwrap(), text);
    assert_eq!(serde_json::from_str::<Finish>(text).unwrap(), all);
    for wrong in [r#"{"alpha_cut":256}"#, r#"{"colours":16}"#, r#"{"palette":[]}"#, r#"{"outline":"red"}"#] {
        assert!(serde_json::from_str::<Finish>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn overrides_replace_what_they_say() {
    let default = Finish { alpha_cut: Some(110), colors: Some(16), ..Finish::default() };
    let ours = palette(&["#000000", "#ffffff"]);
    let of = |overrides: &FinishOverrides| overrides.over(&default);
    let none = FinishOverrides::default();
    assert_eq!(of(&none).unwrap(), default);
    let eight = FinishOverrides { colors: Some(8), dither: Some(true), ..none.clone() };
    assert_eq!(of(&eight).unwrap(), Finish { colors: Some(8), dither: true, ..default.clone() });
    let off = FinishOverrides { colors: Some(0), alpha_cut: Some(0), ..none.clone() };
    assert!(of(&off).unwrap().is_off());
    let tiled = Finish { tile: true, ..default.clone() };
    assert_eq!(of(&FinishOverrides { tile: Some(true), ..none.clone() }).unwrap(), tiled);
    assert_eq!(none.over(&tiled).unwrap(), tiled);
    assert_eq!(FinishOverrides { tile: Some(false), ..none.clone() }.over(&tiled).unwrap(), default);
    let by_palette = FinishOverrides { palette: Some(ours.clone()), ..none.clone() };
    assert_eq!(of(&by_palette).unwrap(), Finish { colors: None, palette: Some(ours.clone()), ..default.clone() });
    let both = FinishOverrides { colors: Some(4), ..by_palette };
    assert_eq!(of(&both).unwrap(), Finish { colors: Some(4), palette: Some(ours), ..default.clone() });
    let one = FinishOverrides { colors: Some(1), ..none.clone() };
    assert!(of(&one).unwrap_err().to_string().contains("2 to 256"));
    let dither = FinishOverrides { dither: Some(true), ..off };
    assert!(of(&dither).unwrap_err().to_string().contains("dither needs"));
}

const TILE: Finish =
    Finish { alpha_cut: None, colors: None, palette: None, dither: false, outline: None, despeckle: false, tile: true };

fn tiled(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut pixels = pixels.to_vec();
    TILE.apply(width, height, &mut pixels, 4 * width as usize).unwrap();
    pixels
}

/// An opaque picture by a rule of its columns and rows.
fn opaque(width: u32, height: u32, of: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    (0..height * width)
        .flat_map(|at| {
            let [r, g, b] = of(at % width, at / width);
            [r, g, b, 255]
        })
        .collect()
}

fn noise(x: u32, y: u32, salt: u32) -> u32 {
    let mut bits = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ salt.wrapping_mul(0xc2b2_ae3d);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39) >> 16
}

/// Ground of blots and grain whose light falls off, which does not repeat.
fn ground(width: u32, height: u32, salt: u32) -> Vec<u8> {
    opaque(width, height, |x, y| {
        let blot = noise(x / 3, y / 3, salt) % 40 + noise(x / 5, y / 4, salt + 1) % 40;
        let light = 40 + 50 * x / width + 40 * y / height + blot;
        [light + noise(x, y, salt) % 9, light / 2, 30 + light / 3].map(|value| value as u8)
    })
}

/// Along rows and along columns: the mean step across the wrap over the mean inner one.
fn wrap_steps(width: u32, height: u32, pixels: &[u8]) -> [f64; 2] {
    let (width, height) = (width as usize, height as usize);
    let pixels = pixels.as_chunks::<4>().0;
    let step = |one: (usize, usize), other: (usize, usize)| -> f64 {
        let [one, other] = [one, other].map(|(x, y)| pixels[y * width + x]);
        one.iter().zip(other).map(|(&one, other)| f64::from(one.abs_diff(other))).sum()
    };
    let along = |x: usize| -> f64 { (0..height).map(|y| step((x, y), ((x + 1) % width, y))).sum() };
    let down = |y: usize| -> f64 { (0..width).map(|x| step((x, y), (x, (y + 1) % height))).sum() };
    let ratio = |steps: Vec<f64>| {
        let inner = steps[..steps.len() - 1].iter().sum::<f64>() / (steps.len() - 1) as f64;
        steps[steps.len() - 1] / inner.max(1e-9)
    };
    [ratio((0..width).map(along).collect()), ratio((0..height).map(down).collect())]
}

#[test]
fn tile_makes_ramps_and_ground_wrap_with_their_own_colours() {
    let ramp = |width, height| opaque(width, height, |x, y| [(x * 3) as u8, (y * 2) as u8, 9]);
    for (width, height) in [(16, 16), (32, 32), (31, 32), (64, 40), (16, 100)] {
        for pixels in [ramp(width, height), ground(width, height, 3), ground(width, height, 4)] {
            let after = tiled(width, height, &pixels);
            let [along, down] = wrap_steps(width, height, &after);
            assert!(along <= 1.2 && down <= 1.2, "{width} x {height}: {along}, {down}");
            assert!(colors(&after).is_subset(&colors(&pixels)));
        }
        assert!(wrap_steps(width, height, &ramp(width, height)).iter().all(|&ratio| ratio > 6.0));
    }
}

/// Bricks of 8 x 8 pixels, those of every other row moved by half of one. Their joints are at the borders.
fn brick(x: u32, y: u32) -> [u8; 3] {
    let x = x + y / 8 % 2 * 4;
    if x.is_multiple_of(8) || y.is_multiple_of(8) {
        [40, 40, 50]
    } else {
        [150, 60 + (x % 8) as u8 * 20, 30 + (y % 8) as u8 * 20]
    }
}

#[test]
fn tile_lines_up_a_pattern_whose_borders_differ() {
    let grain = |x: u32, y: u32| [0, 1, 2].map(|salt| 100 + (noise(x % 40, y % 40, salt) % 60) as u8);
    type Pattern = fn(u32, u32) -> [u8; 3];
    let patterns: [(u32, u32, Pattern); 5] =
        [(32, 32, brick), (48, 32, brick), (64, 64, brick), (256, 64, brick), (200, 160, grain)];
    for (width, height, pattern) in patterns {
        let wanted = opaque(width, height, pattern);
        for borders in [[3, 0, 0, 0], [2, 0, 3, 0], [0, 3, 0, 1], [2, 1, 1, 3]] {
            let [left, top, right, bottom] = borders;
            let framed =
                opaque(width, height, |x, y| match (x < left || y < top, x >= width - right || y >= height - bottom) {
                    (false, false) => pattern(x, y),
                    (first, _) => [if first { 0 } else { 250 }, 200, noise(x, y, 1) as u8],
                });
            assert!(tiled(width, height, &framed) == wanted, "{width} x {height}, {borders:?}");
        }
    }
}

#[test]
fn tile_leaves_what_repeats() {
    // The steps at the joints are twice the mean, but there are joints inside, too.
    let whole = opaque(32, 32, brick);
    assert!(wrap_steps(32, 32, &whole).iter().all(|&ratio| ratio > 1.9));
    assert!(tiled(32, 32, &whole) == whole);
    // No two bricks are the same.
    let grain = |x: u32, y: u32| brick(x, y).map(|value| value + (noise(x, y, 2) % 8) as u8);
    assert!(tiled(32, 32, &opaque(32, 32, grain)) == opaque(32, 32, grain));
    // Up to 160 and down to `last`: the step across the wrap is 1.10 and 1.21 times the mean.
    let wave = |last: u32| {
        opaque(32, 8, |x, _| [if x == 31 { last } else { (x * 10).min(320 - x * 10) }; 3].map(|value| value as u8))
    };
    let [fits, fails] = [11, 12].map(|last| wrap_steps(32, 8, &wave(last))[0]);
    assert!(fits < 1.2 && fails > 1.2 && fails < 1.21, "{fits}, {fails}");
    assert!(tiled(32, 8, &wave(11)) == wave(11));
    assert!(tiled(32, 8, &wave(12)) != wave(12));
}

#[test]
fn tile_has_closed_seams_so_that_one_axis_keeps_the_other() {
    // Rows of grain that do not wrap. The columns do, and all colours differ, so that pixels tell where they are from.
    let mut found = 0;
    for salt in 0..20 {
        let grain = |x: u32, y: u32| [0, 1, 2].map(|channel| noise(x, y, 3 * salt + channel) % 24);
        let rows = |x: u32, y: u32| {
            let [r, g, b] = grain(x, y);
            [r + 4 * x, g, b].map(|value| value as u8)
        };
        let before = opaque(32, 24, rows);
        let after = tiled(32, 24, &before);
        let columns = opaque(24, 32, |x, y| rows(y, x));
        let turned = tiled(24, 32, &columns);
        let [from, to, turned] = [&before, &after, &turned].map(|pixels| pixels.as_chunks::<4>().0);
        assert!((0..768).all(|at| to[at] == turned[at % 32 * 24 + at / 32]), "rows and columns are alike");
        let Some(by) = (8..=24).find(|by| (0..24).all(|y| to[y * 32] == from[y * 32 + by])) else {
            // The grain itself happened not to wrap, so columns were changed, too.
            assert!(wrap_steps(32, 24, &before)[1] > 1.1);
            continue;
        };
        found += 1;
        let kept = |y: usize, x: &usize| to[y * 32 + x] != from[y * 32 + (x + by) % 32];
        let ends = |y| (0..32).find(|x| kept(y, x)).zip((0..32).rfind(|x| kept(y, x)).map(|x| x + 1)).unwrap();
        let seams: Vec<(usize, usize)> = (0..24).map(ends).collect();
        for (y, (left, right)) in seams.iter().enumerate() {
            assert!((1..=8).contains(left) && (24..32).contains(right), "{left} {right}");
            assert!((*left..*right).all(|x| to[y * 32 + x] == from[y * 32 + x]), "the picture is in the middle");
            let next = seams[(y + 1) % 24];
            assert!(left.abs_diff(next.0) <= 1 && right.abs_diff(next.1) <= 1, "salt {salt}, row {y}: {seams:?}");
        }
        assert!(seams.iter().any(|row| row != &seams[0]), "the seams are straight");
        let [before, after] = [&before, &after].map(|pixels| wrap_steps(32, 24, pixels));
        assert!(before[0] > 3.0 && after.iter().all(|&ratio| ratio <= 1.2), "{before:?} {after:?}");
    }
    assert!(found > 15, "{found}");
}

#[test]
fn tile_leaves_pictures_with_a_transparent_pixel() {
    let pixels = ground(32, 32, 8);
    let changed = tiled(32, 32, &pixels);
    assert!(changed != pixels);
    for (at, alpha) in [(0, 254), (500, 128), (1023, 0)] {
        let mut other = pixels.clone();
        other[4 * at..][..4].copy_from_slice(&[0, 0, 0, alpha]);
        assert!(tiled(32, 32, &other) == other);
    }
    // The cut comes first.
    let mut soft = pixels;
    soft.iter_mut().skip(3).step_by(12).for_each(|alpha| *alpha = 120);
    assert!(tiled(32, 32, &soft) == soft);
    assert!(finished(&Finish { alpha_cut: Some(110), ..TILE }, 32, &soft) == changed);
}

#[test]
fn tile_leaves_small_pictures_and_those_that_would_not_be_better() {
    for (width, height) in [(7, 40), (40, 7), (1, 1), (7, 7)] {
        let pixels = ground(width, height, 1);
        assert!(tiled(width, height, &pixels) == pixels);
    }
    // Opposite borders differ, but what is between them differs more.
    let pixels = opaque(32, 32, |x, _| [[0, 255, 100][usize::from(x > 8) + usize::from(x > 23)]; 3]);
    assert!(wrap_steps(32, 32, &pixels)[0] > 7.0);
    assert!(tiled(32, 32, &pixels) == pixels);
    // Of few blots, so that none of the seams that are cheap enough makes the picture fit better.
    for (side, salt) in [(3, 93), (2, 133), (3, 264)] {
        let blots = |x: u32, y: u32| noise(x / side, y / 2, salt) % 3 * 40 + noise(x, y, salt) % 2 * 10;
        let pixels = opaque(8, 8, |x, y| [blots(x, y) as u8, 0, 0]);
        assert!(wrap_steps(8, 8, &pixels)[0] > 1.6 && tiled(8, 8, &pixels) == pixels);
    }
}

#[test]
fn tile_again_changes_nothing() {
    for (width, height) in [(8, 8), (16, 16), (31, 31), (32, 32), (64, 64), (24, 9), (9, 70), (300, 40)] {
        for salt in 0..if width * height > 2000 { 6 } else { 30 } {
            let shape = |x: u32, y: u32| [x * salt, y * 5, ((x / 8) ^ (y / 6)) * 40].map(|value| value as u8);
            let coarse =
                |x: u32, y: u32| [noise(x / 4, y / 3, salt), noise(x / 9, y, salt), 3].map(|value| value as u8);
            let grain = |x: u32, y: u32| [noise(x, y, salt) as u8, noise(y, x, salt) as u8 & 15, 0];
            for pixels in [
                ground(width, height, salt),
                opaque(width, height, shape),
                opaque(width, height, coarse),
                opaque(width, height, grain),
            ] {
                let once = tiled(width, height, &pixels);
                assert!(tiled(width, height, &once) == once, "{width} x {height}, {salt}");
                assert!(colors(&once).is_subset(&colors(&pixels)));
            }
        }
    }
}

#[test]
fn finishing_twice_is_finishing_once_with_tile_too() {
    for finish in settings() {
        let finish = Finish { tile: true, ..finish };
        // Opaque, transparent here and there, and so that an outline makes it opaque.
        let mut pictures = [ground(24, 24, 5), ground(24, 24, 6), ground(24, 24, 7), sprite(24, 3)];
        pictures[1].iter_mut().skip(3).step_by(36).for_each(|alpha| *alpha = 60);
        pictures[2].iter_mut().skip(3).step_by(28).for_each(|alpha| *alpha = 0);
        for pixels in pictures {
            let once = finished(&finish, 24, &pixels);
            assert!(once == finished(&finish, 24, &once), "{finish:?}");
        }
    }
    let finish = Finish { outline: Some(Color([0; 3])), ..TILE };
    let mut holes = ground(24, 24, 7);
    holes.iter_mut().skip(3).step_by(28).for_each(|alpha| *alpha = 0);
    let once = finished(&finish, 24, &holes);
    assert!(wrap_steps(24, 24, &holes)[0] > 1.2 && wrap_steps(24, 24, &once)[0] <= 1.2, "an outline made it opaque");
}

#[test]
fn tile_respects_stride() {
    let pixels = ground(16, 12, 2);
    let wanted = tiled(16, 12, &pixels);
    assert!(wanted != pixels);
    let mut wide = vec![77; 12 * 70];
    wide.chunks_mut(70).zip(pixels.chunks(64)).for_each(|(line, row)| line[..64].copy_from_slice(row));
    TILE.apply(16, 12, &mut wide, 70).unwrap();
    for (line, row) in wide.chunks(70).zip(wanted.chunks(64)) {
        assert_eq!((&line[..64], &line[64..]), (row, &[77; 6][..]));
    }
}

#[test]
fn tiles_are_these_bytes_on_every_platform() {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for (width, height) in [(8, 8), (32, 32), (50, 30), (200, 80)] {
        for salt in 0..10 {
            hash.update(tiled(width, height, &ground(width, height, salt)));
        }
    }
    assert_eq!(
        crate::support::hex::hex(hash.finalize()),
        "dad9b536252a19481ad4152e92614aaae640c7f1760000b7ba453c383e8c1260"
    );
}

/// Prints the time of finishing: `cargo test --release --lib -- --ignored --nocapture finish_time`.
#[test]
#[ignore = "measures"]
fn finish_time() {
    let full = Finish { alpha_cut: Some(110), colors: Some(16), despeckle: true, ..Finish::default() };
    let ours = Palette::new((0..64).map(|at: u8| Color([at * 4, 255 - at * 3, at ^ 21]))).unwrap();
    for (name, finish) in [
        ("16 colours", full.clone()),
        ("16 colours, outline", Finish { outline: Some(Color([0; 3])), ..full.clone() }),
        ("16 colours, dithered", Finish { dither: true, ..full.clone() }),
        ("palette of 64", Finish { palette: Some(ours), colors: None, ..full.clone() }),
        ("alpha cut", Finish { alpha_cut: Some(110), ..Finish::default() }),
        ("tile", Finish { tile: true, ..Finish::default() }),
    ] {
        for side in [32, 256, 1024] {
            let pixels = if finish.tile { ground(side, side, 5) } else { sprite(side, 5) };
            let round = || {
                let mut pixels = pixels.clone();
                let begun = std::time::Instant::now();
                finish.apply(side, side, std::hint::black_box(&mut pixels), 4 * side as usize).unwrap();
                begun.elapsed().as_secs_f64() * 1e3
            };
            let least = std::iter::repeat_with(round).take(100).fold(f64::MAX, f64::min);
            println!("{name}, {side} px ({} colours): {least:.3} ms", colors(&pixels).len());
        }
    }
}
