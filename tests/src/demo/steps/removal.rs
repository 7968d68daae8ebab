//! The agent ends, and its program leaves the interfaces.

use anyhow::{Result, bail, ensure};

use crate::demo::screen::Screen;
use crate::demo::stage::Stage;

pub(in crate::demo) fn removal(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.text(
        "An agent that is told to end leaves the program at work, as one that crashes does. 'xlb detach' \
         takes it off the interfaces and its maps out of the kernel; then nothing answers for the VIP.",
    )?;
    let url = stage.url("/");
    stage.agent.stop()?;
    let reply = stage.lab.client.curl(&url)?;
    ensure!(reply.status == 200, "{url} answered with status {}", reply.status);
    screen.fact(
        "curl after the agent ended",
        format_args!("answered by {}", reply.text()),
    )?;
    let config = stage.agent.config().display().to_string();
    let said = stage.agent.ok(&["detach", "--config", &config])?;
    screen.fact("xlb detach", said.trim())?;
    let gone = stage.lab.client.curl_with(&["--max-time", "0.5", &url]);
    let Err(reason) = gone else {
        bail!("{url} is answered without a balancer");
    };
    let reason = reason.to_string();
    screen.fact("curl after that", reason.rsplit(": ").next().unwrap_or(&reason))
}
