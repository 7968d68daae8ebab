//! The command line: clap's types and nothing else. What a command does is in [`commands`](crate::commands).

mod backend;
pub mod backend_setup;
pub mod check;
pub mod decap;
pub mod events;
pub mod flow;
mod flows;
pub mod lookup;
pub mod maglev;
mod service;
pub mod values;

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Parser, Subcommand, ValueEnum, error::ErrorKind};

pub use backend::{BackendAdd, BackendCommand, BackendSet, BackendSettings};
pub use flows::Setting;
pub use service::{CheckArguments, FlowArguments, ServiceAdd, ServiceCommand};

use crate::{
    cli::backend_setup::BackendSetup,
    commands::Code,
    config::{Network, Unserved},
    output,
};

/// Where an agent listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/xlb/xlb.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  error, also a wrong command line or wrong input
  2  not ready: no agent answers, 'xlb status' finds a service without a usable backend or an
     interface that the program is not on, 'xlb lookup' no backend for a packet, or a check
     fails that 'xlb check run' runs";

const EXAMPLES: &str = "\
Examples:
  xlb config check xlb.toml
  xlb run --config xlb.toml
  xlb status
  xlb backend drain web/b1
  xlb -o json service show web";

/// Flags of every command come after its own.
const GLOBAL: &str = "Global options";

/// Spreads the packets of virtual addresses over backends, in XDP.
#[derive(Clone, Debug, Parser)]
#[command(name = "xlb", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Socket of the agent [env: XLB_SOCKET] [default: /run/xlb/xlb.sock]
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL)]
    pub socket: Option<PathBuf>,
    /// Form of results: table, or json with exact numbers
    #[arg(short, long, global = true, value_enum, value_name = "FORM", help_heading = GLOBAL, default_value_t)]
    #[arg(hide_possible_values = true)]
    pub output: Output,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the agent: load the program, attach it, probe the backends, answer this command line
    #[command(
        after_help = "The agent stays in the foreground. When it ends the packets keep flowing, and the next\n\
        start takes over without losing a flow; --detach-on-exit or 'xlb detach' takes everything away.\n\n\
        Example:\n  xlb run --config /etc/xlb/xlb.toml"
    )]
    Run {
        /// Configuration file (TOML)
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Take program, maps and flows away when the agent is told to end
        #[arg(long)]
        detach_on_exit: bool,
    },
    /// Take the program off its interfaces and remove its maps; for when no agent runs
    #[command(
        after_help = "Examples:\n  xlb detach\n  xlb detach --config /etc/xlb/xlb.toml\n  \
        xlb detach --pin-dir /sys/fs/bpf/xlb-2"
    )]
    Detach {
        /// Configuration file; also forgets changes made at run time
        #[arg(long, short, value_name = "FILE", conflicts_with = "pin_dir")]
        config: Option<PathBuf>,
        /// Pin directory [default: /sys/fs/bpf/xlb]
        #[arg(long, value_name = "DIR")]
        pin_dir: Option<PathBuf>,
    },
    /// Show the agent, its interfaces, services and what became of the packets
    #[command(after_help = EXIT_CODES)]
    Status {
        /// Also show the flows that are remembered, backends that are draining, and the memory of the maps
        #[arg(long, short)]
        verbose: bool,
    },
    /// Show and change services
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Show and change the backends of services
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Show what the checks of backends find, and run them now
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Print what happens to services and backends, in JSON, one event on each line
    #[command(after_help = events::HELP)]
    Events(events::Arguments),
    /// Show and change what VIPs do beside their services
    #[command(subcommand)]
    Vip(VipCommand),
    /// Say which backend a packet would get now, and why
    #[command(after_help = lookup::HELP)]
    Lookup(lookup::Arguments),
    /// Show how slots are shared, and what a change would move
    #[command(subcommand)]
    Maglev(maglev::MaglevCommand),
    /// Show and forget flows that are remembered
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// Take packets out of the tunnels that a balancer sends them in; for backends
    #[command(after_help = decap::HELP)]
    Decap(decap::Arguments),
    /// Work on configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the commands that make a Linux host a backend of a service
    #[command(
        after_help = "Examples:\n  xlb backend-setup --config /etc/xlb/xlb.toml --service web >setup.sh\n  \
        xlb backend-setup --vip 192.0.2.10:80/tcp --mode nat --interface eth0 --balancer 10.0.0.1"
    )]
    BackendSetup(Box<BackendSetup>),
}

#[derive(Clone, Debug, Subcommand)]
pub enum VipCommand {
    /// List all VIPs and their services
    List,
    /// Change what a VIP does with packets that no service takes, and with pings
    #[command(after_help = "Example:\n  xlb vip set 192.0.2.10 --unserved reset --ping off")]
    Set {
        /// Address or network, as the services write it
        #[arg(value_name = "ADDRESS")]
        address: Network,
        /// What becomes of packets that no service takes: auto, drop, pass or reset
        #[arg(long, value_name = "WHAT", value_parser = values::by_name::<Unserved>, required_unless_present = "ping")]
        unserved: Option<Unserved>,
        /// Whether pings are answered: on or off
        #[arg(long, value_name = "ON|OFF", value_parser = values::switch)]
        ping: Option<bool>,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a configuration file and say whether it is right, as far as that can be told without the host
    #[command(after_help = "Example:\n  xlb config check /etc/xlb/xlb.toml")]
    Check {
        /// Configuration file (TOML)
        file: PathBuf,
    },
}

impl Cli {
    /// The agent's socket: the flag, else the environment, else the default.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let from_environment = || {
            env::var_os("XLB_SOCKET")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        self.socket
            .clone()
            .or_else(from_environment)
            .unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

/// Reads a command line, the program's name included. When there is nothing to carry out (`--help`, `--version`, a wrong command
/// line), clap's own text is printed and the code to exit with is the error.
///
/// # Errors
/// [`Code::Done`] after help or version, [`Code::Error`] after a wrong command line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Code> {
    Cli::try_parse_from(arguments).map_err(|error| {
        // A reader that has gone away (`xlb --help | head -1`) does not change what the command line was.
        let _ = match wrong_value(&error) {
            Some(line) => writeln!(io::stderr(), "xlb: {line}"),
            None => error.print(),
        };
        code_of(&error)
    })
}

/// A wrong value in one line, as wrong input is told everywhere; only a command line of the wrong form needs clap's page.
fn wrong_value(error: &clap::Error) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let page = error.to_string();
    let said = page.split("\n\nFor more information").next()?;
    Some(output::one_line(said.trim_start_matches("error: ")))
}

fn code_of(error: &clap::Error) -> Code {
    if error.use_stderr() {
        Code::Error
    } else {
        Code::Done
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [
            "xlb -o json --socket /s status",
            "xlb status --output json --socket /s",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!((cli.output, cli.socket()), (Output::Json, "/s".into()), "{line}");
        }
        assert_eq!(
            parse("xlb -o json service show web").unwrap().output,
            Output::Json
        );
        assert_eq!(
            parse("xlb service -o json show web").unwrap().output,
            Output::Json
        );
        assert_eq!(parse("xlb status").unwrap().output, Output::Table);
    }

    #[test]
    fn help_and_version_are_done_and_all_else_is_an_error() {
        for line in [
            "xlb --help",
            "xlb --version",
            "xlb service add --help",
            "xlb help backend",
        ] {
            assert_eq!(code_of(&parse(line).unwrap_err()), Code::Done, "{line}");
        }
        for line in [
            "xlb",
            "xlb nonsense",
            "xlb service",
            "xlb run",
            "xlb status -o yaml",
            "xlb backend drain web",
            "xlb backend weight web/b1 1001",
            "xlb backend weight web/b1 -1",
            "xlb backend set web/b1 --priority 256",
            "xlb backend set web/b1 --state off",
            "xlb service set web --load-factor 1",
            "xlb service set web --new-flows 10,rate=3",
            "xlb service set web --mode dsr",
            "xlb backend add web/b1 --address 10.0.0.2 --port 0",
            "xlb backend add web/b1 --address b1.example",
            "xlb service add web",
            "xlb service add web --vip 192.0.2.10:80",
            "xlb service add web --vip 192.0.2.10:80/tcp --mode pigeon",
            "xlb service add web --vip 192.0.2.10:80/tcp --check-rise 3",
            "xlb service add web --vip 192.0.2.10:80/tcp --fragments never",
            "xlb service add web --vip 192.0.2.10:80/udp --quic-config-id 0",
            "xlb service add web --vip 198.51.100.7/24:80/tcp",
            "xlb backend add web/b1 --address 10.0.0.2 --server-id 0",
            "xlb vip set 192.0.2.10",
            "xlb vip set 192.0.2.10 --ping maybe",
            "xlb vip set 192.0.2.10:80/tcp --ping on",
            "xlb detach --config a --pin-dir b",
            "xlb maglev diff web",
            "xlb maglev diff web --weight b1",
            "xlb maglev diff web --weight b1=1001",
            "xlb maglev diff web --add host",
            "xlb flow purge",
            "xlb flow purge --from 198.51.100.7:4000",
            "xlb flow purge --service web --from 198.51.100.7:4000",
            "xlb flow list --limit 0",
            "xlb check",
            "xlb check show",
            "xlb check show web",
            "xlb check run web/",
            "xlb check list web/",
            "xlb check history web --lines 0",
            "xlb check history web --since yesterday",
            "xlb events --since 5",
            "xlb events /b1",
            "xlb backend-setup --config a --service web --mode ipip",
            "xlb backend-setup --config a --service web --address 10.0.0.2",
            "xlb backend-setup --vip 192.0.2.10:80/tcp --mode nat --service web",
            "xlb backend-setup --vip 192.0.2.10:80/tcp --mode nat --backend b1",
            "xlb lookup --from 198.51.100.7:4000",
            "xlb lookup --from 198.51.100.7 --to 192.0.2.10:80",
            "xlb lookup --from 198.51.100.7:4000 --to 192.0.2.10:80/icmp",
            "xlb lookup --from 198.51.100.7:4000 --to 192.0.2.10:80 --packet fin",
        ] {
            assert_eq!(code_of(&parse(line).unwrap_err()), Code::Error, "{line}");
        }
    }

    #[test]
    fn a_backend_without_a_service_is_told_how_to_name_it() {
        let error = parse("xlb backend rm b1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("named as SERVICE/NAME"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line() {
        for (line, expected) in [
            (
                "xlb backend weight web/b1 -1",
                "invalid value '-1' for '<N>': -1 is not in 0..=1000",
            ),
            (
                "xlb backend add web/b1 --address 10.0.0",
                "invalid value '10.0.0' for '--address <IP>': not an IP address: write it like 10.0.0.2",
            ),
            (
                "xlb status -o yaml",
                "invalid value 'yaml' for '--output <FORM>' [possible values: table, json]",
            ),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(wrong_value(&error).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(wrong_value(&parse("xlb nonsense").unwrap_err()), None);
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{name} {}", inner.get_name());
                check(inner);
            }
        }
        check(&Cli::command());
        let help = Cli::command().render_help().to_string();
        assert!(
            help.contains("Exit codes:") && help.contains("XLB_SOCKET"),
            "{help}"
        );
    }
}
