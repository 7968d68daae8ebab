//! The lab's side of running an agent, with a shell script in xlb's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;
use xlb_tests::{Lab, preflight};

/// Keeps the promises of the command line that the lab relies on, and no other.
const STAND_IN: &str = r#"#!/bin/sh
set -e
setting() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$2" | head -n 1; }
case "$1" in
run)
    echo "starting" >&2
    grep -q broken "$3" && { echo "xlb: a broken configuration" >&2; exit 1; }
    mkdir -p "$(setting pin_dir "$3")"
    trap 'exit 0' TERM
    echo $$ > "$(setting socket "$3")"
    while :; do sleep 0.05; done ;;
status)
    kill -0 "$(cat "$XLB_SOCKET")" 2> /dev/null || { echo "xlb: agent not reachable" >&2; exit 2; }
    echo '{"version": "0"}'
    exit 2 ;;
detach)
    rmdir "$(setting pin_dir "$3")" ;;
*)
    echo "xlb: unknown command $1" >&2
    exit 1 ;;
esac
"#;

#[test]
fn an_agent_is_started_asked_killed_and_detached() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let xlb = lab.dir().join("xlb");
    fs::write(&xlb, STAND_IN)?;
    fs::set_permissions(&xlb, fs::Permissions::from_mode(0o755))?;

    let mut agent = lab.agent("").binary(&xlb).node("log_packets = true").start()?;
    assert_eq!(agent.status()?["version"], "0");
    let config = fs::read_to_string(agent.config())?;
    assert!(
        config.contains("log_packets = true\n") && config.contains("name = \"eth1\""),
        "{config}"
    );
    let wrong = agent.ok(&["nonsense"]).unwrap_err();
    assert!(
        wrong.to_string().contains("unknown command nonsense"),
        "{wrong:#}"
    );

    let first = agent.pid();
    agent.kill9();
    assert!(!agent.is_running() && agent.pid().is_none());
    agent.start()?;
    agent.restart()?;
    assert!(agent.is_running() && agent.pid() != first);
    let late = agent
        .wait_until("never", Duration::from_millis(30), |_| false)
        .unwrap_err();
    assert!(late.to_string().contains("starting"), "no log in {late:#}");

    let pins = agent.pin_dir().to_owned();
    assert!(pins.exists());
    drop(agent);
    assert!(!pins.exists(), "not detached");

    let refused = lab.agent("# broken").binary(&xlb).start().unwrap_err();
    assert!(
        refused.to_string().contains("xlb: a broken configuration"),
        "{refused:#}"
    );
    Ok(())
}
