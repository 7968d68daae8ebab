//! `node.on_event`: a command that is run for each event, one after the other, beside everything else.

use std::{
    future::pending,
    io,
    os::fd::OwnedFd,
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, net::unix::pipe, task::JoinHandle, time};

use super::{Event, Filter, Journal, Listener};
use crate::{
    command_group::{Group, failure},
    output,
};

/// How long a command may take for an event.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that may wait for their turn.
const WAITING: u64 = 1000;

/// A hook that is at work; it ends when dropped, with whatever it runs.
#[derive(Debug)]
pub struct Hook(JoinHandle<()>);

impl Hook {
    /// Runs a command, if there is one, for every event of a journal: those of the past and all that follow.
    #[must_use]
    pub fn start(command: &[String], journal: &Journal) -> Option<Self> {
        if command.is_empty() {
            return None;
        }
        let listener = journal.follow(Filter::default());
        Some(Self(tokio::spawn(run(command.to_vec(), listener, PATIENCE))))
    }

    /// Ends it, and whatever it runs; what still waits is told to nobody.
    pub async fn end(mut self) {
        self.0.abort();
        // That it was aborted is no news.
        let _aborted = (&mut self.0).await;
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(command: Vec<String>, mut listener: Listener, patience: Duration) {
    let name = command.first().cloned().unwrap_or_default();
    let mut left_out = 0;
    loop {
        let skipped = listener.skip_to_last(WAITING);
        if left_out == 0 && skipped > 0 {
            log::warn!(
                "on_event: {name} is slower than events come: of more than {WAITING} that wait, the oldest are left out"
            );
        }
        left_out += skipped;
        if left_out > 0 && listener.waiting() == 0 {
            log::info!("on_event: {name} has kept up again; {left_out} events were left out");
            left_out = 0;
        }
        let heard = listener.next(1).await;
        left_out += heard.lost;
        for event in heard.events {
            if let Err(problem) = tell(&command, &event, patience).await {
                let whom = event.whom().map(|whom| format!(" of {whom}"));
                let (what, whom) = (event.event.name(), whom.unwrap_or_default());
                log::warn!("on_event: {name}, event '{what}'{whom}: {problem}");
            }
        }
    }
}

/// Tells a command of an event.
async fn tell(command: &[String], event: &Event, patience: Duration) -> Result<(), String> {
    let mut input = serde_json::to_vec(event).map_err(|error| format!("write JSON: {error}"))?;
    input.push(b'\n');
    let group = Group::start("on_event", command, |command| set(command, event), ());
    let mut group = group.map_err(|error| format!("cannot be run: {error}"))?;
    let stdin = group.stdin();
    let fed = async {
        // It need not read what it is told.
        let _unread = feed(stdin, &input).await;
        pending().await
    };
    let Ok(ended) = time::timeout(patience, group.ended(fed)).await else {
        let patience = humantime::format_duration(patience);
        return Err(format!("has not ended within {patience}, and was killed"));
    };
    let status = ended.map_err(|error| format!("cannot be waited for: {error}"))?;
    failure(status).map_or(Ok(()), Err)
}

/// The environment of a command for an event, and where its input comes from.
fn set(command: &mut Command, event: &Event) {
    command
        .env("XLB_EVENT", event.event.name())
        .env("XLB_SERVICE", event.service.as_deref().unwrap_or_default())
        .env("XLB_BACKEND", event.backend.as_deref().unwrap_or_default())
        // Without control characters: a NUL cannot be in an environment.
        .env("XLB_REASON", output::one_line(&event.reason))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

/// Writes the input and ends it.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(stdin) = stdin else { return Ok(()) };
    let mut pipe = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
    pipe.write_all(input).await
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        time::Instant,
    };

    use super::{super::journal::tests::note, *};
    use crate::control::events::{News, What};

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, file: &Path) -> Vec<String> {
        let file = file.to_str().unwrap().to_owned();
        ["/bin/sh".into(), "-c".into(), script.into(), "sh".into(), file].to_vec()
    }

    /// Waits until a file has so many lines.
    async fn lines(file: &Path, count: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            if lines.len() >= count && text.ends_with('\n') {
                return lines;
            }
            assert!(start.elapsed() < LONG, "{text}");
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_gone(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        // A zombie is gone but for its parent, which is not always us.
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    async fn gone(pid: &str) {
        let start = Instant::now();
        while !is_gone(pid) {
            assert!(start.elapsed() < LONG, "{pid} lives");
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn event() -> Event {
        let journal = Journal::default();
        note(&journal, 1, "web", Some("b1"));
        (*journal.recent(&Filter::default(), None)[0]).clone()
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("told");
        (directory, file)
    }

    #[tokio::test]
    async fn each_event_once_and_in_order() {
        let (_directory, file) = place();
        let journal = Journal::default();
        note(&journal, 0, "web", Some("b1"));
        let script = "read -r json; echo \"$XLB_EVENT $XLB_SERVICE $XLB_BACKEND $XLB_REASON $json\" >>\"$1\"";
        let hook = Hook::start(&shell(script, &file), &journal).unwrap();
        for second in 1..20 {
            note(&journal, second, "web", Some("b1"));
        }
        let told = lines(&file, 20).await;
        for (second, line) in told.iter().enumerate() {
            let (words, json) = line.split_once(" {").unwrap();
            assert_eq!(words, format!("up web b1 second {second}"));
            let read: Event = serde_json::from_str(&format!("{{{json}")).unwrap();
            assert_eq!(read.id, second as u64);
        }
        hook.end().await;
    }

    #[tokio::test]
    async fn the_environment_is_the_events_alone() {
        let (_directory, file) = place();
        let journal = Journal::default();
        journal.note(
            News {
                event: What::Started,
                service: None,
                backend: None,
                check: None,
                reason: "a\0b".into(),
            },
            std::time::SystemTime::now(),
        );
        let event = &journal.recent(&Filter::default(), None)[0];
        let command = ["/usr/bin/env".to_owned()];
        // What it writes goes nowhere, but it can be run, and a NUL is in no environment.
        assert_eq!(tell(&command, event, LONG).await, Ok(()));
        tell(&shell("/usr/bin/env | sort >\"$1\"", &file), event, LONG)
            .await
            .unwrap();
        let names: Vec<_> = fs::read_to_string(&file)
            .unwrap()
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
            // What a shell sets itself.
            .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()))
            .collect();
        assert_eq!(
            names,
            ["PATH", "XLB_BACKEND", "XLB_EVENT", "XLB_REASON", "XLB_SERVICE"]
        );
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told() {
        let (_directory, file) = place();
        let event = event();
        let told = async |script: &str| tell(&shell(script, &file), &event, LONG).await;
        assert_eq!(told("exit 3").await, Err("exit code 3".into()));
        assert_eq!(told("kill -9 $$").await, Err("ended by SIGKILL".into()));
        let missing = tell(&["/nonexistent".into()], &event, LONG).await.unwrap_err();
        assert!(missing.starts_with("cannot be run: No such file"), "{missing}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_group() {
        let (_directory, file) = place();
        let script = "trap '' TERM HUP INT; sleep 1000 & echo $! >>\"$1\"; echo $$ >>\"$1\"; wait; wait";
        let told = tell(&shell(script, &file), &event(), Duration::from_secs(1)).await;
        assert_eq!(told, Err("has not ended within 1s, and was killed".into()));
        for pid in lines(&file, 2).await {
            gone(&pid).await;
        }
    }

    #[tokio::test]
    async fn what_it_leaves_in_the_background_is_ended() {
        let (_directory, file) = place();
        let script = "sleep 1000 >/dev/null & echo $! >\"$1\"";
        assert_eq!(tell(&shell(script, &file), &event(), LONG).await, Ok(()));
        gone(&lines(&file, 1).await[0]).await;
    }

    #[tokio::test]
    async fn what_runs_ends_with_the_hook() {
        let (_directory, file) = place();
        let journal = Journal::default();
        note(&journal, 1, "web", None);
        let hook = Hook::start(&shell("sleep 1000 & echo $! >\"$1\"; wait", &file), &journal).unwrap();
        let pid = lines(&file, 1).await.remove(0);
        assert!(!is_gone(&pid));
        hook.end().await;
        gone(&pid).await;
    }

    #[tokio::test]
    async fn only_so_many_wait_and_the_newest_are_told() {
        let (directory, file) = place();
        let gate = directory.path().join("gate");
        let journal = Journal::default();
        note(&journal, 0, "web", None);
        // The first one takes its time.
        let script = format!(
            "echo \"$XLB_REASON\" >>\"$1\"; while [ ! -e {} ]; do sleep 0.05; done",
            gate.display()
        );
        let listener = journal.follow(Filter::default());
        let running = tokio::spawn(run(shell(&script, &file), listener, LONG));
        lines(&file, 1).await;
        for second in 1..=WAITING + 50 {
            note(&journal, second, "web", None);
        }
        fs::write(&gate, "").unwrap();
        let told = lines(&file, 3).await;
        assert_eq!(told[1], "second 51");
        assert_eq!(told[2], "second 52");
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
}
