//! What happens to a backend, and how it is undone.

use std::time::SystemTime;

use anyhow::Result;
use nix::sys::signal::Signal;
use xlb_tests::{Host, Lab, netns::Netns, process::Process, xdp::arrivals::Arrivals as Drops};

use super::served;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed: its host answers for it, with resets.
    Kill,
    /// Its cable is pulled out of the switch.
    Unplug,
    /// It drops whatever it gets, by an XDP program, and its link stays up.
    Silence,
}

/// What is to be undone.
pub struct Struck {
    /// Just before it happened.
    pub at: SystemTime,
    fault: Fault,
    drops: Option<Drops>,
}

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Unplug => "unplugged",
            Self::Silence => "silent",
        }
    }

    /// Where the last packet is seen: on the dead host, or where the balancer's packets come out before they are lost.
    pub const fn seen_in<'a>(self, lab: &'a Lab, host: &'a Host) -> &'a Netns {
        match self {
            Self::Kill => &host.ns,
            Self::Unplug | Self::Silence => &lab.switch,
        }
    }

    pub fn strike(self, lab: &Lab, host: &Host, server: &Process) -> Result<Struck> {
        let at = SystemTime::now();
        let mut drops = None;
        match self {
            Self::Kill => server.signal(Signal::SIGKILL)?,
            Self::Unplug => lab.set_plugged(host, false)?,
            Self::Silence => drops = Some(Drops::at(&host.ns, &["eth0"], host.mac)?),
        }
        Ok(Struck {
            at,
            fault: self,
            drops,
        })
    }
}

impl Struck {
    pub fn undo(self, lab: &Lab, host: &Host, server: &mut Process) -> Result<()> {
        match self.fault {
            Fault::Kill => *server = served::start(host)?,
            Fault::Unplug => lab.set_plugged(host, true)?,
            Fault::Silence => drop(self.drops),
        }
        Ok(())
    }
}
