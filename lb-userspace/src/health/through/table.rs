//! The ports that are lent, and what the programs are told of them.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail};
use lb_common::{
    flow::Protocol,
    limits,
    next_hop::NextHop,
    probe::{FIRST_PORT, Probe, ProbeKey},
};

use super::{
    Through,
    holds::{Held, Holds},
    ports::{Ports, Rest},
};
use crate::datapath::probing::{Probes, Put};

/// Ports tried for a probe: this host may use some itself, or another balancer on it.
const TRIES: usize = 64;

/// What a probe asks.
type Asked = (Protocol, SocketAddr);

pub(super) struct Table {
    probes: Probes,
    /// The way into the namespace.
    door: NextHop,
    holds: Holds,
    /// By what is asked: a packet is known by that and by the port.
    ports: BTreeMap<Asked, Ports<Lent>>,
    /// The port that was lent last: the first one for what has not been asked before, since it is likely to be had.
    last: u16,
}

/// What keeps a port from others.
struct Lent {
    keys: Keys,
    _held: Arc<Held>,
}

/// What a probe's packets are known by: those of its socket, and those that answer them.
type Keys = [ProbeKey; 2];

/// A port that is lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loan {
    asked: Asked,
    pub port: u16,
}

impl Loan {
    pub const fn is_v4(&self) -> bool {
        self.asked.1.is_ipv4()
    }
}

impl Table {
    pub fn new(probes: Probes, door: NextHop) -> Self {
        Self {
            probes,
            door,
            holds: Holds::default(),
            ports: BTreeMap::new(),
            last: FIRST_PORT,
        }
    }

    /// Lends a port for a probe whose entry is `entry`.
    pub fn lend(&mut self, via: &Through, entry: impl Fn(NextHop) -> Probe, now: Instant) -> Result<Loan> {
        if !matches!(via.protocol, Protocol::Tcp | Protocol::Udp) {
            bail!("there are no probes by {}", via.protocol.name());
        }
        let (asked, entry, mut hurries) = ((via.protocol, via.vip), entry(self.door), false);
        if let Some(ports) = self.ports.get_mut(&asked) {
            free(&mut self.probes, ports, now, Rest::Whole)?;
        }
        for _ in 0..TRIES {
            let turn = self.of(asked).turn();
            let port = turn.with_context(|| format!("all ports for probes of {} are lent", via.vip))?;
            let held = match self.holds.take(via.protocol, SocketAddr::new(via.source, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                held => held.with_context(|| format!("take a port of {}", via.source))?,
            };
            let keys = keys(via, port);
            match self.put(&keys, &entry)? {
                Put::Done => {
                    self.of(asked).lend(port, Lent { keys, _held: held });
                    self.last = port;
                    return Ok(Loan { asked, port });
                }
                Put::Taken => {}
                Put::Full if hurries => {
                    bail!("the table of probes is full: {} are under way", limits::PROBES)
                }
                Put::Full => {
                    hurries = true;
                    self.free(now, Rest::Least)?;
                }
            }
        }
        bail!("{TRIES} ports of {} in turn are in use", via.source)
    }

    /// Takes a port back.
    pub fn give_back(&mut self, loan: Loan, now: Instant) {
        self.of(loan.asked).give_back(loan.port, now);
    }

    /// Lets go of what has rested, whatever was asked, and of what nobody asks any more.
    pub fn let_go(&mut self, now: Instant) -> Result<()> {
        self.free(now, Rest::Whole)?;
        self.ports.retain(|_, ports| !ports.is_forgotten(now));
        self.holds.tidy();
        Ok(())
    }

    fn of(&mut self, asked: Asked) -> &mut Ports<Lent> {
        let first = self.last;
        self.ports
            .entry(asked)
            .or_insert_with(|| Ports::starting_at(first))
    }

    fn free(&mut self, now: Instant, rest: Rest) -> Result<()> {
        let mut ports = self.ports.values_mut();
        ports.try_for_each(|ports| free(&mut self.probes, ports, now, rest))
    }

    /// Tells the programs of a probe, by both of its keys or by none.
    fn put(&mut self, [asks, answers]: &Keys, probe: &Probe) -> Result<Put> {
        let put = self.probes.put(asks, probe)?;
        if put != Put::Done || asks == answers {
            return Ok(put);
        }
        let put = self.probes.put(answers, probe);
        unless_done(put, || self.probes.remove(asks))
    }
}

/// Takes back what goes with an entry, unless that has been written: a key that nobody lends would never be free again.
fn unless_done(put: Result<Put>, take_back: impl FnOnce() -> Result<()>) -> Result<Put> {
    let is_done = matches!(put, Ok(Put::Done));
    let back = if is_done { Ok(()) } else { take_back() };
    put.and_then(|put| back.map(|()| put))
}

/// Lets go of those that have rested.
fn free(probes: &mut Probes, ports: &mut Ports<Lent>, now: Instant, rest: Rest) -> Result<()> {
    while let Some((_, lent)) = ports.rested(now, rest) {
        lent.keys.iter().try_for_each(|key| probes.remove(key))?;
    }
    Ok(())
}

fn keys(via: &Through, port: u16) -> Keys {
    [via.vip, via.server].map(|peer| ProbeKey {
        peer: peer.ip().into(),
        peer_port: peer.port().to_be(),
        port: port.to_be(),
        protocol: via.protocol.number(),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn of_two_keys_the_first_stays_only_with_the_second() {
        for (put, is_taken_back) in [
            (Ok(Put::Done), false),
            (Ok(Put::Taken), true),
            (Ok(Put::Full), true),
            (Err(anyhow!("no memory")), true),
        ] {
            let (mut stays, case) = (true, format!("{put:?}"));
            let said = unless_done(put, || {
                stays = false;
                Ok(())
            });
            assert_eq!((stays, format!("{said:?}")), (!is_taken_back, case));
        }
    }
}
