//! The demo that `cargo xtask demo` runs: see [`xlb_tests::demo`].

use std::process::ExitCode;

fn main() -> ExitCode {
    xlb_tests::demo::main()
}
