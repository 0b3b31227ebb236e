//! A bundle whose graphs are changed byte by byte, with lengths and hashes put right: our own readers of graph files. With
//! DETAILFLOW_FUZZ_OPEN=1 in the environment ONNX Runtime opens what they accept, and a step and a decode run.
#![no_main]

use std::sync::LazyLock;

use detailflow::{Bundle, Form, Generation, Model, ModelOptions, Request};
use detailflow_fuzz::{Edited, find_runtime, scratch, walk};
use libfuzzer_sys::fuzz_target;

static OPENS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("DETAILFLOW_FUZZ_OPEN").is_some());

fuzz_target!(|bytes: &[u8]| {
    let edited = Edited::new(bytes, true);
    let Ok(bundle) = Bundle::open(edited.folder()) else { return };
    walk(&bundle);
    let _ = bundle.strip(scratch().join("stripped"), None, |_, _| true);
    if *OPENS {
        find_runtime();
        let form =
            [Form::Native, Form::Mha, Form::Plain, Form::Fixed][bytes.first().map_or(0, |byte| usize::from(byte >> 6))];
        let options = ModelOptions::new().with_threads(1).with_form(form);
        if let Ok(model) = Model::open(edited.folder(), &options)
            && let Ok(mut generation) = Generation::new(&Request::new(&model))
        {
            let _ = generation.finish();
            let _ = generation.image(0);
            let _ = model.report();
        }
    }
});
