//! What each command does. [`start`] reads a command line, carries it out, prints the result and gives the exit code.

mod backend;
mod backend_setup;
mod check;
mod config_check;
mod decap;
pub mod detach;
mod events;
mod flow;
mod lookup;
mod maglev;
pub mod run;
mod service;
mod status;
mod vip;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    api::client::{self, Client},
    cli::{self, Cli, Command, ConfigCommand, Output},
    output,
};

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Done = 0,
    /// Also a wrong command line and wrong input.
    Error = 1,
    /// No agent answers, `status` finds a service without a usable backend, `lookup` none for a packet, or `check run` a check
    /// that fails.
    NotReady = 2,
}

/// What a command that was carried out prints on standard output, and the code to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub text: String,
    pub code: Code,
}

/// An agent to ask and the form to answer in.
#[derive(Clone, Debug)]
pub struct Session {
    pub client: Client,
    pub output: Output,
}

/// Reads a command line, the program's name included, and carries it out. Results go to standard output; an error goes to
/// standard error as one line.
#[must_use]
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let code = cli::parse(arguments).map_or_else(|code| code, |cli| carry_out(&cli));
    code.into()
}

/// Carries a command out.
///
/// # Errors
/// When it failed; [`code_of`] the error is then the code to exit with.
pub fn execute(cli: &Cli) -> Result<Reply> {
    let session = Session {
        client: Client::new(cli.socket()),
        output: cli.output,
    };
    match &cli.command {
        Command::Run {
            config,
            detach_on_exit,
        } => run::execute(config, *detach_on_exit),
        Command::Detach { config, pin_dir } => {
            detach::execute(config.as_deref(), pin_dir.as_deref(), cli.output)
        }
        Command::Config(ConfigCommand::Check { file }) => config_check::execute(file, cli.output),
        Command::BackendSetup(arguments) => backend_setup::execute(arguments, cli.output),
        Command::Decap(arguments) => wait(decap::execute(arguments, cli.output)),
        Command::Status { verbose } => wait(status::execute(&session, *verbose)),
        Command::Service(command) => wait(service::execute(&session, command)),
        Command::Backend(command) => wait(backend::execute(&session, command)),
        Command::Check(command) => wait(check::execute(&session, command)),
        Command::Events(arguments) => wait(events::execute(&session, arguments)),
        Command::Vip(command) => wait(vip::execute(&session, command)),
        Command::Flow(command) => wait(flow::execute(&session, command)),
        Command::Maglev(command) => wait(maglev::execute(&session, command)),
        Command::Lookup(arguments) => wait(lookup::execute(&session, arguments)),
    }
}

/// The code to exit with after an error.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> Code {
    match error.downcast_ref::<client::Error>() {
        Some(error) if error.is_not_ready() => Code::NotReady,
        _ => Code::Error,
    }
}

/// An error as the one line that a user sees.
#[must_use]
pub fn error_line(error: &anyhow::Error) -> String {
    format!("xlb: {}", output::one_line(&format!("{error:#}")))
}

impl Reply {
    /// A result for people (text that ends with a line end) or for programs.
    ///
    /// # Errors
    /// When the result has no JSON.
    pub fn new(output: Output, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<Self> {
        let text = match output {
            Output::Table => text(),
            Output::Json => output::json(value)?,
        };
        Ok(Self {
            text,
            code: Code::Done,
        })
    }

    #[must_use]
    pub fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

fn carry_out(cli: &Cli) -> Code {
    execute(cli)
        .and_then(|reply| print(&mut io::stdout(), &reply))
        .unwrap_or_else(|error| {
            // With standard error gone, nobody is left to tell.
            let _ = writeln!(io::stderr(), "{}", error_line(&error));
            code_of(&error)
        })
}

fn print(out: &mut impl Write, reply: &Reply) -> Result<Code> {
    match out.write_all(reply.text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough, as in `xlb status | head -1`, is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write the result"),
        _ => Ok(reply.code),
    }
}

fn wait<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(command)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::client::canned::{self, CannedAgent};

    fn run(socket: &std::path::Path, line: &str) -> Result<Reply> {
        let socket = socket.to_str().unwrap();
        execute(&Cli::try_parse_from(["xlb", "--socket", socket].into_iter().chain(line.split(' '))).unwrap())
    }

    #[track_caller]
    fn text(agent: &CannedAgent, line: &str) -> String {
        let reply = run(agent.socket(), line).unwrap();
        assert_eq!(reply.code, Code::Done);
        reply.text
    }

    #[test]
    fn changes_are_told_in_one_line() {
        let service = CannedAgent::new(200, canned::service());
        let backend = CannedAgent::new(201, canned::backend("b1"));
        let removed = CannedAgent::new(200, json!({"removed": "x"}));
        let add = "service add web --vip 192.0.2.10:80/tcp --backend 10.0.0.2:8080,name=b1";
        assert_eq!(text(&service, add), "service web added\n");
        assert_eq!(text(&removed, "service rm web"), "service web removed\n");
        assert_eq!(
            text(&backend, "backend add web/b1 --address 10.0.0.2"),
            "backend web/b1 added\n"
        );
        assert_eq!(text(&removed, "backend rm web/b1"), "backend web/b1 removed\n");
        assert_eq!(
            text(&backend, "backend ready web/b1"),
            "backend web/b1 set to ready\n"
        );
        assert_eq!(
            text(&backend, "backend weight web/b1 100"),
            "backend web/b1 set to weight 100\n"
        );
        assert_eq!(
            text(&backend, "backend set web/b1 --max-connections 0 --priority 0"),
            "backend web/b1 set to max connections 0\nbackend web/b1 set to priority 0\n"
        );
    }

    #[test]
    fn in_json_a_change_prints_what_came_of_it() {
        let agent = CannedAgent::new(200, canned::backend("b1"));
        let printed: Value =
            serde_json::from_str(&text(&agent, "backend weight web/b1 100 -o json")).unwrap();
        assert_eq!(printed, canned::backend("b1"));
    }

    #[test]
    fn requests_say_what_was_asked_for() {
        let agent = CannedAgent::new(200, canned::backend("b1"));
        text(&agent, "backend drain web/10.0.0.2:8080");
        text(&agent, "backend weight web/b1 7");
        text(&agent, "backend maintenance web/b1");
        text(&agent, "backend set web/b1 --max-connections 500 --state drain");
        text(&agent, "backend add web/b3 --address 10.0.0.4 --weight 5");
        let path = "/v1/services/web/backends";
        assert_eq!(
            agent.requests(),
            [
                (format!("PATCH {path}/10.0.0.2%3A8080"), json!({"admin": "drain"})),
                (format!("PATCH {path}/b1"), json!({"weight": 7})),
                (format!("PATCH {path}/b1"), json!({"admin": "maintenance"})),
                (
                    format!("PATCH {path}/b1"),
                    json!({"admin": "drain", "max_connections": 500}),
                ),
                (
                    format!("POST {path}"),
                    json!({"name": "b3", "address": "10.0.0.4", "weight": 5, "state": "ready"}),
                ),
            ]
        );
    }

    #[test]
    fn a_refusal_is_one_line_and_code_1() {
        let agent = CannedAgent::new(409, json!({"error": "service \"web\" exists:\nremove it first"}));
        let error = run(agent.socket(), "service add web --vip 192.0.2.10:80/tcp").unwrap_err();
        assert_eq!(error_line(&error), "xlb: service \"web\" exists: remove it first");
        assert_eq!(code_of(&error), Code::Error);
    }

    #[test]
    fn without_an_agent_the_code_is_2() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("xlb.sock");
        let error = run(&socket, "status").unwrap_err();
        assert_eq!(code_of(&error), Code::NotReady);
        assert_eq!(
            error_line(&error),
            format!(
                "xlb: no agent answers at {} (No such file or directory): start it with 'xlb run --config FILE' \
                 or name its socket with --socket",
                socket.display()
            )
        );
        // Left behind by an agent that was killed.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = run(&socket, "service list").unwrap_err();
        assert_eq!(code_of(&error), Code::NotReady);
        assert!(
            error_line(&error).contains("(Connection refused): start it"),
            "{error:#}"
        );
    }

    #[test]
    fn a_configuration_is_checked_without_an_agent() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("xlb.toml");
        let check = format!("config check {}", file.display());
        let nowhere = std::path::Path::new("/nonexistent");

        fs::write(&file, "[[interface]]\nname = \"eth0\"\n").unwrap();
        let reply = run(nowhere, &check).unwrap();
        assert_eq!(
            reply.text,
            format!("{}: ok: 0 services, 0 backends\n", file.display())
        );
        let reply = run(nowhere, &format!("{check} -o json")).unwrap();
        let good: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!(good, json!({"ok": true, "services": 0, "backends": 0}));

        fs::write(&file, "[nodes]\n").unwrap();
        let error = run(nowhere, &check).unwrap_err();
        assert_eq!(code_of(&error), Code::Error);
        assert!(
            error_line(&error).starts_with(&format!("xlb: {}:1: ", file.display())),
            "{error:#}"
        );
        let reply = run(nowhere, &format!("{check} -o json")).unwrap();
        assert_eq!(reply.code, Code::Error);
        let bad: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((&bad["ok"], bad["error"].is_string()), (&json!(false), true));
    }

    #[test]
    fn a_reader_that_leaves_is_no_error() {
        struct Failing(io::ErrorKind);
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let reply = Reply {
            text: "text\n".into(),
            code: Code::NotReady,
        };
        assert_eq!(
            print(&mut Failing(io::ErrorKind::BrokenPipe), &reply).unwrap(),
            Code::NotReady
        );
        let error = print(&mut Failing(io::ErrorKind::StorageFull), &reply).unwrap_err();
        assert_eq!(code_of(&error), Code::Error);
        assert!(
            error_line(&error).starts_with("xlb: write the result: "),
            "{error:#}"
        );
    }
}
