//! A balancer with two backends, in a lab of its own.

use std::{
    net::{SocketAddr, SocketAddrV4},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use xlb_tests::{Host, Lab, agent::Agent, interrupt, process::Process};

use super::{
    arrivals::{Aim, Arrivals},
    fault::Fault,
    served::{self, CHECKED_PORT, PORT},
    stream::Stream,
};
use crate::haproxy::{self, Checks};

/// HAProxy is a client of the backends, and keeps the ports of connections that it ended.
const PORTS: [(&str, &str); 2] = [
    ("net.ipv4.ip_local_port_range", "1024 65535"),
    ("net.ipv4.tcp_tw_reuse", "1"),
];
/// Longer than a backend takes to come back on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packets within a tenth of a second that show that a backend serves: a third of its share.
const FLOWING: u64 = 30;
/// After so long without a packet, there was the last one.
const SILENCE: Duration = Duration::from_millis(600);
/// HAProxy waits for a second before it tries the same backend again.
const SILENCE_OF_HAPROXY: Duration = Duration::from_millis(1200);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// xlb with a connection that is kept.
    Hold,
    /// xlb with a connection for each probe.
    Tcp,
    Haproxy,
}

pub struct Contender {
    pub kind: Kind,
    vip: SocketAddrV4,
    _balancer: Balancer,
    /// Of the first backend, to which it happens.
    server: Process,
    _other: Process,
    lab: Lab,
}

/// Ends when dropped.
enum Balancer {
    Xlb { _agent: Agent },
    Haproxy { _process: Process },
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Haproxy, Self::Hold, Self::Tcp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "tcp-hold",
            Self::Tcp => "tcp",
            Self::Haproxy => "haproxy",
        }
    }

    /// Whether it is installed.
    pub fn is_there(self) -> bool {
        self != Self::Haproxy || haproxy::ready().is_ok()
    }
}

impl Contender {
    pub fn start(kind: Kind) -> Result<Self> {
        interrupt::check()?;
        let builder = Lab::new().backends(2);
        let lab = match kind {
            Kind::Hold | Kind::Tcp => builder.build()?,
            Kind::Haproxy => builder.without_stubs().build()?,
        };
        for host in [&lab.client, &lab.lb] {
            host.ns.sysctl(&PORTS)?;
        }
        let server = served::start(lab.backend(0))?;
        let other = served::start(lab.backend(1))?;
        let vip = SocketAddrV4::new(lab.vip(), PORT);
        let balancer = match kind {
            Kind::Hold | Kind::Tcp => Balancer::Xlb {
                _agent: lab.agent(&service(&lab, kind, vip)).start()?,
            },
            Kind::Haproxy => Balancer::Haproxy {
                _process: haproxy::start(&lab, SocketAddr::V4(vip), Checks::Quick { port: CHECKED_PORT })?,
            },
        };
        Ok(Self {
            kind,
            vip,
            _balancer: balancer,
            server,
            _other: other,
            lab,
        })
    }

    /// Has it happen to the first backend, and undone again: how long packets still went there.
    pub fn fail(&mut self, fault: Fault) -> Result<Duration> {
        let (lab, host) = (&self.lab, self.lab.backend(0));
        let aim = Aim {
            address: host.addr,
            port: PORT,
            // Its kernel sends for it again what is not answered, for seconds: that is no new attempt.
            attempts_only: self.kind == Kind::Haproxy,
        };
        let arrivals = Arrivals::in_namespace(fault.seen_in(lab, host), aim)?;
        let _stream = Stream::start(&lab.client, self.vip)?;
        arrivals.wait_flowing(FLOWING, PATIENCE)?;
        thread::sleep(some_time());
        let struck = fault.strike(lab, host, &self.server)?;
        let silence = match self.kind {
            Kind::Hold | Kind::Tcp => SILENCE,
            Kind::Haproxy => SILENCE_OF_HAPROXY,
        };
        let last = arrivals.wait_quiet(silence, PATIENCE);
        let at = struck.at;
        struck.undo(lab, host, &mut self.server)?;
        let last = last?.context("nothing has come for the backend")?;
        Ok(last.duration_since(at).unwrap_or_default())
    }
}

/// A quarter of a second to half of one, so that faults happen at any time between two probes.
fn some_time() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let drawn = now.map_or(0, |now| now.subsec_micros() % 250);
    Duration::from_millis(250 + u64::from(drawn))
}

fn service(lab: &Lab, kind: Kind, vip: SocketAddrV4) -> String {
    let backends: String = lab.backends.iter().map(Host::as_backend).collect();
    let check = match kind {
        Kind::Hold => "tcp-hold",
        Kind::Tcp | Kind::Haproxy => "tcp",
    };
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{vip}/tcp\"\n[service.check]\ntype = \"{check}\"\nport = {CHECKED_PORT}\n\
         interval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 2\n[service.health.flaps]\nhold = \"0s\"\n{backends}"
    )
}
