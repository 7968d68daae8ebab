//! What most tests set up: an echo service with servers behind it, and questions to `xlb status`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{
    Host, Lab,
    agent::Agent,
    server::{Scripted, UdpEcho},
};

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Of the echo service, over TCP and UDP.
pub const PORT: u16 = 7;
/// New flows that tell for certain whether a backend takes any: a share of a third would be missed once in 10^14.
pub const MANY: usize = 80;
/// A check that needs 600 ms to believe a failure.
pub const CHECK: &str =
    "[service.check]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 2\nfall = 3\n";

/// The echo service's address.
pub fn vip(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.vip().into(), PORT)
}

/// The service `echo` on the VIP, over TCP and UDP, without checks.
pub fn echo<'a>(lab: &Lab, backends: impl IntoIterator<Item = &'a Host>) -> String {
    service("echo", vip(lab), "", backends)
}

/// The service `echo` with [`CHECK`].
pub fn checked_echo<'a>(lab: &Lab, backends: impl IntoIterator<Item = &'a Host>) -> String {
    service("echo", vip(lab), CHECK, backends)
}

/// A service on `vip`, over TCP and UDP.
pub fn service<'a>(
    name: &str,
    vip: SocketAddr,
    check: &str,
    backends: impl IntoIterator<Item = &'a Host>,
) -> String {
    let backends: String = backends.into_iter().map(Host::as_backend).collect();
    format!("[[service]]\nname = \"{name}\"\nvip = [\"{vip}/tcp\", \"{vip}/udp\"]\n{check}{backends}")
}

/// Echo servers on hosts, by the hosts' names.
pub struct Echoes {
    tcp: BTreeMap<String, Scripted>,
    udp: BTreeMap<String, UdpEcho>,
}

impl Echoes {
    pub fn start(hosts: &[Host]) -> Result<Self> {
        let mut echoes = Self {
            tcp: BTreeMap::new(),
            udp: BTreeMap::new(),
        };
        for host in hosts {
            echoes.start_one(host)?;
        }
        Ok(echoes)
    }

    pub fn start_one(&mut self, host: &Host) -> Result<()> {
        self.tcp.insert(host.name.clone(), host.tcp_echo(PORT)?);
        self.udp.insert(host.name.clone(), host.udp_echo(PORT)?);
        Ok(())
    }

    /// Ends the servers of one host; its connections end, and new ones are refused.
    pub fn stop(&mut self, host: &Host) {
        self.tcp.remove(&host.name);
        self.udp.remove(&host.name);
    }

    /// How many datagrams each host has got.
    pub fn received(&self) -> BTreeMap<&str, u64> {
        self.udp
            .iter()
            .map(|(name, echo)| (name.as_str(), echo.received()))
            .collect()
    }

    /// Opens `count` flows to `to`, with one datagram each; how many of them each host has got. Each has to be echoed.
    pub fn share(&self, client: &Host, to: SocketAddr, count: usize) -> Result<BTreeMap<&str, u64>> {
        let before = self.received();
        let echoed = open_flows(client, to, count, PATIENCE)?;
        ensure!(echoed == count, "{echoed} of {count} datagrams came back");
        let after = self.received();
        Ok(after
            .into_iter()
            .map(|(name, count)| (name, count - before[name]))
            .collect())
    }
}

/// Sends one datagram on each of `count` new flows; how many came back, each within `patience`.
pub fn open_flows(client: &Host, to: SocketAddr, count: usize, patience: Duration) -> Result<usize> {
    // More at once would not fit into the rings that XDP sends into, where a busy machine is late to empty them.
    const AT_ONCE: usize = 50;
    let sockets = client
        .ns
        .run(|| (0..count).map(|_| fresh(to)).collect::<Result<Vec<_>>>())??;
    let mut echoed = 0;
    for sockets in sockets.chunks(AT_ONCE) {
        for socket in sockets {
            // Fails where an ICMP error has come back: that flow has no echo.
            let _ = socket.send(b"hello");
        }
        let deadline = Instant::now() + patience;
        for socket in sockets {
            let left = deadline.saturating_duration_since(Instant::now());
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            echoed += usize::from(socket.recv(&mut [0; 16]).is_ok());
        }
    }
    Ok(echoed)
}

/// A socket in this thread's namespace whose port no flow has had: a port used again would continue an old flow.
pub fn fresh(to: SocketAddr) -> Result<UdpSocket> {
    // Below the ports that the kernel gives out.
    static NEXT: AtomicU16 = AtomicU16::new(2_000);
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    ensure!(port < 32_000, "out of fresh ports");
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, port)).with_context(|| format!("bind UDP port {port}"))?;
    socket.connect(to)?;
    Ok(socket)
}

/// Waits until every backend is up and the way to it is known.
pub fn wait_until_ready(agent: &Agent) -> Result<Value> {
    agent.wait_until("all backends are up, with next hops", PATIENCE, |status| {
        backends(status).all(|backend| backend["state"] == "up" && !backend["next_hop"].is_null())
    })
}

/// Waits until the ways to all backends are known, whatever their states.
pub fn wait_for_ways(agent: &Agent) -> Result<Value> {
    agent.wait_until("all next hops are known", PATIENCE, |status| {
        backends(status).all(|backend| !backend["next_hop"].is_null())
    })
}

/// Waits for a backend's state.
pub fn wait_for_state(agent: &Agent, name: &str, state: &str) -> Result<Value> {
    agent.wait_until(&format!("{name} is {state}"), PATIENCE, |status| {
        backends(status).any(|backend| backend["name"] == name && backend["state"] == state)
    })
}

/// The backends of all services.
pub fn backends(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services
        .flat_map(|service| service["backends"].as_array())
        .flatten()
}

/// The first backend of that name.
pub fn find<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    let mut backends = backends(status);
    backends
        .find(|backend| backend["name"] == name)
        .with_context(|| format!("no backend {name} in {status}"))
}

/// Packets of an outcome.
pub fn outcome(status: &Value, name: &str) -> u64 {
    let outcomes = status["outcomes"].as_array().into_iter().flatten();
    outcomes
        .filter(|one| one["name"] == name)
        .filter_map(|one| one["packets"].as_u64())
        .sum()
}

/// The lines that say that somebody should look at something, as one text.
pub fn warnings(status: &Value) -> String {
    let lines = status["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    lines.collect::<Vec<_>>().join("\n")
}

/// Polls until `done`; an error after [`PATIENCE`]. Gives the time it took.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}

/// A further interface of the balancer's host, up and plugged into a bridge of the switch.
pub fn extra_interface(lab: &Lab, device: &str, bridge: &str) -> Result<()> {
    let port = format!("x-{device}");
    let lb = lab.lb.ns.name();
    // Each interface answers for its own addresses only, or neighbours would take the one for the other.
    lab.lb.ns.sysctl(&[
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.conf.all.arp_announce", "2"),
    ])?;
    lab.switch.ip(&[
        "link", "add", &port, "type", "veth", "peer", "name", device, "netns", lb,
    ])?;
    lab.switch.ip(&["link", "set", &port, "master", bridge, "up"])?;
    lab.lb.ns.ip(&["link", "set", device, "up"])?;
    // What XDP sends into a veth arrives only where its peer polls: with a program of its own, or with GRO.
    lab.switch.exec(&["ethtool", "-K", &port, "gro", "on"])?;
    lab.lb.ns.exec(&["ethtool", "-K", device, "tx", "off"])?;
    let running = || Ok(lab.switch.ip(&["link", "show", &port])?.contains("state UP"));
    wait_until(&format!("{device} carries frames"), running).map(drop)
}

/// Ends the agent by SIGKILL or in order.
pub fn end(agent: &mut Agent, killed: bool) -> Result<()> {
    if killed {
        agent.kill9();
        return Ok(());
    }
    agent.stop()
}

/// Tells what was measured.
#[expect(clippy::print_stdout, reason = "for whoever reads a test's output")]
pub fn tell(measured: &str) {
    println!("{measured}");
}
