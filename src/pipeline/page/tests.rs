//! Pages as files: their data, and sheets of thumbnails.

use serde_json::Value;

use super::*;

const LEVELS: [u32; 4] = [8, 16, 24, 32];

/// A picture with another colour and shape for each number, at every level.
fn item(number: u64) -> Item {
    let thumbnails = LEVELS.iter().map(|&level| thumbnail(number, level)).collect();
    Item { thumbnails, ..plain_item(number) }
}

fn thumbnail(number: u64, level: u32) -> Thumbnail {
    let pixel = |at: u32| {
        let (x, y) = ((at % level) as f32 + 0.5, (at / level) as f32 + 0.5);
        let (x, y) = (x / level as f32 - 0.5, y / level as f32 - 0.5);
        let radius = 0.25 + 0.2 * ((number % 13) as f32 / 13.0) * (y * (2 + number % 5) as f32 * 3.0).cos();
        let inside = x * x + y * y < radius * radius;
        let colour =
            |shift: u64| (number.wrapping_mul(2_654_435_761) >> shift & 127) as u8 + 64 + (y.abs() * 120.0) as u8;
        if inside { [colour(3), colour(11), colour(19), 255] } else { [0; 4] }
    };
    Thumbnail { level, side: level, pixels: (0..level * level).flat_map(pixel).collect() }
}

/// A picture without thumbnails.
fn plain_item(number: u64) -> Item {
    let class = ["potion", "weapon", "dragon", "water", "<b>&class"][(number / 7 % 5) as usize];
    let files = LEVELS.map(|level| (level, format!("{class}/{number:06} #_{level}.png")));
    Item {
        number,
        class: class.to_owned(),
        seed: if number == 0 { u64::MAX } else { number },
        row: 1 + (number / 1000) as u32,
        tags: [vec![], vec!["boss".to_owned()], vec!["boss".to_owned(), "red".to_owned()]]
            [(number / 1000 % 3) as usize]
            .clone(),
        parameters: format!("guidance {}\ntemperature 0.9\ntop_p 0.95", 1 + number / 1000),
        files: files.to_vec(),
        tokens: (0..32).map(|at| (number as u32 * 977 + at * 131) % 4096).collect(),
        log_probability: Some(-150.0 + (number % 97) as f32),
        thumbnails: Vec::new(),
    }
}

fn job(pictures: u64) -> Job<'static> {
    Job { identity: "0123456789abcdef", name: "night & day", pictures }
}

/// The JSON of the script elements whose opening tag ends with `tag`.
fn scripts(page: &str, tag: &str) -> Vec<Value> {
    let opening = format!("<script type=\"application/json\" {tag}>");
    let parts = page.split(&opening).skip(1);
    parts.map(|part| serde_json::from_str(part.split_once("</script>").unwrap().0).unwrap()).collect()
}

#[test]
fn page_holds_every_picture_and_its_thumbnails() {
    let folder = tempfile::tempdir().unwrap();
    let count = 1500;
    let pages = write(folder.path(), job(count), (0..count).map(|number| Ok(item(number)))).unwrap();
    assert_eq!(pages, [folder.path().join("index.html")]);
    let page = std::fs::read_to_string(&pages[0]).unwrap();
    assert!(page.contains("<title>night &amp; day</title>") && !page.contains("<b>&class"));
    for mark in ["<!-- name", "<!-- style", "<!-- data", "http://", "https://", "fetch(", "XMLHttpRequest", "innerHTML"]
    {
        assert!(!page.contains(mark), "{mark}");
    }
    let [head] = &scripts(&page, "id=\"head\"")[..] else { panic!("no head") };
    assert_eq!((&head["job"], &head["pages"]), (&"0123456789abcdef".into(), &serde_json::json!(["index.html"])));
    let lines: Vec<Value> =
        scripts(&page, "class=\"part\"").iter().flat_map(|part| part.as_array().unwrap().clone()).collect();
    assert_eq!(lines.len() as u64, count);
    let levels = head["levels"].as_array().unwrap();
    assert_eq!(levels.iter().map(|level| level["level"].as_u64().unwrap() as u32).collect::<Vec<_>>(), LEVELS);
    let sheets: Vec<Vec<image::RgbaImage>> = levels
        .iter()
        .map(|level| {
            let paths = level["sheets"].as_array().unwrap().iter();
            paths.map(|path| image::open(folder.path().join(path.as_str().unwrap())).unwrap().into_rgba8()).collect()
        })
        .collect();
    for (number, line) in lines.iter().enumerate().step_by(149) {
        let item = item(number as u64);
        let text = |list: &str, place: &Value| head[list][place.as_u64().unwrap() as usize].as_str().unwrap();
        assert_eq!((line[0].as_u64(), text("classes", &line[1])), (Some(item.number), &*item.class));
        assert_eq!((line[2].as_str().unwrap(), line[3].as_u64()), (&*item.seed.to_string(), Some(u64::from(item.row))));
        let tags: Vec<&str> = line[4].as_array().unwrap().iter().map(|place| text("tags", place)).collect();
        assert_eq!(
            (tags, text("parameters", &line[5])),
            (item.tags.iter().map(String::as_str).collect(), &*item.parameters)
        );
        assert_eq!((&line[6], line[7].as_f64()), (&15.into(), item.log_probability.map(f64::from)));
        assert_eq!(line[9], serde_json::json!(item.files));
        for (thumbnail, (level, sheets)) in item.thumbnails.iter().zip(levels.iter().zip(&sheets)) {
            let columns = level["columns"].as_u64().unwrap() as u32;
            let (sheet, cell) = (number as u32 / (columns * columns), number as u32 % (columns * columns));
            let corner = [cell % columns, cell / columns].map(|at| at * thumbnail.side);
            for (at, pixel) in thumbnail.pixels.as_chunks::<4>().0.iter().enumerate() {
                let [x, y] = [at as u32 % thumbnail.side, at as u32 / thumbnail.side];
                assert_eq!(&sheets[sheet as usize].get_pixel(corner[0] + x, corner[1] + y).0, pixel);
            }
        }
    }
}

#[test]
fn page_is_one_of_several_beyond_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let plain = |number: u64| {
        // Two levels, the finer one only from the second sheet on.
        let levels = if number < 1100 { 1 } else { 2 };
        let thumbnail = |level: u32| Thumbnail {
            level,
            side: 1,
            pixels: vec![number as u8, (number >> 8) as u8, level as u8, 255],
        };
        Item { thumbnails: (1..=levels).map(thumbnail).collect(), ..plain_item(number) }
    };
    let count = PICTURES + 3;
    let pages = write(folder.path(), job(count), (0..count).map(|number| Ok(plain(number)))).unwrap();
    assert_eq!(pages.len(), 2);
    let second = std::fs::read_to_string(&pages[1]).unwrap();
    let head = &scripts(&second, "id=\"head\"")[0];
    assert_eq!((&head["page"], &head["pages"]), (&2.into(), &serde_json::json!(["index.html", "index-2.html"])));
    assert_eq!(scripts(&second, "class=\"part\"")[0].as_array().unwrap().len(), 3);
    let first = &scripts(&std::fs::read_to_string(&pages[0]).unwrap(), "id=\"head\"")[0];
    let finer = first["levels"][1]["sheets"].as_array().unwrap();
    assert_eq!((finer.len(), &finer[0]), (10, &"".into()), "no sheet before the level's first picture");
    let sheet = image::open(folder.path().join(finer[1].as_str().unwrap())).unwrap().into_rgba8();
    assert_eq!(sheet.get_pixel((1100 % 1024) % 32, (1100 % 1024) / 32).0, [(1100 % 256) as u8, 4, 2, 255]);
    assert_eq!(sheet.get_pixel((1099 % 1024) % 32, (1099 % 1024) / 32).0, [0; 4]);
}

#[test]
fn page_errors_name_the_picture_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |pictures: u64, items: Vec<Item>| {
        write(folder.path(), job(pictures), items.into_iter().map(Ok)).unwrap_err().to_string()
    };
    assert!(fails(3, vec![item(0), item(1)]).contains("2 pictures, 3 were announced"));
    assert!(fails(1, vec![item(0), item(1)]).contains("more than 1"));
    let with = |side: u32, bytes: usize| Item {
        thumbnails: vec![Thumbnail { level: 8, side, pixels: vec![0; bytes] }],
        ..item(5)
    };
    assert!(fails(1, vec![with(129, 129 * 129 * 4)]).contains("picture 5: a thumbnail of 129 px"));
    assert!(fails(1, vec![with(8, 255)]).contains("255 bytes"));
    assert!(
        fails(2, vec![item(0), with(16, 1024)]).contains("the thumbnail of level 8 has 16 px, others of this level 8")
    );
    let empty = write(folder.path(), job(0), []).unwrap();
    assert!(std::fs::read_to_string(&empty[0]).unwrap().contains("id=\"head\""));
}

/// Writes the pages that tests/embed/page.sh opens in a browser: of so many pictures, in a folder, both named by the environment.
#[test]
#[ignore = "writes what another test opens"]
fn page_of_generated_pictures() {
    let named = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let count = named("DETAILFLOW_PAGE_PICTURES").parse().unwrap();
    let folder = PathBuf::from(named("DETAILFLOW_PAGE_FOLDER"));
    write(&folder, job(count), (0..count).map(|number| Ok(item(number)))).unwrap();
}
