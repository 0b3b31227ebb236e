//! Runs of jobs by the Rust API: what is drawn, in which files, and how a run goes on.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{open, small};
use detailflow::pipeline::run::{Drawn, Encode, End, Fate, Outcome, PictureFile, Record, Run, Scope, Shard, Watch};
use detailflow::pipeline::{Pattern, Picture, Plan, Row, RowMix, RowSettings, Seeds, Start};
use detailflow::pixels::FileFormat;
use detailflow::{Error, Generation, Guidance, Model, Request, Sampling};

/// A PNG for each level.
struct Png;

fn path(picture: &Picture<'_>, size: u32) -> PathBuf {
    PathBuf::from(format!("row{}/{}-{}_{size}.png", picture.row.number, picture.image.class, picture.image.seed))
}

impl Encode for Png {
    fn files(&self, picture: &Picture<'_>, drawn: &Drawn) -> detailflow::Result<Vec<PictureFile>> {
        let file = |image: &detailflow::Image| {
            Ok(PictureFile { path: path(picture, image.size()), bytes: image.encode(FileFormat::Png)? })
        };
        drawn.images.iter().map(file).collect()
    }
}

/// Rows of different settings, levels and starts.
fn plan(model: &Model) -> Plan {
    let ladder = model.bundle().ladder();
    let level = |size| ladder.level(size).unwrap();
    let row = |number: u32, classes: &[u32], seeds: Seeds, guidance: f32, temperature: f32, sizes: &[u32]| Row {
        number,
        line: u64::from(number) + 1,
        classes: classes.into(),
        seeds,
        settings: Arc::new(RowSettings {
            mix: RowMix::default(),
            guidance: Guidance::constant(guidance),
            sampling: Sampling { temperature, top_k: 0, top_p: 1.0 }.into(),
            start: Start::Empty,
            levels: sizes.iter().map(|&size| level(size)).collect(),
            select: None,
        }),
        output: Pattern::of_job("row{row}/{class}-{seed}_{level}.png").unwrap(),
        tags: [].into(),
    };
    let from = |first, count| Seeds::From { first, count };
    let mut rows = vec![
        row(0, &[0, 1], from(7, 40), 2.0, 1.0, &[32]),
        row(1, &[1], Seeds::List([9, 4, 1000].into()), 1.0, 0.5, &[16, 32]),
        row(2, &[0], from(u64::MAX - 1, 2), 1.0, 0.0, &[16]),
    ];
    rows.extend((3..30).map(|number| row(number, &[0], from(u64::from(number), 1), number as f32 / 10.0, 1.0, &[32])));
    let tokens = vec![1; level(16).tokens];
    let mut last = row(30, &[0], from(1, 3), 1.5, 1.0, &[32]);
    let settings = RowSettings { start: Start::Tokens(tokens), ..(*last.settings).clone() };
    last.settings = Arc::new(settings);
    rows.push(last);
    Plan::new(rows)
}

fn job<'a>(plan: &'a Plan, out: &'a Path, output: &'a dyn Encode) -> Run<'a> {
    let scope = Scope::default();
    Run { plan, identity: "a job", out, output, scope, log_probabilities: false, batch: 0, writers: 2 }
}

fn run(run: Run<'_>, models: &[Model]) -> Outcome {
    run.open().unwrap().draw(models, Watch { stop: &|| false, progress: &mut |_| {} }).unwrap()
}

/// Every file of a folder but the state of the job, with its content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    common::tree(folder, &[".dflow-batch"])
}

fn records(run: Run<'_>) -> Vec<Record> {
    run.open().unwrap().records().collect::<detailflow::Result<_>>().unwrap()
}

/// Each picture is the one that a request for it alone gives, whatever else is in its batch.
#[test]
fn run_draws_each_picture_as_it_is_drawn_alone() {
    for (precision, form) in [("int8", "native"), ("fp32", "plain")] {
        let model = open(&small(), precision, form);
        let plan = plan(&model);
        let folder = tempfile::tempdir().unwrap();
        let outcome =
            run(Run { log_probabilities: true, ..job(&plan, folder.path(), &Png) }, std::slice::from_ref(&model));
        assert!(matches!(outcome.end, End::Complete));
        assert_eq!((outcome.progress.counts.written, outcome.progress.counts.failed), (plan.pictures(), 0));
        let files = tree(folder.path());
        let records = records(job(&plan, folder.path(), &Png));
        assert_eq!(files.len() as u64, plan.pictures() + 3);
        assert_eq!(records.len() as u64, plan.pictures());
        for (number, record) in (0..plan.pictures()).zip(records) {
            let picture = plan.picture(number);
            let mut request = Request::new(&model);
            let prefix = match &picture.row.start {
                Start::Tokens(tokens) => tokens.clone(),
                _ => Vec::new(),
            };
            picture.apply(&mut request, &prefix).unwrap();
            request.set_log_probabilities(true);
            let mut generation = Generation::new(&request).unwrap();
            generation.finish().unwrap();
            assert_eq!(record.number, number);
            assert_eq!(record.tokens, generation.tokens(0).unwrap());
            assert_eq!(record.log_probability, Some(generation.mean_log_probability(0).unwrap()));
            let mut bytes = 0;
            for level in &picture.row.levels {
                let image = model.decode(&record.tokens[..level.tokens]).unwrap().encode(FileFormat::Png).unwrap();
                bytes += image.len() as u64;
                assert!(files[&path(&picture, level.size)] == image, "{picture:?}");
            }
            assert_eq!(record.fate, Fate::Written { files: picture.row.levels.len() as u32, bytes });
        }
    }
}

#[test]
fn runs_of_any_lanes_batch_shards_and_parts_give_the_same_files() {
    let model = open(&small(), "int8", "native");
    let plan = plan(&model);
    let whole = tempfile::tempdir().unwrap();
    run(job(&plan, whole.path(), &Png), std::slice::from_ref(&model));
    let wanted = tree(whole.path());
    let others = [open(&small(), "int8", "native"), open(&small(), "int8", "native")];
    for batch in [1, 3, 64] {
        let folder = tempfile::tempdir().unwrap();
        run(Run { batch, ..job(&plan, folder.path(), &Png) }, &others);
        assert!(tree(folder.path()) == wanted, "batch {batch}");
    }
    // Shards in any order, some of them at once, then what is left.
    let folder = tempfile::tempdir().unwrap();
    let shard = |index, count| Scope { shard: Some(Shard::new(index, count).unwrap()), ..Scope::default() };
    std::thread::scope(|scope| {
        for (index, other) in [3, 1].into_iter().zip(&others) {
            let job = Run { scope: shard(index, 4), ..job(&plan, folder.path(), &Png) };
            scope.spawn(move || run(job, std::slice::from_ref(other)));
        }
    });
    let done = tree(folder.path()).len();
    assert!(done < wanted.len());
    let rest = run(job(&plan, folder.path(), &Png), &others);
    assert!(rest.progress.before > 0 && rest.progress.before + rest.progress.counts.written == plan.pictures());
    assert!(tree(folder.path()) == wanted);
    // A limit, a filter, the whole.
    let folder = tempfile::tempdir().unwrap();
    let limited = Scope { limit: Some(5), ..Scope::default() };
    assert_eq!(run(Run { scope: limited, ..job(&plan, folder.path(), &Png) }, &others).progress.counts.written, 5);
    assert_eq!(run(Run { scope: limited, ..job(&plan, folder.path(), &Png) }, &others).progress.counts.written, 0);
    let first = |picture: &Picture<'_>| picture.row.number == 1;
    let filtered = Scope { filter: Some(&first), ..Scope::default() };
    assert_eq!(run(Run { scope: filtered, ..job(&plan, folder.path(), &Png) }, &others).progress.counts.written, 3);
    let outcome = run(job(&plan, folder.path(), &Png), &others);
    assert_eq!((outcome.progress.before, outcome.progress.counts.written), (8, plan.pictures() - 8));
    assert!(tree(folder.path()) == wanted);
    let again = run(job(&plan, folder.path(), &Png), &others);
    assert_eq!((again.progress.before, again.progress.counts.pictures()), (plan.pictures(), 0));
}

#[test]
fn stopped_run_keeps_what_is_committed_and_goes_on() {
    let model = open(&small(), "int8", "native");
    let plan = plan(&model);
    let whole = tempfile::tempdir().unwrap();
    run(job(&plan, whole.path(), &Png), std::slice::from_ref(&model));
    let folder = tempfile::tempdir().unwrap();
    let mut done = 0;
    for turn in 1.. {
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= turn;
        let mut session = job(&plan, folder.path(), &Png).open().unwrap();
        let outcome = session.draw(std::slice::from_ref(&model), Watch { stop: &stop, progress: &mut |_| {} }).unwrap();
        assert_eq!(outcome.progress.before, done);
        done += outcome.progress.counts.written;
        assert_eq!(session.settled(), (plan.pictures(), done));
        assert_eq!(session.records().count() as u64, done);
        if matches!(outcome.end, End::Complete) {
            break;
        }
        assert!(matches!(outcome.end, End::Stopped));
    }
    assert_eq!(done, plan.pictures());
    assert!(tree(folder.path()) == tree(whole.path()));
}

#[test]
fn unwritable_files_are_listed_and_tried_again() {
    let model = open(&small(), "int8", "native");
    let plan = plan(&model);
    let whole = tempfile::tempdir().unwrap();
    run(job(&plan, whole.path(), &Png), std::slice::from_ref(&model));
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join(path(&plan.picture(3), 32)).join("inside");
    std::fs::create_dir_all(&taken).unwrap();
    for _ in 0..2 {
        let outcome = run(job(&plan, folder.path(), &Png), std::slice::from_ref(&model));
        assert!(matches!(outcome.end, End::Complete));
        assert_eq!(outcome.progress.counts.failed, 1);
        let failed: Vec<Record> = records(job(&plan, folder.path(), &Png))
            .into_iter()
            .filter(|record| !matches!(record.fate, Fate::Written { .. }))
            .collect();
        assert!(
            matches!(&failed[..], [Record { number: 3, fate: Fate::NotWritten(why), .. }] if why.contains("0-10_32.png"))
        );
    }
    std::fs::remove_dir_all(taken.parent().unwrap()).unwrap();
    let outcome = run(job(&plan, folder.path(), &Png), std::slice::from_ref(&model));
    assert_eq!((outcome.progress.counts.written, outcome.progress.counts.failed), (1, 0));
    assert!(tree(folder.path()) == tree(whole.path()));
}

/// An encoder that fails or panics costs its picture alone; a file outside the folder is not written.
#[test]
fn output_that_fails_costs_its_picture_alone() {
    struct Faulty;
    impl Encode for Faulty {
        fn files(&self, picture: &Picture<'_>, drawn: &Drawn) -> detailflow::Result<Vec<PictureFile>> {
            match picture.number {
                1 => Err(Error::Invalid("no such thing".into())),
                2 => panic!("at the encoder"),
                3 => Ok(vec![PictureFile { path: "../outside.png".into(), bytes: vec![1] }]),
                _ => Png.files(picture, drawn),
            }
        }
    }
    let model = open(&small(), "int8", "native");
    let plan = plan(&model);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let outcome = run(job(&plan, &out, &Faulty), &[model]);
    assert_eq!((outcome.progress.counts.failed, outcome.progress.counts.written), (3, plan.pictures() - 3));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let reasons: Vec<String> = records(job(&plan, &out, &Faulty))
        .into_iter()
        .filter_map(|record| if let Fate::NotWritten(why) = record.fate { Some(why) } else { None })
        .collect();
    for (reason, word) in reasons.iter().zip(["no such thing", "at the encoder", "outside.png"]) {
        assert!(reason.contains(word), "{reasons:?}");
    }
}
