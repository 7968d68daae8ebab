//! `xlb config check`: would `xlb run` take this file?

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::{
    cli::Output,
    commands::{Code, Reply},
    config::Config,
};

/// What `-o json` prints. It goes to standard output in both cases; the exit code tells them apart too.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Verdict {
    Good {
        ok: bool,
        services: usize,
        backends: usize,
    },
    /// One line that names the file and the place in it.
    Bad { ok: bool, error: String },
}

/// # Errors
/// When the file is wrong; in JSON that is an answer with [`Code::Error`].
pub fn execute(file: &Path, output: Output) -> Result<Reply> {
    match Config::load(file) {
        Ok(config) => {
            let services = config.services.len();
            let backends = config.services.iter().map(|service| service.backends.len()).sum();
            Reply::new(
                output,
                &Verdict::Good {
                    ok: true,
                    services,
                    backends,
                },
                || {
                    let (services, backends) = (counted(services, "service"), counted(backends, "backend"));
                    format!("{}: ok: {services}, {backends}\n", file.display())
                },
            )
        }
        Err(error) if output == Output::Json => {
            let verdict = Verdict::Bad {
                ok: false,
                error: crate::output::one_line(&format!("{error:#}")),
            };
            Ok(Reply::new(output, &verdict, String::new)?.with_code(Code::Error))
        }
        Err(error) => Err(error.into()),
    }
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
