//! The output of `dflow bench`: tables, or JSON.

use detailflow::Bundle;
use serde_json::{Value, json};

use super::summary::{Line, Spread};
use super::{BenchArgs, Measured};
use crate::{Failure, say};

/// Prints everything. `tables` has the configurations of each batch size, in the order of their turns.
pub fn print(args: &BenchArgs, bundle: &Bundle, tables: &[Vec<Measured>]) -> Result<(), Failure> {
    let size = args.level.unwrap_or(bundle.size());
    let runtime = detailflow::library()?;
    let tables: Vec<Vec<Line<'_>>> = tables
        .iter()
        .map(|table| table.iter().filter_map(|measured| Line::of(measured, &table[0])).collect())
        .collect();
    if args.json {
        let results: Vec<Value> = tables.iter().flatten().map(|line| line.json(args, size)).collect();
        say!(
            "{:#}",
            json!({
                "version": detailflow::VERSION, "runtime": runtime.version, "bundle": bundle.name(),
                "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
                "warmup": args.warmup, "repeat": args.repeat, "results": results,
            })
        );
        return Ok(());
    }
    say!(
        "{}: {size} px, guidance {}, ONNX Runtime {}; {} rounds after {} warm-up rounds; medians, in brackets minimum and maximum",
        bundle.name(),
        args.guidance,
        runtime.version,
        args.repeat,
        args.warmup
    );
    for table in &tables {
        print_table(table);
    }
    let bandwidths: Vec<String> =
        tables.iter().flatten().filter_map(|line| Some(format!("{:.1}", line.read_gb_per_s?))).collect();
    if !bandwidths.is_empty() {
        say!(
            "\nfloor: time to read the weights and the visible KV cache of a step once, at the bandwidth that the same number of\n\
             threads reach when they repeatedly read a block of that size ({} GB/s)",
            bandwidths.join(", ")
        );
    }
    let rates: Vec<String> = tables
        .iter()
        .flatten()
        .filter_map(|line| Some(format!("{:.0}", line.multiply_adds_per_second? / 1e9)))
        .collect();
    if !rates.is_empty() {
        say!(
            "GEMM: time of the multiply-adds of a step's linear layers, at the rate that the same number of threads reach with the\n\
             same kernels on operands in their caches ({} * 10^9 a second)",
            rates.join(", ")
        );
    }
    Ok(())
}

fn print_table(table: &[Line<'_>]) {
    let Some(first) = table.first() else { return };
    let width = table.iter().map(|line| line.name().len()).max().unwrap_or(0);
    say!("\nbatch {}", first.measured.batch);
    say!(
        "{:<width$} {:>7} {:>32} {:>9} {:>16} {:>8} {:>22} {:>8} {:>7} {:>7}  {}",
        "",
        "threads",
        "ms per picture",
        "per second",
        "first level ms",
        "outside",
        "open ms",
        "peak MB",
        "floor",
        "GEMM",
        "vs. first"
    );
    for line in table {
        let part = |share: f64| format!("{:.1} %", 100.0 * share);
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        say!(
            "{:<width$} {:>7} {:>32} {:>9.2} {:>16} {:>8} {:>22} {:>8} {:>7} {:>7}  {}",
            line.name(),
            line.threads(),
            range(line.ms_per_image, 2),
            1e3 / line.ms_per_image.median,
            format!("{:.2} ({})", line.first_level_ms.median, part(line.first_level_share)),
            part(line.outside_share),
            range(line.open_ms, 0),
            or_unknown(line.peak_rss_mb.map(|mb| format!("{mb:.0}"))),
            or_unknown(line.floor_share.map(part)),
            or_unknown(line.gemm_share.map(part)),
            range(line.ratio, 3),
        );
    }
    say!(
        "{:<width$} {:>12} {:>6} {:>28} {:>9} {:>9} {:>7} {:>9} {:>7}",
        "steps",
        "rows x query",
        "count",
        "ms per step",
        "MB read",
        "floor ms",
        "floor",
        "GEMM ms",
        "GEMM"
    );
    for line in table {
        for steps in &line.steps {
            let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            say!(
                "{:<width$} {:>12} {:>6} {:>28} {:>9} {:>9} {:>7} {:>9} {:>7}",
                line.name(),
                format!("{} x {}", steps.shape.rows, steps.shape.query),
                steps.count,
                range(steps.ms, 2),
                or_unknown(steps.bytes.map(|bytes| format!("{:.1}", bytes / 1e6))),
                or_unknown(steps.floor_ms.map(|ms| format!("{ms:.2}"))),
                or_unknown(steps.floor_share.map(|share| format!("{:.1} %", 100.0 * share))),
                or_unknown(steps.gemm_ms.map(|ms| format!("{ms:.2}"))),
                or_unknown(steps.gemm_share.map(|share| format!("{:.1} %", 100.0 * share))),
            );
        }
    }
    say!("{:<width$} {:>12} {:>6} {:>6} {:>28} {:>7}", "levels", "px", "tokens", "steps", "ms per batch", "share");
    for line in table {
        for level in &line.levels {
            say!(
                "{:<width$} {:>12} {:>6} {:>6} {:>28} {:>7}",
                line.name(),
                level.size,
                level.tokens,
                level.steps,
                range(level.ms, 2),
                format!("{:.1} %", 100.0 * level.share),
            );
        }
    }
}

/// `12.34 [12.01 .. 13.00]`
fn range(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} [{min:.digits$} .. {max:.digits$}]")
}
