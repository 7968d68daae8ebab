//! A host that stands still.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xlb_tests::{Lab, preflight, server::Manner};

use crate::{
    crowd::{EACH, count, crowd},
    stage::{logged, service, tell, wait_until, wait_until_ready},
};

#[test]
fn a_stopped_agent_blames_nobody() -> Result<()> {
    const ANSWER: &str = "here";
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let pool = crowd(lab.backend(0), 0)?;
    let answers = || Manner::AnswersAfter(Duration::from_millis(500), ANSWER.into());
    let server = lab.backend(0).scripted(80, [answers()])?;
    // One lost answer would be enough, and many are under way at any time.
    let check = format!(
        "[service.check]\ntype = \"tcp\"\nsend = \"there?\"\nexpect = \"{ANSWER}\"\ninterval = \"2s\"\ntimeout = \"2s\"\nrise = 1\nfall = 1\n"
    );
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &check, &pool))
        .start()?;
    wait_until_ready(&agent)?;
    wait_until("questions are under way", || Ok(server.open() >= 5))?;
    server.set(Manner::Hangs);
    agent.signal(Signal::SIGSTOP)?;
    // By then all that was under way is overdue.
    thread::sleep(Duration::from_secs(3));
    tell(&format!("{} questions were under way", server.open()));
    ensure!(server.open() > 0, "nothing was under way");
    server.set(answers());
    agent.signal(Signal::SIGCONT)?;
    let before = server.accepted();
    wait_until("everybody has been asked again", || {
        Ok(server.accepted() > before + usize::from(EACH))
    })?;
    ensure!(
        logged(&agent, " is down: ") == 0,
        "somebody is down: {}",
        agent.log_tail()
    );
    ensure!(
        logged(&agent, "this host stood still for ") > 0,
        "{}",
        agent.log_tail()
    );
    let status = agent.status()?;
    ensure!(count(&status, "up", &["b1"]) == usize::from(EACH), "{status}");
    Ok(())
}
