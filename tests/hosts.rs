//! The programs of `tests/hosts`: hosts that are unlike the one that wrote the library's other tests. Each puts its process
//! or thread into an unusual state, uses the library there, and checks that everything works or is a clear error, and that
//! the state is as it was afterwards.
//!
//! They take longer than `make test` has, so all are ignored unless asked for: `make test-hosts`.

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use programs::*;

/// A program of `tests/hosts`.
fn host(name: &str) -> Program {
    Program::from(&root().join(format!("tests/hosts/{name}.c")), name, Mode::Plain)
}

/// A test for each program that needs nothing but the bundle: its name, its arguments and its limit in seconds.
macro_rules! hosts {
    ($($test:ident: $name:literal $arguments:expr, $limit:literal;)*) => {
        $(
            #[test]
            #[ignore = "hosts: `make test-hosts`"]
            fn $test() {
                host($name).passes(&$arguments, $limit);
            }
        )*
    };
}

hosts! {
    small_stack_is_enough: "small_stack" [], 60;
}
