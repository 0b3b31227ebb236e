//! A job file: the first byte chooses TOML, JSON Lines or CSV. Read and checked against the small bundle, without any file that
//! it names; its rows, names and filters are used.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use detailflow::Bundle;
use detailflow::pipeline::{Filter, JobFormat, Pattern, check_rows_from};
use detailflow_fuzz::{data, scratch};
use libfuzzer_sys::fuzz_target;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::open(data("small")).unwrap());

/// Pictures whose names are compared: more take too long.
const MOST_NAMES: u64 = 2000;
/// Pictures that are looked at, of any number.
const MOST_LOOKED: usize = 50;

fn below_the_output_folder(path: &str) {
    assert!(!path.is_empty() && !path.contains('\\') && !path.contains('\0') && !path.contains(':'), "{path:?}");
    assert!(path.split('/').all(|name| !name.is_empty() && !name.ends_with(['.', ' '])), "{path:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let format = [JobFormat::Toml, JobFormat::Jsonl, JobFormat::Csv][usize::from(*first) % 3];
    let name = Path::new("job");
    let Ok(mut checked) = check_rows_from(rest, format, name, scratch(), &BUNDLE) else { return };
    let plan = &checked.plan;
    let pictures = plan.pictures();
    assert_eq!(pictures, plan.groups().iter().map(|group| group.count).sum::<u64>());
    let step = (pictures / MOST_LOOKED as u64).max(1);
    for number in (0..pictures).step_by(step.try_into().unwrap()).chain(pictures.checked_sub(1)) {
        let picture = plan.picture(number);
        for level in &picture.row.levels {
            below_the_output_folder(&picture.path(BUNDLE.classes(), *level));
        }
    }
    if pictures <= MOST_NAMES {
        checked.check_names(name, &BUNDLE).unwrap();
        // Without collisions every name is there once.
        if !checked.problems.iter().any(|problem| problem.row.is_none() && problem.field == "output") {
            let mut names = std::collections::HashSet::new();
            for number in 0..checked.plan.pictures() {
                let picture = checked.plan.picture(number);
                for level in &picture.row.levels {
                    assert!(names.insert(picture.path(BUNDLE.classes(), *level).to_lowercase()), "{number}");
                }
            }
        }
    }
    for problem in &checked.problems {
        assert!(!problem.to_string().contains(|c: char| c.is_control()));
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        let _ = Filter::parse(text, &BUNDLE);
        let _ = Pattern::of_job(text);
    }
});
