//! The project's own commands. Each is one file; `setup` is what all the others start with.
//!
//! Only `anyhow`, `clap` and the standard library, so that the first command on a new machine starts within seconds.

mod bench;
mod build;
mod check;
mod demo;
mod guest;
mod process;
mod say;
mod setup;
mod test;
mod verify;
mod workspace;

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's own commands"
)]
enum Task {
    /// Install what building and testing need; does nothing on a machine that has it
    Setup,
    /// Build the agent, its BPF program included, and print where the binary is
    Build,
    /// Formatting, lints and documentation
    Check,
    /// Every check and every test (needs root: the tests make network namespaces)
    Test {
        /// Passed on to the tests: a name to filter by, --nocapture …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Load every variant of the BPF programs, here and in virtual machines with Debian's kernels, and print what each costs
    /// (needs root)
    Verify {
        /// Kernels to ask
        #[arg(long = "kernel", value_enum, value_delimiter = ',', default_values = verify::Kernel::DEFAULT)]
        kernels: Vec<verify::Kernel>,
    },
    /// Measure what xlb costs and carries (needs root); `bench SUITE --help` says what a suite measures, and how
    #[command(after_help = bench::SUITES)]
    Bench {
        /// The suite, by default `program`, and its options: --json FILE, --svg DIR …
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "SUITE and OPTIONS"
        )]
        args: Vec<String>,
    },
    /// Run the load balancer in a network of its own and show the traffic spread (needs root); --fast waits less
    #[command(disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "xlb builds and runs on Linux only: use a Linux machine or virtual machine"
    );
    match task {
        Task::Setup => setup::everything(),
        Task::Build => {
            setup::for_build()?;
            let xlb = build::run()?;
            say::line(&xlb.display().to_string());
            Ok(())
        }
        Task::Check => {
            setup::for_build()?;
            check::run()
        }
        Task::Test { args } => test::run(&args),
        Task::Verify { kernels } => verify::run(&kernels),
        Task::Bench { args } => bench::run(&args),
        Task::Demo { args } => demo::run(&args),
    }
}
