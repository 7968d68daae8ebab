//! Commands to a running agent that ask for what cannot be.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use xlb_tests::preflight;

use crate::{refused::ensure_says, running::Running};

/// Command lines, each followed by a line with `>>> ` and what is said.
const COMMANDS: &str = include_str!("commands.cases");

#[test]
fn what_cannot_be_done_is_told_and_changes_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut running = Running::start()?;
    wrong_commands(&mut running).context("wrong commands")?;
    unkept_changes(&mut running).context("changes that cannot be kept")?;
    more_than_fits(&mut running).context("more than fits")
}

fn wrong_commands(running: &mut Running) -> Result<()> {
    let before = running.standing()?;
    let mut lines = COMMANDS.lines().filter(|line| !line.is_empty());
    let mut count = 0;
    while let (Some(command), Some(said)) = (lines.next(), lines.next()) {
        let said = said
            .strip_prefix(">>> ")
            .with_context(|| format!("no answer to {command}"))?;
        let arguments: Vec<_> = words(command).into_iter().map(unescaped).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = running.ask(&arguments)?;
        ensure_says(&output, &[said]).with_context(|| format!("xlb {command}"))?;
        before.ensure_holds(running).with_context(|| command.to_owned())?;
        count += 1;
    }
    ensure!(count > 50, "only {count} cases");
    running.ensure_stands(&before)
}

/// `\n`, `\t`, `\e` and `\s` (a space) as what they stand for, `\0*100` as a long name.
fn unescaped(word: &str) -> String {
    let word = word
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\e", "\u{1b}")
        .replace("\\s", " ");
    word.replace("\\0*100", &"x".repeat(100))
}

fn more_than_fits(running: &mut Running) -> Result<()> {
    let agent = &running.agent;
    agent.ok(&words("service add api --vip 192.0.2.11:80/tcp"))?;
    agent.ok(&words("backend add web/b3 --address 10.20.0.99 --weight 0"))?;
    let full = running.standing()?;
    for (command, said) in [
        (
            "service add third --vip 192.0.2.12:80/tcp",
            "service \"third\": 3 services are more than the 2 that fit: raise limits.services or remove a service",
        ),
        (
            "backend add web/b4 --address 10.20.0.98",
            "service \"web\": 4 backends are more than the 3 that fit: raise limits.backends or remove some",
        ),
        (
            "service add api --vip 192.0.2.12:80/tcp",
            "service \"api\": there is one of that name already: remove it first, or choose another name",
        ),
        (
            "service add third --vip 192.0.2.11:80/tcp",
            "service \"third\": vip: 192.0.2.11:80/tcp is already a VIP of service \"api\"",
        ),
    ] {
        ensure_says(&running.ask(&words(command))?, &[said]).context(command)?;
        running.ensure_stands(&full)?;
    }
    let agent = &running.agent;
    agent.ok(&words("backend rm web/b3"))?;
    agent
        .ok(&words("backend add web/b4 --address 10.20.0.98 --weight 0"))
        .map(drop)
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn unkept_changes(running: &mut Running) -> Result<()> {
    let before = running.standing()?;
    let state = running.agent.config().with_file_name("state");
    let away = state.with_file_name("away");
    for command in [
        "backend weight web/b1 7",
        "backend rm web/b1",
        "service rm web",
        "service add api --vip 192.0.2.11:80/tcp",
    ] {
        fs::rename(&state, &away)?;
        let told = running.ask(&words(command));
        fs::rename(&away, &state)?;
        ensure_says(&told?, &["changes.json", "No such file or directory"]).context(command)?;
        running.ensure_stands(&before).context(command)?;
    }
    running.agent.ok(&words("backend weight web/b1 100")).map(drop)
}
