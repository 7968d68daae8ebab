//! `xlb`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    xlb::commands::start(std::env::args_os())
}
