#!/usr/bin/env bash
# Library and command compile with the oldest Rust that Cargo.toml and README.md name.
. tests/embed/common.sh
needs rustup

version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
grep -q "Rust $version or newer" README.md
rustup toolchain list | grep -q "^$version-" || skip "Rust $version missing: rustup toolchain install --profile minimal $version"
# Not below $WORK, which is emptied.
rustup run "$version" cargo check --locked --lib --bins --features cli --target-dir target/oldest-rust
