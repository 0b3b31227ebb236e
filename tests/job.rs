//! The sample jobs of `examples/pipeline` are right for the shipped bundle, and `job.schema.json` is what the types give.
//!
//! `UPDATE_SCHEMA=1 cargo test --features cli --test job` rewrites the schema.

#[path = "common/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use detailflow::Bundle;
use detailflow::pipeline::{Checked, check_job, job_schema};
use programs::skip;
use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipeline")
}

fn checked(name: &str) -> Checked {
    let bundle = Bundle::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites")).unwrap();
    check_job(&examples().join(name), &bundle).unwrap()
}

#[test]
fn committed_schema_is_the_generated_one() {
    let path = examples().join("job.schema.json");
    let generated = job_schema();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((at, (a, b))) = committed.lines().zip(generated.lines()).enumerate().find(|(_, (a, b))| a != b) {
        panic!(
            "job.schema.json differs from the types at line {}:\n  committed: {a}\n  generated: {b}\nUPDATE_SCHEMA=1 rewrites it",
            at + 1
        );
    }
    assert!(committed == generated, "job.schema.json differs from the types in length; UPDATE_SCHEMA=1 rewrites it");
}

/// Every field and table has a description for people, and no other field is allowed.
#[test]
fn schema_describes_every_field_and_allows_no_other() {
    fn walk(schema: &Value, place: &str, fields: &mut usize) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{place}");
            for (name, field) in properties {
                let described = field["description"].as_str().is_some_and(|text| text.len() > 10);
                assert!(described, "{place}.{name} has no description");
                *fields += 1;
            }
        }
    }
    let schema: Value = serde_json::from_str(&job_schema()).unwrap();
    let mut fields = 0;
    walk(&schema, "job", &mut fields);
    for (name, part) in schema["$defs"].as_object().unwrap() {
        assert!(part["description"].is_string(), "{name} has no description");
        walk(part, name, &mut fields);
    }
    assert!(fields > 45, "{fields} fields");
}

#[test]
fn sample_jobs_are_right_for_the_shipped_bundle() {
    let jobs = ["sprites.toml", "sprites.jsonl", "sprites.csv"].map(checked);
    for checked in &jobs {
        assert_eq!(checked.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        assert_eq!((checked.plan.pictures(), checked.plan.groups().len(), checked.rows), (60 + 40 + 4, 5, 3));
        assert_eq!(checked.plan.rows()[2].levels.iter().map(|level| level.size).collect::<Vec<_>>(), [8, 16, 24, 32]);
    }
    // They say different things beside the rows.
    let identities: BTreeSet<&String> = jobs.iter().map(|checked| &checked.identity).collect();
    assert_eq!(identities.len(), 3);
    let atlas = jobs[0].settings.atlas.as_ref().unwrap();
    assert_eq!((atlas.size, atlas.formats.len()), (1024, 4));
    assert_eq!(jobs[0].plan.rows()[1].select.as_ref().unwrap().best, Some(10));
}

/// An independent validator accepts the sample jobs, and refuses what the reader refuses.
#[test]
fn sample_jobs_fit_the_schema() {
    let script = r##"
import json, sys, tomllib
import jsonschema

folder = sys.argv[1]
schema = json.load(open(folder + "/job.schema.json", encoding="utf-8"))
jsonschema.Draft202012Validator.check_schema(schema)
whole = jsonschema.Draft202012Validator(schema)
row = jsonschema.Draft202012Validator({"$ref": "#/$defs/RowFields", "$defs": schema["$defs"]})
job = tomllib.load(open(folder + "/sprites.toml", "rb"))
whole.validate(job)
for line in open(folder + "/sprites.jsonl", encoding="utf-8"):
    row.validate(json.loads(line))
for wrong in [{"clas": 1}, {"count": 0}, {"count": -1}, {"seed": "7-x"}, {"class": {}}, {"level": "most"}, {"vary": {"keep": 8}},
              {"vary": ["a.dft"]}, {"tags": [""]}]:
    assert not row.is_valid(wrong), wrong
for wrong in [{"output": {"scale": 17}}, {"output": {"alpha": "x"}}, {"page": "x"}, {"rows": []}, {"atlas": {"formats": []}}]:
    assert not whole.is_valid(wrong), wrong
print("valid")
"##;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let has = Command::new(&python).args(["-c", "import jsonschema, tomllib"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return skip("sample_jobs_fit_the_schema", "target/venv has no jsonschema");
    }
    let output = Command::new(&python).args(["-c", script]).arg(examples()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "valid");
}
