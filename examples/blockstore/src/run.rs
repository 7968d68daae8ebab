//! From the command line to what was done.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use tokio::{runtime::Runtime, signal::ctrl_c};

use crate::{
    cli::{Cli, Command, Service},
    count::count,
    get::{get, get_file},
    http::Patience,
    name::FileName,
    network::Places,
    put::put,
    repair::Repair,
    report::Report,
    store::Store,
};

/// Does what a command line says, unless it is interrupted, and prints what came of it.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let report = in_runtime(async {
        tokio::select! {
            report = act(&cli.command) => report,
            // What has been begun is dropped, and takes its files along.
            signal = ctrl_c() => {
                signal.context("wait for Ctrl-C")?;
                bail!("interrupted")
            }
        }
    });
    match report {
        Ok(report) => print(cli, &report).unwrap_or(ExitCode::FAILURE),
        Err(error) => {
            let _ = writeln!(io::stderr(), "xlb-blockstore: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what a command line says.
pub fn done(cli: &Cli) -> Result<Report> {
    in_runtime(act(&cli.command))
}

fn in_runtime<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Runtime::new().context("start the runtime")?.block_on(work)
}

async fn act(command: &Command) -> Result<Report> {
    match command {
        Command::Put {
            file,
            name,
            block_size,
            service,
        } => {
            let name = name.clone().map_or_else(|| own_name(file), Ok)?;
            put(&store(service)?, file, &name, block_size.0, service.jobs).await
        }
        Command::Get {
            name,
            output,
            service,
        } => {
            let store = store(service)?;
            if is_standard_output(output) {
                get(&store, name, &mut io::stdout().lock(), service.jobs).await
            } else {
                get_file(&store, name, output, service.jobs).await
            }
        }
        Command::Count { name, service } => count(&store(service)?, name, service.jobs).await,
        Command::Repair {
            name,
            verify,
            also,
            service,
        } => {
            let repair = Repair {
                verify: *verify,
                also: also.clone(),
            };
            repair.run(&store(service)?, name, service.jobs).await
        }
    }
}

fn store(service: &Service) -> Result<Store> {
    Ok(Store {
        places: Places::new(service.network, service.port, service.replicas)?,
        prefix: service.path.0.clone(),
        patience: Patience {
            connect: service.connect_timeout.into(),
            answer: service.timeout.into(),
        },
        tries: service.tries,
    })
}

fn own_name(file: &Path) -> Result<FileName> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name =
        name.with_context(|| format!("{} has no name in UTF-8: choose one with --name", file.display()))?;
    Ok(name.parse()?)
}

fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-")
}

fn print(cli: &Cli, report: &Report) -> io::Result<ExitCode> {
    let goes_after_content =
        matches!(&cli.command, Command::Get { output, .. } if is_standard_output(output));
    if goes_after_content {
        writeln!(io::stderr(), "{}", report.done)?;
    } else {
        writeln!(io::stdout(), "{}", report.done)?;
    }
    for note in report.notes() {
        writeln!(io::stderr(), "xlb-blockstore: {note}")?;
    }
    Ok(if !report.lost.is_empty() {
        ExitCode::FAILURE
    } else if !report.short.is_empty() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}
