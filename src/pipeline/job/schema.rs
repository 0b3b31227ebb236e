//! The JSON Schema of job files, made from the types that read them.

use serde_json::Value;

use super::types::JobFile;

/// The JSON Schema (2020-12) of a job file. It describes TOML; a line of JSON Lines is its `#/$defs/RowFields`.
#[must_use]
pub fn job_schema() -> String {
    let mut schema = schemars::schema_for!(JobFile).to_value();
    join_lines(&mut schema);
    // A schema is plain values.
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    format!("{text}\n")
}

/// Makes one line of each description, which are comments of several.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    field => join_lines(field),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(join_lines),
        _ => {}
    }
}
