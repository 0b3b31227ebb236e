//! Sequences of calls of the C API on several threads: see `detailflow_fuzz::api`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| detailflow_fuzz::api::run(bytes));
