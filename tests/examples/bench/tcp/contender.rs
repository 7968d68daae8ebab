//! What is between client and servers: each contender has a lab of its own, with as many servers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::Value;
use xlb_tests::{
    Host, Lab,
    agent::Agent,
    interrupt,
    lab::{
        LabBuilder, Mode,
        address::{Net, PAST},
    },
    netns::Netns,
    process::Process,
    server::Nginx,
};

use crate::{
    haproxy::{self, Checks},
    nftables,
};

const PORT: u16 = 80;
/// Longer than a start takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who closes a connection first keeps its port for a minute: wrk does towards HAProxy, and that is a client of the servers itself. Without
/// these they run out of ports after some tens of thousands of connections, and then look for one for milliseconds.
const PORTS: [(&str, &str); 2] = [
    ("net.ipv4.ip_local_port_range", "1024 65535"),
    ("net.ipv4.tcp_tw_reuse", "1"),
];
/// Requests in which every server must have answered one.
const REQUESTS: u32 = 300;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the switch is a router that spreads connections over routes to the servers (ECMP).
    Direct,
    /// The balancer's host does the same, so that packets go by it, and answers do not.
    Routed,
    Xlb(Mode),
    Nftables,
    Haproxy,
}

pub struct Contender {
    kind: Kind,
    /// Where the client sends requests.
    pub vip: SocketAddr,
    _balancer: Option<Balancer>,
    _nginxes: Vec<Nginx>,
    pub lab: Lab,
}

/// Ends when dropped.
enum Balancer {
    Xlb { _agent: Agent },
    Haproxy { _process: Process },
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Routed,
        Self::Xlb(Mode::Nat),
        Self::Xlb(Mode::Dsr),
        Self::Nftables,
        Self::Haproxy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Routed => "routed",
            Self::Xlb(mode) => mode.name(),
            Self::Nftables => "nftables",
            Self::Haproxy => "haproxy",
        }
    }

    fn lab(self) -> LabBuilder {
        match self {
            // As in dsr the switch is a router, and servers have the VIP.
            Self::Direct | Self::Routed => Lab::new().mode(Mode::Dsr).without_stubs(),
            Self::Xlb(mode) => Lab::new().mode(mode),
            Self::Nftables | Self::Haproxy => Lab::new().without_stubs(),
        }
    }
}

impl Contender {
    pub fn start(kind: Kind, servers: u8) -> Result<Self> {
        interrupt::check()?;
        let lab = kind.lab().backends(servers).build()?;
        for host in [&lab.client, &lab.lb] {
            host.ns.sysctl(&PORTS)?;
        }
        let nginxes = lab
            .backends
            .iter()
            .map(|host| host.nginx())
            .collect::<Result<_>>()?;
        let vip = SocketAddr::new(lab.vip().into(), PORT);
        let balancer = match kind {
            Kind::Direct => {
                past_the_balancer(&lab)?;
                spread(&lab.switch, &lab)?;
                None
            }
            Kind::Routed => {
                spread(&lab.lb.ns, &lab)?;
                None
            }
            Kind::Xlb(mode) => {
                let agent = lab.agent(&service(&lab, mode, vip)).start()?;
                agent.wait_until("all servers are up", PATIENCE, all_up)?;
                Some(Balancer::Xlb { _agent: agent })
            }
            Kind::Nftables => {
                let backends: Vec<IpAddr> = lab.backends.iter().map(|host| host.addr.into()).collect();
                nftables::balance(&lab.lb.ns, vip, &backends)?;
                None
            }
            Kind::Haproxy => Some(Balancer::Haproxy {
                _process: haproxy::start(&lab, vip, Checks::Usual)?,
            }),
        };
        let contender = Self {
            kind,
            vip,
            _balancer: balancer,
            _nginxes: nginxes,
            lab,
        };
        contender.spreads()?;
        Ok(contender)
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Makes sure that every server gets its share.
    fn spreads(&self) -> Result<()> {
        let mut silent: BTreeSet<&str> = self.lab.backends.iter().map(|host| host.name.as_str()).collect();
        let url = format!("http://{}/", self.vip);
        for _ in 0..REQUESTS {
            let reply = self.lab.client.curl(&url)?;
            silent.remove(reply.text().as_str());
            if silent.is_empty() {
                return Ok(());
            }
        }
        bail!(
            "{}: none of {REQUESTS} requests was answered by {silent:?}",
            self.name()
        )
    }
}

/// Leads the client's packets past the balancer, as the servers' answers.
fn past_the_balancer(lab: &Lab) -> Result<()> {
    let past = Net::Front.v4(PAST).to_string();
    let vip = lab.vip().to_string();
    lab.client.ns.ip(&["route", "add", &vip, "via", &past]).map(drop)
}

/// Has a router spread what comes for the VIP, by address and port.
fn spread(router: &Netns, lab: &Lab) -> Result<()> {
    router.sysctl(&[("net.ipv4.fib_multipath_hash_policy", "1")])?;
    let vip = lab.vip().to_string();
    let servers: Vec<String> = lab.backends.iter().map(|host| host.addr.to_string()).collect();
    let hops = servers.iter().flat_map(|server| ["nexthop", "via", server]);
    let route: Vec<&str> = ["route", "add", &vip].into_iter().chain(hops).collect();
    router.ip(&route).map(drop)
}

fn all_up(status: &Value) -> bool {
    let services = status["services"].as_array().into_iter().flatten();
    let mut backends = services
        .flat_map(|service| service["backends"].as_array())
        .flatten();
    backends.all(|backend| backend["state"] == "up")
}

fn service(lab: &Lab, mode: Mode, vip: SocketAddr) -> String {
    let backends: String = lab.backends.iter().map(Host::as_backend).collect();
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{vip}/tcp\"\nmode = \"{}\"\n[service.check]\ntype = \"http\"\npath = \"/health\"\n{backends}",
        mode.name()
    )
}
