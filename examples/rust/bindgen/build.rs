// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the declarations of the C API for `src/detailflow.rs`, and says what to link.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("Cargo sets it")).join("../../..");
    // The folder of the library, or the one of a checkout after `make`.
    println!("cargo:rerun-if-env-changed=DETAILFLOW_LIBRARY");
    let library = env::var_os("DETAILFLOW_LIBRARY").map_or_else(
        || root.join("target/release"),
        |file| PathBuf::from(file).parent().expect("it names a file").to_owned(),
    );
    let library = fs::canonicalize(library).expect("the folder of libdetailflow exists");
    // And the header: DETAILFLOW_INCLUDE, or that of the checkout.
    println!("cargo:rerun-if-env-changed=DETAILFLOW_INCLUDE");
    let include = env::var_os("DETAILFLOW_INCLUDE").map_or_else(|| root.join("include"), PathBuf::from);
    let header = include.join("detailflow.h");
    println!("cargo:rerun-if-changed={}", header.display());
    println!("cargo:rustc-link-search=native={}", library.display());
    println!("cargo:rustc-link-lib=dylib=detailflow");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library.display());

    let declarations = bindgen::Builder::default()
        .header(header.to_str().expect("its path is UTF-8"))
        .allowlist_item("(detailflow|DETAILFLOW)_.*")
        // A number from the library need not be one that this header knows.
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate()
        .expect("the header can be read");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets it")).join("declarations.rs");
    declarations.write_to_file(target).expect("the declarations can be written");
}
