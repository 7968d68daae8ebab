//! `xlb-blockstore`: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use xlb_blockstore::{cli::Cli, run::run};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(&cli),
        Err(error) => {
            // Nowhere left to say it.
            let _ = error.print();
            if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
    }
}
