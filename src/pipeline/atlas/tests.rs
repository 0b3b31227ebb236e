//! Atlases as files: pixels, and every layout of metadata.

use serde_json::Value;

use super::*;

/// A sprite whose pixels all differ, with transparent ones on its border that have colour.
fn sprite(number: u32, side: u32) -> Sprite {
    let pixel = |at: u32| {
        let alpha = if at.is_multiple_of(3) { 0 } else { 255 - (at % 200) as u8 };
        [(number % 251) as u8, (at % 256) as u8, (at / 256) as u8, alpha]
    };
    Sprite {
        name: format!("class {}/{number:06}", number % 3),
        class: format!("class {}", number % 3),
        seed: Some(u64::from(number) << 40),
        tags: if number.is_multiple_of(2) { vec!["even \"one\"".to_owned()] } else { Vec::new() },
        side,
        pixels: (0..side * side).flat_map(pixel).collect(),
    }
}

/// Writes an atlas and reads it back: the folder and what was said of it.
fn written(options: &Options, sprites: &[Sprite]) -> (tempfile::TempDir, Written) {
    let folder = tempfile::tempdir().unwrap();
    let found = write(folder.path(), options, sprites.iter().cloned().map(Ok)).unwrap();
    for file in &found.files {
        assert!(file.is_file(), "{}", file.display());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), found.files.len(), "and no other files");
    (folder, found)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// Sizes mixed as rows of several levels give them.
fn mixed(count: u32) -> Vec<Sprite> {
    (0..count).map(|at| sprite(at, [8, 16, 12, 32, 8][at as usize % 5])).collect()
}

#[test]
fn atlas_pixels_are_those_of_the_sprites_and_their_borders_repeat() {
    let list = mixed(120);
    for (extrude, power_of_two) in [(0, true), (1, true), (3, false), (8, true)] {
        let options = Options {
            page_size: 256,
            padding: 1,
            extrude,
            power_of_two,
            formats: vec![Format::List],
            ..Options::default()
        };
        let (folder, found) = written(&options, &list);
        assert_eq!(found.sprites, 120);
        let places = json(&folder.path().join("atlas.json"));
        let pages: Vec<_> = (0..found.pages)
            .map(|page| image::open(folder.path().join(format!("atlas-{page}.png"))).unwrap().into_rgba8())
            .collect();
        let mut covered: Vec<Vec<bool>> = pages.iter().map(|page| vec![false; page.len() / 4]).collect();
        for (sprite, place) in list.iter().zip(places["sprites"].as_array().unwrap()) {
            assert_eq!(place["name"], sprite.name);
            let (page, side) = (number(&place["page"]) as usize, sprite.side);
            assert_eq!((number(&place["width"]), number(&place["height"])), (side, side));
            for y in 0..side + 2 * extrude {
                for x in 0..side + 2 * extrude {
                    let inner = |at: u32| at.saturating_sub(extrude).min(side - 1);
                    let wanted = &sprite.pixels[((inner(y) * side + inner(x)) * 4) as usize..][..4];
                    let (px, py) = (number(&place["x"]) + x - extrude, number(&place["y"]) + y - extrude);
                    assert_eq!(pages[page].get_pixel(px, py).0, wanted, "{} at {x}, {y}", sprite.name);
                    let at = (py * pages[page].width() + px) as usize;
                    assert!(!std::mem::replace(&mut covered[page][at], true), "{} on another", sprite.name);
                }
            }
        }
        for (page, covered) in pages.iter().zip(&covered) {
            assert!(
                page.pixels().zip(covered).all(|(pixel, covered)| *covered || pixel.0 == [0; 4]),
                "the rest is clear"
            );
            assert!(!power_of_two || page.width().is_power_of_two() && page.height().is_power_of_two());
        }
    }
}

#[test]
fn atlas_metadata_of_every_engine_name_the_same_places() {
    let list = mixed(200);
    let options = Options {
        name: "sprites".to_owned(),
        page_size: 128,
        formats: Format::ALL.to_vec(),
        pivot: Some([0.5, 1.0]),
        nine_slice: Some([2, 3, 4, 1]),
        ..Options::default()
    };
    let (folder, found) = written(&options, &list);
    let read = |name: &str| json(&folder.path().join(name));
    let all = read("sprites.json");
    assert_eq!(all["pages"].as_array().unwrap().len() as u32, found.pages);
    assert!(found.pages > 2);
    let phaser = read("sprites.phaser.json");
    let lua = std::fs::read_to_string(folder.path().join("sprites.lua")).unwrap();
    let mut at = 0;
    for page in 0..found.pages {
        let hash = read(&format!("sprites-{page}.json"));
        let array = read(&format!("sprites-{page}.array.json"));
        let tres = std::fs::read_to_string(folder.path().join(format!("sprites-{page}.tres"))).unwrap();
        let texture = &phaser["textures"][page as usize];
        let image = format!("sprites-{page}.png");
        let (width, height) = image::image_dimensions(folder.path().join(&image)).unwrap();
        for meta in [&hash["meta"], &array["meta"], texture] {
            assert_eq!(meta["image"], image);
            assert_eq!((number(&meta["size"]["w"]), number(&meta["size"]["h"])), (width, height));
        }
        let related = hash["meta"]["related_multi_packs"].as_array().map_or(0, Vec::len) as u32;
        assert_eq!(related, if page == 0 { found.pages - 1 } else { 0 });
        assert!(tres.contains(&format!("path=\"{image}\"")));
        assert!(lua.contains(&format!("page(\"{image}\", {width}, {height})")));
        let frames = array["frames"].as_array().unwrap();
        assert_eq!(hash["frames"].as_object().unwrap().len(), frames.len());
        assert_eq!(texture["frames"].as_array().unwrap(), frames);
        for (index, frame) in frames.iter().enumerate() {
            let (sprite, place) = (&list[at], &all["sprites"][at]);
            at += 1;
            assert_eq!((&frame["filename"], number(&place["page"])), (&place["name"], page));
            let (x, y, side) = (number(&place["x"]), number(&place["y"]), sprite.side);
            assert_eq!(frame["frame"], serde_json::json!({"x": x, "y": y, "w": side, "h": side}));
            assert_eq!(frame["pivot"], serde_json::json!({"x": 0.5, "y": 1.0}));
            assert_eq!(frame["scale9Borders"], serde_json::json!({"x": 2, "y": 3, "w": side - 6, "h": side - 4}));
            assert_eq!(frame["borders"], serde_json::json!({"left": 2, "top": 3, "right": 4, "bottom": 1}));
            let mut unnamed = frame.clone();
            unnamed.as_object_mut().unwrap().remove("filename");
            assert_eq!(hash["frames"][&sprite.name], unnamed);
            let region =
                format!("id=\"{index}\"]\natlas = ExtResource(\"1\")\nregion = Rect2({x}, {y}, {side}, {side})\n");
            assert!(tres.contains(&region), "{region}");
            assert!(
                tres.contains(&format!(
                    "SubResource(\"{index}\")\n}}],\n\"loop\": true,\n\"name\": &\"{}\"",
                    sprite.name
                ))
            );
            assert!(lua.contains(&format!("sprite(\"{}\", {x}, {y}, {side}, \"{}\"", sprite.name, sprite.class)));
        }
    }
    assert_eq!(at, list.len());
    assert!(lua.contains(r#""class 0", 6597069766656, "even \"one\"")"#), "sprite 6 has seed and tag");
}

#[test]
fn atlas_is_the_same_from_any_stream() {
    let list = mixed(90);
    let options = Options { page_size: 128, formats: Format::ALL.to_vec(), ..Options::default() };
    let (one, found) = written(&options, &list);
    let (two, _) = written(&options, &list);
    for file in found.files {
        let name = file.file_name().unwrap();
        let bytes = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(bytes(&one), bytes(&two), "{name:?}");
    }
}

#[test]
fn atlas_errors_name_the_sprite_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |options: &Options, sprites: Vec<Sprite>| {
        write(folder.path(), options, sprites.into_iter().map(Ok)).unwrap_err().to_string()
    };
    let small = Options { page_size: 32, ..Options::default() };
    assert!(
        fails(&small, vec![sprite(7, 32)])
            .contains("sprite class 1/000007: 32 px per side; an atlas page of 32 px takes 1 to 30")
    );
    let mut short = sprite(1, 8);
    short.pixels.pop();
    assert!(fails(&small, vec![short]).contains("255 bytes; 8 x 8 pixels RGBA8 are 256"));
    assert!(fails(&small, vec![sprite(1, 8), sprite(1, 8)]).contains("this name"));
    for (options, text) in [
        (Options { page_size: 2000, ..Options::default() }, "1024 and 2048 are the nearest"),
        (Options { page_size: 16384, ..Options::default() }, "16 to 8192"),
        (Options { extrude: 9, ..Options::default() }, "0 to 8"),
        (Options { padding: 257, ..Options::default() }, "0 to 256"),
        (Options { pivot: Some([0.5, 1.5]), ..Options::default() }, "0 to 1"),
        (Options { name: "a/b".to_owned(), ..Options::default() }, "without folders"),
        (Options { formats: vec![Format::Love; 2], ..Options::default() }, "love is named twice"),
    ] {
        assert!(fails(&options, vec![]).contains(text), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
    assert_eq!(write(folder.path(), &small, []).unwrap(), Written::default());
    assert!(Format::from_name("unity").unwrap_err().to_string().contains("texturepacker, texturepacker-array, phaser"));
    let last = write(folder.path(), &small, [Ok(sprite(1, 8)), Err(Error::Invalid("the spool".to_owned()))]);
    assert!(last.unwrap_err().to_string().contains("the spool"));
}
