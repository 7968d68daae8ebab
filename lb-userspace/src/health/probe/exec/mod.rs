//! The exec check: runs a command; exit code 0 passes.
//!
//! A command has a [process group](Group) of its own, and nothing of the group outlives the probe: not when the command leaves something
//! in the background, not at the timeout, not when nobody waits for the probe any more.
//!
//! Reading order: here what is run and what an exit means, `turn`, `output`.

mod output;
mod turn;

use std::{
    io,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use self::output::Output;
use super::{Answer, ProbeError, Question};
use crate::{
    command_group::{Group, failure},
    output::first_line,
};
#[cfg(test)]
pub use turn::tests as turns;
pub use turn::{Permit, late_turns};

/// Runs the command once. Its time begins with its turn, so that one that takes all of it has failed, however long it has waited.
pub async fn probe(question: Question<'_>, command: &[String], permit: Permit) -> Result<Answer, ProbeError> {
    let started = start(question, command, permit).map_err(|error| {
        let program = command.first().map_or("", String::as_str);
        ProbeError::ours(format!("cannot run {program:?}: {}", why_not(program, &error)))
    });
    let (mut group, mut output) = started?;
    let status = group.ended(output.drain()).await;
    let status = status.map_err(|error| ProbeError::ours(format!("wait for the command: {error}")))?;
    output.take_rest();
    judge(status, &first_line(&output.kept))
}

/// Its turn is over when nothing of it is left.
fn start(question: Question<'_>, command: &[String], permit: Permit) -> io::Result<(Group<Permit>, Output)> {
    // One pipe for both, so that the lines are in the order in which they were written.
    let (reader, writer) = io::pipe()?;
    let (output, errors) = (writer.try_clone()?, writer);
    let set = |command: &mut Command| {
        command
            .env("XLB_SERVICE", &question.who.service)
            .env("XLB_BACKEND", &question.who.backend)
            .env("XLB_ADDRESS", question.target.ip().to_string())
            .env("XLB_PORT", question.target.port().to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
    };
    let read = Output::new(reader.into())?;
    Ok((Group::start("exec check", command, set, permit)?, read))
}

/// The kernel says of an interpreter that is missing what it would say of the program.
fn why_not(program: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && Path::new(program).exists() {
        return "it is there, but not the interpreter that its first line (#!) names, or the loader that it needs".to_owned();
    }
    error.to_string()
}

fn judge(status: ExitStatus, line: &str) -> Result<Answer, ProbeError> {
    let Some(ended) = failure(status) else {
        let said = (!line.is_empty()).then(|| line.to_owned());
        return Ok(Answer { said, wish: None });
    };
    Err(ProbeError::answer(if line.is_empty() {
        ended
    } else {
        format!("{ended}: {line}")
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        thread,
        time::{Duration, Instant},
    };

    use tempfile::TempDir;
    use tokio::time::{sleep, timeout};

    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    fn shell(script: &str) -> CheckKind {
        CheckKind::Exec {
            command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        }
    }

    async fn sh(script: &str) -> Result<Answer, ProbeError> {
        ask(&shell(script), "[2001:db8::1]:80".parse().unwrap()).await
    }

    /// Waits until the process whose id a script has written there is gone, or a zombie that waits for somebody else.
    fn gone(file: &Path) -> bool {
        let pid = fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            match fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z ") => thread::sleep(Duration::from_millis(10)),
                _ => return true,
            }
        }
        false
    }

    async fn written(file: &Path) {
        let there = async {
            while fs::read_to_string(file).unwrap_or_default().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, there).await.unwrap();
    }

    #[tokio::test]
    async fn exit_codes_and_first_lines() {
        assert_eq!(sh("exit 0").await, Ok(Answer::default()));
        assert_eq!(sh("echo; echo fine; echo more").await, Ok(Answer::said("fine")));
        let failed = |error: Result<Answer, ProbeError>| {
            let error = error.unwrap_err();
            assert!(!error.is_ours() && !error.is_silence(), "{error}");
            error.to_string()
        };
        assert_eq!(failed(sh("exit 3").await), "exit code 3");
        assert_eq!(
            failed(sh("echo disk full >&2; exit 3").await),
            "exit code 3: disk full"
        );
        assert_eq!(failed(sh("kill -9 $$").await), "ended by SIGKILL");
        let missing = CheckKind::Exec {
            command: vec!["/nowhere/check".into()],
        };
        let error = ask(&missing, "127.0.0.1:1".parse().unwrap()).await.unwrap_err();
        assert!(error.is_ours());
        assert!(
            error.to_string().starts_with("cannot run \"/nowhere/check\": "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_interpreter_is_told() {
        let dir = TempDir::new().unwrap();
        let script = dir.path().join("check");
        fs::write(&script, "#!/nowhere/sh\nexit 0\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let kind = CheckKind::Exec {
            command: vec![script.display().to_string()],
        };
        let error = ask(&kind, "127.0.0.1:1".parse().unwrap()).await.unwrap_err();
        assert!(error.is_ours());
        assert!(
            error.to_string().ends_with(
                ": it is there, but not the interpreter that its first line (#!) names, or the loader that it needs"
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_environment_is_what_it_is_about() {
        let script = "test -z \"$CARGO_MANIFEST_DIR$HOME\" && test -n \"$PATH\" && cat && \
                      echo $XLB_SERVICE $XLB_BACKEND $XLB_ADDRESS $XLB_PORT";
        assert_eq!(sh(script).await, Ok(Answer::said("web b1 2001:db8::1 80")));
    }

    #[tokio::test]
    async fn a_long_output_is_read_to_its_end() {
        let much = "i=0; while [ $i -lt 3000 ]; do echo '0123456789012345678901234567890123456789012345678'; \
                    i=$((i+1)); done; exit 4";
        let error = sh(much).await.unwrap_err().to_string();
        assert!(error.starts_with("exit code 4: 0123456789"), "{error}");
    }

    #[tokio::test]
    async fn what_is_left_in_the_background_ends_with_the_leader() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; echo done", file.display());
        let start = Instant::now();
        assert_eq!(sh(&script).await, Ok(Answer::said("done")));
        assert!(start.elapsed() < LONG, "it holds the pipe, and is not waited for");
        assert!(gone(&file));
    }

    #[tokio::test]
    async fn the_timeout_ends_the_whole_group() {
        let dir = TempDir::new().unwrap();
        let (file, child) = (dir.path().join("pid"), dir.path().join("child"));
        let script = format!(
            "trap '' TERM INT HUP; sleep 1000 & echo $! > {}; echo $$ > {}; wait",
            child.display(),
            file.display()
        );
        let target = "127.0.0.1:1".parse().unwrap();
        let error = ask_for(&shell(&script), target, 2 * SHORT).await.unwrap_err();
        assert_eq!(error, ProbeError::timeout(2 * SHORT));
        assert!(gone(&file) && gone(&child));
    }

    #[tokio::test]
    async fn a_probe_that_is_dropped_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let task = tokio::spawn(async move { sh(&script).await });
        written(&file).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(gone(&file));
    }
}
