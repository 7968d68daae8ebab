//! What a configuration file may say wrong: told alike by `xlb run` and `xlb config check`, with the line.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, preflight};

use crate::refused::{Starts, bounded, ensure_says, line};

/// Whole files, each followed by a line with `>>> ` and what is said after the file's name.
const WHOLE: &str = include_str!("whole.cases");
/// The same for what comes after [`WEB`], from line 6 on.
const SERVICES: &str = include_str!("services.cases");

const WEB: &str = "[[interface]]\nname = 'eth0'\n[[service]]\nname = 'web'\nvip = '192.0.2.10:80/tcp'\n";

#[test]
fn a_wrong_file_is_refused_with_its_line_by_run_and_check() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let services = cases(SERVICES)
        .into_iter()
        .map(|(more, said)| (format!("{WEB}{more}"), said));
    let cases: Vec<_> = cases(WHOLE).into_iter().chain(services).collect();
    ensure!(cases.len() > 70, "only {} cases", cases.len());
    for (text, said) in cases {
        fs::write(starts.config(), &text)?;
        let file = starts.config().display();
        starts.refused_by(&[], &[&format!("{file}{said}")])?;
        ensure_check_says(&starts, starts.config(), &[said])?;
    }
    fs::write(starts.config(), WEB)?;
    let good = check(&starts, starts.config(), &[])?;
    ensure!(good.status.success(), "a good file is refused: {good:?}");
    Ok(())
}

/// A text and what is said of it, for each case.
fn cases(table: &'static str) -> Vec<(String, &'static str)> {
    let mut cases = Vec::new();
    let mut text = String::new();
    for line in table.lines() {
        match line.strip_prefix(">>> ") {
            Some(said) => cases.push((std::mem::take(&mut text).trim_start().to_owned(), said)),
            None => text = text + line + "\n",
        }
    }
    cases
}

#[test]
fn a_file_that_cannot_be_read_is_named() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let not_utf8 = lab.dir().join("not-utf8.toml");
    fs::write(&not_utf8, b"[node]\nsocket = '/\xff'\n")?;
    let nul = lab.dir().join("nul.toml");
    fs::write(&nul, "\0")?;
    for (file, said) in [
        (
            Path::new("/nonexistent/xlb.toml"),
            "cannot be read (No such file or directory",
        ),
        (lab.dir(), "cannot be read (Is a directory"),
        (
            &not_utf8,
            "is not UTF-8 text: save it as UTF-8, or name another file",
        ),
        (&nul, ":1: key with no value, expected `=`"),
        (Path::new("/dev/null"), "interface: there is none: name one"),
        (
            Path::new("/dev/zero"),
            "64 MiB and more are no configuration: name another file",
        ),
    ] {
        let name = file.display().to_string();
        ensure_check_says(&starts, file, &[&name, said])?;
        let mut run = bounded(&lab.lb.ns, &[], starts.binary());
        ensure_says(&run.args(["run", "--config", &name]).output()?, &[&name, said])?;
    }
    Ok(())
}

/// `xlb config check` says all of `words` in a line, and in JSON the same line.
fn ensure_check_says(starts: &Starts<'_>, file: &Path, words: &[&str]) -> Result<()> {
    let table = check(starts, file, &[])?;
    ensure_says(&table, words)?;
    let json = check(starts, file, &["-o", "json"])?;
    ensure!(
        json.status.code() == Some(1) && json.stderr.is_empty(),
        "{json:?}"
    );
    let verdict: Value = serde_json::from_slice(&json.stdout).context("not JSON")?;
    let expected = serde_json::json!({"ok": false, "error": line(&table, 1)?});
    ensure!(verdict == expected, "{verdict} is not {expected}");
    Ok(())
}

fn check(starts: &Starts<'_>, file: &Path, more: &[&str]) -> Result<std::process::Output> {
    let mut command = bounded(&starts.lab.lb.ns, &[], starts.binary());
    Ok(command.args(["config", "check"]).arg(file).args(more).output()?)
}
