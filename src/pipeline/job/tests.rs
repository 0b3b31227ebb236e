//! Whole job files against the small bundle of the tests: levels of 16 px (4 tokens), 24 (8) and 32 (16), classes "class 0" to
//! "class 2".

use std::path::{Path, PathBuf};

use super::*;
use crate::bundle::Bundle;
use crate::pipeline::output::AlphaMode;
use crate::pipeline::plan::{Seeds, Start};
use crate::pipeline::settings::{AtlasFormat, Settings, TokenOutput};
use crate::support::error::Error;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn bundle() -> Bundle {
    Bundle::open(data("small")).unwrap()
}

fn checked_in(folder: &Path, format: JobFormat, text: &str) -> Checked {
    check_job_from(text.as_bytes(), format, Path::new("job"), folder, &bundle()).unwrap()
}

fn checked(format: JobFormat, text: &str) -> Checked {
    checked_in(Path::new(""), format, text)
}

/// Line, row, field and text of each problem.
fn problems(checked: &Checked) -> Vec<String> {
    checked.problems.iter().map(ToString::to_string).collect()
}

/// Panics unless the problems are these: the line and field of each, and a part of its text.
#[track_caller]
fn assert_problems(checked: &Checked, wanted: &[(&str, &str)]) {
    let found = problems(checked);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, (place, word)) in found.iter().zip(wanted) {
        assert!(found.starts_with(&format!("job:{place}")) && found.contains(word), "{place} {word}: {found}");
    }
}

const WHOLE: &str = r#"
[output]
name = "{class}/{seed:06}_{level}_{tag}.png"
alpha = "premultiplied"
tokens = "files"
scale = 2

[atlas]
formats = ["love", "godot"]
padding = 4

[select]
duplicates = 4
alpha = { min = 0.05, max = 0.98 }

[page]
title = "Potions"

[defaults]
guidance = 1.5
tags = ["all"]

[[row]]
class = "class 1"
count = 100
seed = 7
level = [32, 16]

[[row]]
class = ["0", 2]
seed = "100-199"
guidance = "1.0@2,3.0@8"
gradual = true
level = "all"
select = { best = 10 }
tags = ["boss", "red"]

[[row]]
class = "all"
seed = [18446744073709551615, 3]
output = "third/{class}-{seed}.ktx2"
temperature = 0
top_k = 5
top_p = 0.5
"#;

#[test]
fn toml_job_gives_settings_and_rows() {
    let checked = checked(JobFormat::Toml, WHOLE);
    assert_eq!(problems(&checked), [""; 0]);
    assert!(!checked.stops(true) && checked.rows == 3 && checked.left_out() == 0);
    let Settings { output, atlas, select, page, finish: _ } = &checked.settings;
    assert_eq!((output.alpha, output.tokens, output.scale), (AlphaMode::Premultiplied, TokenOutput::Files, 2));
    let atlas = atlas.as_ref().unwrap();
    assert_eq!(
        (&atlas.formats[..], atlas.padding, atlas.size),
        (&[AtlasFormat::Love, AtlasFormat::Godot][..], 4, 2048)
    );
    assert_eq!(
        (select.as_ref().unwrap().duplicates, page.as_ref().unwrap().title.as_deref()),
        (Some(4), Some("Potions"))
    );

    let rows = checked.plan.rows();
    assert_eq!(checked.plan.pictures(), 100 + 2 * 100 + 3 * 2);
    assert_eq!(rows[0].line, 23);
    assert_eq!(*rows[0].classes, [1]);
    assert_eq!(rows[0].seeds, Seeds::From { first: 7, count: 100 });
    assert_eq!(rows[0].levels.iter().map(|level| level.size).collect::<Vec<_>>(), [16, 32]);
    assert_eq!(rows[0].guidance.scale.constant(), Some(1.5));
    assert_eq!(*rows[0].tags, ["all".to_owned()]);
    assert_eq!((&*rows[1].classes, rows[1].levels.len(), rows[1].guidance.gradual), (&[0, 2][..], 3, true));
    assert_eq!(rows[1].guidance.scale.to_string(), "1@2,3@8");
    assert_eq!(rows[1].select.as_ref().unwrap().best, Some(10));
    assert_eq!(rows[0].select.as_ref().unwrap().duplicates, Some(4));
    assert_eq!(*rows[2].classes, [0, 1, 2]);
    assert_eq!(rows[2].seeds, Seeds::List([u64::MAX, 3].into()));
    let sampling = rows[2].sampling.at(0, 16);
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.0, 5, 0.5));
    let names = bundle();
    let path = |number| {
        let picture = checked.plan.picture(number);
        picture.path(names.classes(), picture.row.levels[0])
    };
    assert_eq!(path(0), "class 1/000007_16_all.png");
    assert_eq!(path(100), "class 0/000100_16_boss.png");
    assert_eq!(path(300), "third/class 0-18446744073709551615.ktx2");
}

#[test]
fn formats_with_the_same_rows_have_one_identity() {
    let toml = "# comment\n[[row]]\nclass = 'class 1'\ncount = 3\nseed = 7\nguidance = 2\n\n[[row]]\nclass = [0, 2]\nseed = \"3-4\"\nlevel = [16, 32]\ntags = ['a', 'b']\n";
    let jsonl = "\u{feff}{\"class\": \"class 1\", \"count\": 3, \"seed\": \"7-9\", \"guidance\": \"2.0\"}\r\n\r\n{\"class\": [\"0\", \"Class 2\"], \"seed\": 3, \"count\": 2, \"level\": [32, 16], \"tags\": [\"a\", \"b\"], \"top_k\": null}";
    let csv = "\u{feff}class, count,seed,guidance,level,tags\r\nclass 1,3,7,2,,\r\n\r\n0;2,,3-4,,16;32,a; b\r\n";
    let all = [(JobFormat::Toml, toml), (JobFormat::Jsonl, jsonl), (JobFormat::Csv, csv)].map(|(f, t)| checked(f, t));
    for checked in &all {
        assert_eq!(problems(checked), [""; 0]);
        assert_eq!(checked.plan.pictures(), 7);
    }
    // A range and a first with a count are one thing.
    assert_eq!(all[0].identity, all[1].identity);
    assert_eq!(all[0].identity, all[2].identity);
    assert_eq!(all[0].identity.len(), 64);
    for other in ["count = 4", "tags = ['c']", "top_p = 0.5", "output = 'a{seed}.png'", "level = 16"] {
        let field = other.split(' ').next().unwrap();
        let changed = toml.replacen("guidance = 2\n", &format!("guidance = 2\n{other}\n"), 1);
        let changed = if field == "count" { toml.replacen("count = 3", other, 1) } else { changed };
        assert_ne!(checked(JobFormat::Toml, &changed).identity, all[0].identity, "{other}");
    }
    // Where a name is said does not matter.
    let named = toml.replace("class =", "output = '{number}.png'\nclass =");
    let in_table = format!("[output]\nname = '{{number}}.png'\n{toml}");
    assert_eq!(checked(JobFormat::Toml, &named).identity, checked(JobFormat::Toml, &in_table).identity);
    let scaled = format!("{toml}\n[output]\nscale = 2\n");
    assert_ne!(checked(JobFormat::Toml, &scaled).identity, all[0].identity);
}

#[test]
fn every_problem_of_every_row_is_listed_with_its_line() {
    let text = r#"
[[row]]
class = "clas 1"
count = 0
guidance = 5000
level = 17

[[row]]
class = "class 0"
colour = "red"
seed = "9-3"
temperature = "x"

[[row]]
class = "class 0"
top_k = -1
top_p = 2
tags = [""]
output = "../a.png"

[[row]]
count = 2

[[row]]
class = "class 2"
"#;
    let checked = checked(JobFormat::Toml, text);
    assert_problems(
        &checked,
        &[
            ("3: class", "did you mean class 1, class 0, class 2?"),
            ("4: count", "allowed are 1 to 1099511627776"),
            ("5: guidance", "guidance 5000 is not 0 to 1000"),
            ("6: level", "the levels are 16, 24, 32 px"),
            ("10: colour", "unknown field; allowed are class, count, seed"),
            ("11: seed", "ends before it begins"),
            ("12: temperature", "\"x\" is neither a number nor points"),
            ("16: top_k", "at least 0"),
            ("17: top_p", "above 0 and at most 1"),
            ("18: tags", "1 to 100 characters"),
            ("19: output", "`..`"),
            ("21", "needs a class"),
        ],
    );
    assert!(!checked.stops(false) && checked.stops(true));
    assert_eq!((checked.rows, checked.left_out()), (5, 4));
    let row = &checked.plan.rows()[0];
    assert_eq!((row.number, row.line, checked.plan.pictures()), (4, 24, 1));
}

#[test]
fn problems_of_the_whole_job_stop_it() {
    let text = r#"
[output]
scale = 17
alpha = "strait"
name = "{x}.png"
[atlas]
size = 100
pivot = [0.5, 2]
nine_slice = [20, 0, 20, 0]
formats = ["unity"]
[select]
best = 0
by = "likeness"
alpha = { min = 0.9, max = 0.1 }
[defaults]
class = "nothing"
guidance = nan
top_p = 3
vary = { token = "x" }
[page]
titel = "x"
[more]
[[row]]
count = 2
"#;
    let checked = checked(JobFormat::Toml, text);
    assert_problems(
        &checked,
        &[
            ("3: output.scale", "17 is out of range; allowed are 1 to 16"),
            ("4: output.alpha", "expected straight or premultiplied"),
            ("5: output.name", "unknown field {x}; allowed are {class}"),
            ("7: atlas.size", "power of two"),
            ("8: atlas.pivot", "shares of 0 to 1"),
            ("9: atlas.nine_slice", "wider than the sprite of 32 px"),
            ("10: atlas.formats", "unknown variant unity"),
            ("12: select.best", "from 1 on"),
            ("13: select.by", "set `like`"),
            ("14: select.alpha", "0.9 to 0.1 is not a range"),
            ("16: defaults.class", "no class \"nothing\""),
            ("17: defaults.guidance", "nan is not allowed"),
            ("18: defaults.top_p", "at most 1"),
            ("19: defaults.vary", "unknown field token; allowed are tokens, entry, keep"),
            ("21: page.titel", "unknown field; allowed are title"),
            ("22: more", "allowed are output, finish, atlas"),
        ],
    );
    assert!(checked.stops(false));
}

#[test]
fn toml_syntax_error_ends_reading_and_has_its_line() {
    let checked = checked(JobFormat::Toml, "[[row]]\nclass = \"class 0\"\n[[row]\n");
    assert_problems(&checked, &[("3", "not TOML")]);
    assert!(checked.stops(false));
}

#[test]
fn empty_jobs_are_refused() {
    for format in [JobFormat::Toml, JobFormat::Jsonl, JobFormat::Csv] {
        let checked = checked(format, "\n");
        assert_eq!(problems(&checked), ["job: the job has no rows"]);
    }
}

#[test]
fn jsonl_problems_do_not_hide_other_lines() {
    let text = "{\"class\": 0}\n{\"class\": 1,\n[1]\n{\"class\": 7, \"count\": \"x\", \"count2\": 1}\n{\"class\": 0, \"class\": 1}\n\
                {\"class\": 0, \"vary\": {\"keep\": 1}}\n{\"class\": 2}\n{\"class\": 2, \"vary\": [\"a.dft\"]}\n";
    let checked = checked(JobFormat::Jsonl, text);
    assert_problems(
        &checked,
        &[
            ("2", "not JSON: EOF while parsing"),
            ("3", "a row must be an object"),
            ("4: count:", "\"x\" is not allowed; allowed is an integer"),
            ("4: count2", "unknown field; allowed are class"),
            ("4: class", "class 7 is out of range: small has classes 0 to 2"),
            ("5", "duplicate field class"),
            ("6: vary", "missing field"),
            ("8: vary", "allowed is a table with `tokens`"),
        ],
    );
    let numbers: Vec<_> = checked.plan.rows().iter().map(|row| (row.number, row.line)).collect();
    assert_eq!(numbers, [(0, 1), (6, 7)]);
    let mut long = b"{\"class\": 0}\n\"".to_vec();
    long.resize(long.len() + raw::LONGEST_LINE as usize + 5, b'x');
    long.extend(b"\n\xff\n{\"class\": 2}\n");
    let checked = check_job_from(&*long, JobFormat::Jsonl, Path::new("job"), Path::new(""), &bundle()).unwrap();
    assert_problems(&checked, &[("2", "longer than"), ("3", "not JSON")]);
    assert_eq!(checked.plan.rows()[1].line, 4);
}

#[test]
fn csv_problems_name_line_and_column() {
    let text = "class,seed,level,guidance,tags\n0,x,,,\n1,1;2;x,,,\n1,\"1;1\",99,2,a;\n0,0\n2,5,all,\"1@2,3@8\",a;b\n0,0,16;x,,\n";
    let checked = checked(JobFormat::Csv, text);
    assert_problems(
        &checked,
        &[
            ("2: seed", "\"x\" is not allowed"),
            ("3: seed", "a list is separated by ;"),
            ("4: level", "no level of 99 px"),
            ("4: seed", "1 is listed twice"),
            ("5", "the row has 2 cells; the header has 5"),
            ("7: level", "\"16;x\" is not allowed"),
        ],
    );
    let row = &checked.plan.rows()[0];
    assert_eq!((row.number, row.line, row.levels.len()), (4, 6, 3));
    assert_eq!(row.guidance.scale.to_string(), "1@2,3@8");
    for (text, word) in [
        ("class;seed\n", "unknown column; allowed are class, count, seed, guidance"),
        ("class,Seed\n", "unknown column"),
        ("class,class\n", "there twice"),
    ] {
        let checked = self::checked(JobFormat::Csv, text);
        assert!(checked.stops(false) && problems(&checked)[0].contains(word), "{:?}", problems(&checked));
    }
    let mut open = b"class\n0\n\"".to_vec();
    open.resize(open.len() + (raw::LONGEST_LINE as usize) + (4 << 20), b'x');
    let checked = check_job_from(&*open, JobFormat::Csv, Path::new("job"), Path::new(""), &bundle()).unwrap();
    assert_problems(&checked, &[("3", "is a quote not closed?")]);
}

#[test]
fn sizes_are_counted_without_overflow() {
    let most = 1u64 << 40;
    let text = format!("class,count\n0,{most}\n1,1\n2,3\n");
    let checked = checked(JobFormat::Csv, &text);
    assert_problems(&checked, &[("3", "more than 1099511627776 pictures")]);
    assert!(checked.stops(false));
    let all = self::checked(JobFormat::Csv, &format!("class,count\nall,{most}\n"));
    assert_problems(&all, &[("2", "more than 1099511627776 pictures")]);
}

#[test]
fn variations_take_tokens_and_class_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle();
    let tokens: Vec<u32> = (0..16).collect();
    bundle.dft(Some(2), Some(7), tokens.clone()).unwrap().save(folder.path().join("a.dft")).unwrap();
    bundle.dft(Some(1), None, tokens[..4].to_vec()).unwrap().save(folder.path().join("short.dft")).unwrap();
    let mut pack = crate::tokens::PackWriter::create(folder.path().join("a.dftpack")).unwrap();
    pack.add(Some("x"), &bundle.dft(None, None, tokens[..8].to_vec()).unwrap()).unwrap();
    pack.add(Some("y"), &bundle.dft(Some(1), None, tokens.clone()).unwrap()).unwrap();
    pack.finish().unwrap();
    let text = r#"{"vary": {"tokens": "a.dft", "keep": 16}, "count": 2}
{"vary": {"tokens": "a.dftpack", "entry": "y", "keep": 24}}
{"vary": {"tokens": "a.dftpack", "entry": 0}, "class": 0, "level": 32}
{"vary": {"tokens": "a.dftpack", "entry": "x"}}
{"vary": {"tokens": "a.dftpack", "entry": "z"}, "class": 0}
{"vary": {"tokens": "a.dftpack", "entry": 2}, "class": 0}
{"vary": {"tokens": "a.dft", "entry": 1}}
{"vary": {"tokens": "a.dft", "entry": "y"}}
{"vary": {"tokens": "short.dft", "keep": 24}}
{"vary": {"tokens": "a.dft", "keep": 17}}
{"vary": {"tokens": "none.dft"}}
{"vary": {"tokens": "a.dft"}, "level": 24}
"#;
    let checked = checked_in(folder.path(), JobFormat::Jsonl, text);
    let rows = checked.plan.rows();
    assert_eq!((&rows[0].start, &*rows[0].classes), (&Start::Tokens(vec![0, 1, 2, 3]), &[2][..]));
    assert_eq!((&rows[1].start, &*rows[1].classes), (&Start::Tokens((0..8).collect()), &[1][..]));
    assert_eq!((&rows[2].start, &*rows[2].classes), (&Start::Tokens((0..8).collect()), &[0][..]));
    assert_problems(
        &checked,
        &[
            ("4: class", "needs a class"),
            ("5: vary", "no entry \"z\""),
            ("6: vary", "no picture 2; allowed are 0 to 1"),
            ("7: vary", "allowed are 0 to 0"),
            ("8: vary", "only a pack has entries by name"),
            ("9: vary", "the 24 px level takes 8 tokens, there are 4"),
            ("10: vary", "its levels are 16, 24, 32"),
            ("11: vary", "file not found"),
            ("12: vary", "keeps 16 tokens"),
        ],
    );
    // The mix of a file is that of rows that say neither class nor mix.
    let mix = bundle.mix("0:0.6,2:0.4", "1:0.5").unwrap();
    bundle.dft_of_mix(&mix, Some(7), tokens.clone()).unwrap().save(folder.path().join("mix.dft")).unwrap();
    let one = bundle.mix("1", "0:0.5").unwrap();
    bundle.dft_of_mix(&one, Some(7), tokens).unwrap().save(folder.path().join("avoid.dft")).unwrap();
    let text = r#"{"vary": {"tokens": "mix.dft"}, "class": 1}
{"vary": {"tokens": "mix.dft"}}
{"vary": {"tokens": "mix.dft"}, "avoid": "2"}
{"vary": {"tokens": "mix.dft"}, "mix": "1,2"}
{"vary": {"tokens": "avoid.dft"}}
"#;
    let checked = checked_in(folder.path(), JobFormat::Jsonl, text);
    assert_problems(&checked, &[]);
    let rows: Vec<_> =
        checked.plan.rows().iter().map(|row| (&*row.classes, &row.mix.classes[..], &row.mix.avoid[..])).collect();
    let own = [(1, 1.0.into()), (2, 1.0.into())];
    assert_eq!(
        rows,
        [
            (&[1][..], &[][..], &[][..]),
            (&[0], mix.classes(), mix.avoid()),
            (&[0], mix.classes(), &[(2, 1.0.into())]),
            (&[1], &own, &[]),
            (&[1], &[], one.avoid()),
        ]
    );
    // Tokens of another tokenizer.
    let other = Bundle::open(data("tiny-16/bundle")).unwrap();
    let foreign = other.dft(None, None, vec![0]).unwrap();
    foreign.save(folder.path().join("foreign.dft")).unwrap();
    let checked =
        checked_in(folder.path(), JobFormat::Jsonl, "{\"class\": 0, \"vary\": {\"tokens\": \"foreign.dft\"}}");
    assert_problems(&checked, &[("1: vary", "belong to tokenizer")]);
}

#[test]
fn pictures_to_redetail_are_read_when_the_job_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let png = data("tiny-16/image_0.png");
    std::fs::copy(&png, folder.path().join("x.png")).unwrap();
    std::fs::write(folder.path().join("bad.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    std::fs::write(folder.path().join("text.txt"), b"text").unwrap();
    let text = "[select]\nbest = 1\nby = \"likeness\"\nlike = \"x.png\"\n\
                [[row]]\nclass = 0\nredetail = { image = \"x.png\", keep = 16 }\n\
                [[row]]\nclass = 0\nredetail = { image = \"bad.png\", keep = 16 }\n\
                [[row]]\nclass = 0\nredetail = { image = \"text.txt\", keep = 16 }\n\
                [[row]]\nclass = 0\nredetail = { image = \"x.png\", keep = 17 }\n\
                [[row]]\nclass = 0\nredetail = { image = \"x.png\" }\n\
                [[row]]\nclass = 0\nlevel = 16\nredetail = { image = \"x.png\", keep = 32 }\n";
    let checked = checked_in(folder.path(), JobFormat::Toml, text);
    let path = folder.path().join("x.png");
    assert_eq!(checked.plan.rows()[0].start, Start::Picture { path: path.clone(), keep: 16 });
    assert_eq!(checked.settings.select.as_ref().unwrap().like.as_ref(), Some(&path));
    assert_problems(
        &checked,
        &[
            ("10: redetail", "not a picture that can be read"),
            ("13: redetail", "not a picture that can be read"),
            ("16: redetail", "the levels are 16, 24, 32 px"),
            ("19: redetail", "missing field `keep`; allowed is a table with"),
            ("23: redetail", "keeps 16 tokens"),
        ],
    );
    // The content counts, not the place.
    let again = tempfile::tempdir().unwrap();
    std::fs::copy(&png, again.path().join("x.png")).unwrap();
    let same = text.split_inclusive("keep = 16 }\n").next().unwrap();
    let identity = checked_in(folder.path(), JobFormat::Toml, same).identity;
    assert_eq!(checked_in(again.path(), JobFormat::Toml, same).identity, identity);
    let file = std::fs::read(&png).unwrap();
    std::fs::write(again.path().join("x.png"), [&file[..], b"more"].concat()).unwrap();
    assert_ne!(checked_in(again.path(), JobFormat::Toml, same).identity, identity);
}

#[test]
fn rows_that_say_the_same_share_it() {
    let rows: String = (0..1000).map(|seed| format!("class 1,{seed},1.5,a;b\n")).collect();
    let checked = checked(JobFormat::Csv, &format!("class,seed,guidance,tags\n{rows}"));
    let rows = checked.plan.rows();
    assert_eq!(rows.len(), 1000);
    let first = &rows[0];
    for row in rows {
        assert!(
            std::sync::Arc::ptr_eq(&row.settings, &first.settings) && std::sync::Arc::ptr_eq(&row.tags, &first.tags)
        );
        assert!(std::sync::Arc::ptr_eq(&row.classes, &first.classes));
    }
    // What the documentation of `check_job` says of 200 bytes.
    assert!(size_of::<crate::pipeline::Row>() <= 112, "{}", size_of::<crate::pipeline::Row>());
}

#[test]
fn files_that_are_no_job_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle();
    for (name, bytes, word) in [
        ("a.txt", &b""[..], "allowed are toml, jsonl and csv"),
        ("a.toml", b"\xff\xfea\0", "UTF-16"),
        ("b.toml", b"a = 1\nb = \"\xff\"", "line 2: the text is not UTF-8"),
        ("a.jsonl", b"{\0}\0", "UTF-16"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = check_job(&path, &bundle).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
    let error = check_job(&folder.path().join("none.csv"), &bundle).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let endless = std::io::repeat(b'\n');
    let error = check_job_from(endless, JobFormat::Toml, Path::new("job"), Path::new(""), &bundle).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn files_that_would_be_written_twice_stop_the_job() {
    let text = "class,seed,output\n0,1-30,\n0,7,\n1,1-2,x.png\n2,5,x.png/{class}.png\n2,1,report.json/{seed}.png\n";
    let checked = checked(JobFormat::Csv, text);
    assert_problems(
        &checked,
        &[
            ("3: output", "the file class 0/000007.png is also one of the row in line 2; add {class}"),
            ("4: output", "x.png is also one of the same row"),
            ("6: output", "report.json/1.png is one of the run's own"),
        ],
    );
    assert!(checked.stops(false));
    let folder = self::checked(JobFormat::Csv, "class,output\n1,x.png\n2,x.png/{class}.png\n");
    assert_problems(&folder, &[("3: output", "x.png would be a file and a folder, the other of the row in line 2")]);
    let many = self::checked(JobFormat::Csv, "class,seed,output\n1,0-99,{seed}.png\n2,0-99,{seed}.png\n");
    assert_eq!(many.problems.len(), 21);
    assert!(problems(&many)[20].contains("100 names of files are used twice"));
}

#[test]
fn rows_reach_the_level_of_the_atlas() {
    let text = "[atlas]\nlevel = 24\n[[row]]\nclass = 0\nlevel = 16\n[[row]]\nclass = 0\n";
    assert_problems(
        &checked(JobFormat::Toml, text),
        &[("5: level", "stops at 16 px, but the atlas has the level of 24")],
    );
}
