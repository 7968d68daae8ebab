//! Whose turn it is: the control loop's thread goes before other programs, and nothing else of the agent does, nor what it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::stage;

/// `SCHED_OTHER` and `SCHED_RR` (sched(7)).
const USUAL: u32 = 0;
const REALTIME: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long a thread is looked at that is never to have another policy.
const LOOKED_FOR: Duration = Duration::from_millis(300);

/// The 41st field (proc(5)); the second, in brackets, may have anything in it.
fn policy(stat: &str) -> Option<u32> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(38)?.parse().ok()
}

fn policy_of(task: &Path) -> Result<u32> {
    policy(&fs::read_to_string(task.join("stat"))?).context("a policy")
}

/// Of the control loop.
fn main_task(agent: &Agent) -> Result<PathBuf> {
    let pid = agent.pid().context("the agent does not run")?;
    Ok(format!("/proc/{pid}/task/{pid}").into())
}

/// Waits until the control loop's thread, which gives its precedence up for some things, has this policy.
fn wait_until_it_is(agent: &Agent, expected: u32) -> Result<()> {
    let (task, deadline) = (main_task(agent)?, Instant::now() + PATIENCE);
    while policy_of(&task)? != expected {
        ensure!(
            Instant::now() < deadline,
            "its policy is not {expected}\n{}",
            agent.log_tail()
        );
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[test]
fn only_the_control_loop_goes_before_other_programs() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let told = lab.dir().join("policies");
    let command = format!("cut -d ' ' -f 41 /proc/$$/stat >> {}", told.display());
    let hook = format!("on_event = [\"/bin/sh\", \"-c\", {command:?}]");
    let config = stage::echo(&lab, [lab.backend(0)]);
    let agent = lab.agent(&config).node(&hook).start()?;
    stage::wait_until_ready(&agent)?;
    wait_until_it_is(&agent, REALTIME)?;
    let pid = agent.pid().context("the agent does not run")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        if task.file_name() != pid.to_string().as_str() {
            // It may have ended meanwhile.
            assert_eq!(policy_of(&task.path()).unwrap_or(USUAL), USUAL, "{task:?}");
        }
    }
    let written = || fs::read_to_string(&told).unwrap_or_default();
    stage::wait_until("a command is run", || Ok(written().ends_with('\n')))?;
    assert!(written().lines().all(|one| one == "0"), "{:?}", written());
    drop(agent);

    let agent = lab.agent(&config).node("realtime = false").start()?;
    stage::wait_until_ready(&agent)?;
    let end = Instant::now() + LOOKED_FOR;
    while Instant::now() < end {
        assert_eq!(policy_of(&main_task(&agent)?)?, USUAL);
        sleep(Duration::from_millis(1));
    }
    Ok(())
}
