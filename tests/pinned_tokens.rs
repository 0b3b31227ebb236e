//! The tokens of committed requests stay as they are: `tests/data/pinned_tokens.json` holds what `dflow` sampled for
//! the shipped model and the fixtures, in every precision and form.
//!
//! A change that is meant to sample other tokens rewrites the file: `UPDATE_TOKENS=1 cargo test --release --features
//! cli --test pinned_tokens -- --ignored`.

mod common;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One command, and the tokens of its images in each of the forms.
#[derive(Deserialize)]
struct Case {
    /// The folder of the bundle, below the checkout.
    bundle: String,
    precision: String,
    forms: Vec<String>,
    /// The subcommand of `dflow` and its options.
    arguments: Vec<String>,
    tokens: Vec<Vec<u32>>,
}

fn path() -> PathBuf {
    common::data("pinned_tokens.json")
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap()
}

impl Case {
    /// The tokens that `dflow` samples now.
    fn sample(&self, form: &str) -> Vec<Vec<u32>> {
        let folder = tempfile::tempdir().unwrap();
        let output = common::dflow(folder.path())
            .args(&self.arguments)
            .arg("--bundle")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(&self.bundle))
            .args(["--precision", &self.precision, "--form", form, "-o", "p.png", "--tokens-out", "tokens.json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", self.name(form), String::from_utf8_lossy(&output.stderr));
        let file: Value = serde_json::from_slice(&std::fs::read(folder.path().join("tokens.json")).unwrap()).unwrap();
        let images = file["images"].as_array().unwrap();
        images.iter().map(|image| serde_json::from_value(image["tokens"].clone()).unwrap()).collect()
    }

    fn name(&self, form: &str) -> String {
        format!("{} {} {form}: dflow {}", self.bundle, self.precision, self.arguments.join(" "))
    }

    /// In the layout of the committed file: one image a line.
    fn to_json(&self) -> String {
        let text = |value: Value| value.to_string().replace("\",\"", "\", \"");
        let rows: Vec<String> = self.tokens.iter().map(|tokens| serde_json::to_string(tokens).unwrap()).collect();
        format!(
            "  {{\"bundle\": {}, \"precision\": {}, \"forms\": {}, \"arguments\": {},\n    \"tokens\": [\n      {}\n    ]}}",
            text(self.bundle.clone().into()),
            text(self.precision.clone().into()),
            text(self.forms.clone().into()),
            text(self.arguments.clone().into()),
            rows.join(",\n      ")
        )
    }
}

/// The cases with the tokens of now; forms that sample the same tokens are one case.
fn sampled(cases: &[Case]) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for case in cases {
        for form in &case.forms {
            let tokens = case.sample(form);
            let same = |other: &&mut Case| {
                (&other.bundle, &other.precision, &other.arguments, &other.tokens)
                    == (&case.bundle, &case.precision, &case.arguments, &tokens)
            };
            match all.iter_mut().find(same) {
                Some(other) => other.forms.push(form.clone()),
                None => all.push(Case {
                    bundle: case.bundle.clone(),
                    precision: case.precision.clone(),
                    forms: vec![form.clone()],
                    arguments: case.arguments.clone(),
                    tokens,
                }),
            }
        }
    }
    all
}

/// Samples the cases whose bundle `chosen` picks, at least `least` of them.
fn check(chosen: impl Fn(&str) -> bool, least: usize) {
    let cases: Vec<Case> = cases().into_iter().filter(|case| chosen(&case.bundle)).collect();
    assert!(cases.len() >= least, "{} cases", cases.len());
    for case in &cases {
        for form in &case.forms {
            let sampled = case.sample(form);
            assert_eq!(sampled.len(), case.tokens.len(), "{}", case.name(form));
            for (index, (tokens, expected)) in std::iter::zip(&sampled, &case.tokens).enumerate() {
                let first = std::iter::zip(tokens, expected).position(|(a, b)| a != b);
                assert!(tokens == expected, "{}: image {index} differs from token {first:?} on", case.name(form));
            }
        }
    }
}

#[test]
fn shipped_model_samples_the_committed_tokens() {
    check(|bundle| bundle.ends_with("sprites"), 18);
}

#[test]
fn fixtures_sample_the_committed_tokens() {
    check(|bundle| bundle.starts_with("tests/data/"), 20);
}

#[test]
#[ignore = "rewrites tests/data/pinned_tokens.json: UPDATE_TOKENS=1"]
fn update_pinned_tokens() {
    if std::env::var_os("UPDATE_TOKENS").is_some() {
        let cases: Vec<String> = sampled(&cases()).iter().map(Case::to_json).collect();
        std::fs::write(path(), format!("[\n{}\n]\n", cases.join(",\n"))).unwrap();
    }
}
