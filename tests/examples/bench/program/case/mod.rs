//! What is measured.

mod name;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{flow::Protocol, outcome::Outcome, service::ForwardMode};

use crate::{
    balancer::{Features, Ports, Remembered, Served},
    bases::Base,
    frame::{self, Frame, LONGEST, Message},
    sys::action,
};

/// Packets of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub subject: Subject,
    pub is_v4: bool,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A client's packets to a service.
    Client { mode: ForwardMode, kind: Kind },
    /// Packets that are not for a VIP. `translates` where services are there whose replies they could be.
    Pass { translates: bool },
    /// ICMP errors about what a service has sent.
    Error { mode: ForwardMode, message: Message },
    /// Packets that are too long for a tunnel, and are answered.
    TooBig,
    /// A client's packets to a service that has all there is, by a program that does all it can.
    All,
}

/// What the balancer knows of the packets' flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Their slots say all, or, where replies are translated, they are remembered.
    Settled,
    /// They are written down.
    Written,
    /// Nothing: each packet is the first of a flow.
    New,
    /// The same, and each flow is written down.
    NewWritten,
}

/// So many flows that hardly a packet meets one of before.
pub const FRESH: u32 = 1 << 24;
/// Backends of each service.
const BACKENDS: u32 = 64;
const PORT: u16 = 80;
const STRANGER: u8 = 30;
const MODES: [ForwardMode; 5] = [
    ForwardMode::Nat,
    ForwardMode::FullNat,
    ForwardMode::Dsr,
    ForwardMode::Ipip,
    ForwardMode::Gue,
];

impl Case {
    /// In the order of the results.
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        let mut add = |subject, protocols: &[Protocol]| {
            for &protocol in protocols {
                cases.extend([true, false].map(|is_v4| Self {
                    subject,
                    is_v4,
                    protocol,
                }));
            }
        };
        let (tcp, both) = ([Protocol::Tcp], [Protocol::Tcp, Protocol::Udp]);
        for mode in MODES {
            for kind in [Kind::Settled, Kind::New] {
                add(Subject::Client { mode, kind }, &both);
            }
        }
        for kind in [Kind::Written, Kind::NewWritten] {
            let mode = ForwardMode::Ipip;
            add(Subject::Client { mode, kind }, &tcp);
        }
        for translates in [false, true] {
            add(Subject::Pass { translates }, &both);
        }
        for mode in [ForwardMode::Ipip, ForwardMode::Nat] {
            for message in [Message::TooBig, Message::Unreachable] {
                add(Subject::Error { mode, message }, &tcp);
            }
        }
        add(Subject::TooBig, &tcp);
        add(Subject::All, &both);
        cases
    }

    /// The services of all cases, each once.
    pub fn services() -> Vec<Served> {
        let mut vips = BTreeSet::new();
        let all = Self::all().into_iter().filter_map(Self::served);
        all.filter(|served| vips.insert(served.vip)).collect()
    }

    /// So many flows, of which each packet is one at random.
    pub const fn flows(self) -> &'static [u32] {
        match self.subject {
            Subject::Client {
                kind: Kind::New | Kind::NewWritten,
                ..
            } => &[FRESH],
            Subject::Client { .. } => &[1, 1_000, 100_000, 1_000_000],
            Subject::Pass { .. } | Subject::Error { .. } | Subject::All => &[1, 100_000],
            Subject::TooBig => &[1],
        }
    }

    /// The service that takes the packets.
    pub fn served(self) -> Option<Served> {
        let (mode, flows) = match self.subject {
            Subject::Client { mode, kind } => match kind {
                Kind::Settled | Kind::New => (mode, Remembered::Settled),
                Kind::Written | Kind::NewWritten => (mode, Remembered::Written),
            },
            Subject::Error { mode, .. } => (mode, Remembered::Settled),
            Subject::TooBig | Subject::All => (ForwardMode::Ipip, Remembered::Settled),
            Subject::Pass { .. } => return None,
        };
        Some(Served {
            vip: self.vip(),
            protocol: self.protocol,
            ports: if self.subject == Subject::All {
                Ports::All
            } else {
                Ports::One(PORT)
            },
            mode,
            flows,
            backends: BACKENDS,
        })
    }

    /// Where the packets go. Services differ in their VIPs.
    pub fn vip(self) -> IpAddr {
        let host = match self.subject {
            Subject::Client { mode, kind } => {
                let is_written = matches!(kind, Kind::Written | Kind::NewWritten);
                mode.wire() + if is_written { 10 } else { 0 }
            }
            Subject::Error { mode, .. } => mode.wire(),
            Subject::TooBig => ForwardMode::Ipip.wire(),
            Subject::All => 20,
            Subject::Pass { .. } => STRANGER,
        };
        address(self.is_v4, 2 * host + u8::from(self.protocol == Protocol::Udp))
    }

    pub fn frame(self) -> Frame {
        let to = (self.vip(), PORT);
        match self.subject {
            Subject::Error { message, .. } => frame::error(to.0, to.1, message),
            Subject::TooBig => Frame {
                answered_behind: Some(self.answer().0),
                ..frame::tcp(to, frame::ACK, LONGEST)
            },
            _ if self.protocol == Protocol::Udp => frame::udp(to),
            _ if self.is_new() => frame::tcp(to, frame::SYN, 0),
            _ => frame::tcp(to, frame::ACK, 0),
        }
    }

    /// Whether nothing is known of the packets' flows.
    pub const fn is_new(self) -> bool {
        matches!(
            self.subject,
            Subject::Client {
                kind: Kind::New | Kind::NewWritten,
                ..
            }
        )
    }

    /// What opens the flows, where something else than the packets does.
    pub fn opener(self) -> Frame {
        match self.subject {
            Subject::Error { .. } => frame::tcp((self.vip(), PORT), frame::ACK, 0),
            _ => self.frame(),
        }
    }

    /// What the figures are compared with.
    pub const fn base(self) -> Base {
        match self.subject {
            Subject::Client {
                mode: ForwardMode::Dsr,
                ..
            } => Base::Send,
            Subject::Client { .. } | Subject::Error { .. } | Subject::All => Base::HeadMoveSend,
            Subject::Pass { .. } => Base::Pass,
            Subject::TooBig => {
                let (head, cut) = self.answer();
                Base::AnswerSend { head, cut }
            }
        }
    }

    /// Bytes of the headers before what an answer quotes, and of the end that it does not quote.
    const fn answer(self) -> (i32, i32) {
        // Of 576 and 1,280 bytes without Ethernet's header (RFC 1812 §4.3.2.3, RFC 4443 §2.4).
        if self.is_v4 {
            (28, 1500 + 28 - 576)
        } else {
            (48, 1500 + 48 - 1280)
        }
    }

    pub const fn features(self) -> Features {
        match self.subject {
            Subject::All => Features::All,
            _ => Features::Plain,
        }
    }

    /// Whether something is kept of each flow.
    pub const fn remembers(self) -> bool {
        match self.subject {
            Subject::Client { mode, kind } => {
                mode.translates() || matches!(kind, Kind::Written | Kind::NewWritten)
            }
            Subject::Error { mode, .. } => mode.translates(),
            Subject::All => true,
            Subject::Pass { .. } | Subject::TooBig => false,
        }
    }

    /// What becomes of the packets.
    pub const fn outcome(self) -> Outcome {
        match self.subject {
            Subject::Client { .. } | Subject::All => Outcome::Forwarded,
            Subject::Pass { .. } => Outcome::NotOurs,
            Subject::Error { .. } => Outcome::ErrorForwarded,
            Subject::TooBig => Outcome::TooBigAnswered,
        }
    }

    pub const fn action(self) -> u32 {
        match self.subject {
            Subject::Pass { .. } => action::PASS,
            _ => action::TX,
        }
    }
}

/// An address that is no VIP.
pub fn stranger(is_v4: bool) -> IpAddr {
    address(is_v4, 2 * STRANGER)
}

fn address(is_v4: bool, host: u8) -> IpAddr {
    if is_v4 {
        Ipv4Addr::new(192, 0, 2, host).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn cases_of_one_vip_are_served_alike() {
        let mut served = BTreeMap::new();
        for case in Case::all() {
            let mode = case.served().map(|served| {
                (
                    served.mode.wire(),
                    served.ports == Ports::All,
                    served.flows == Remembered::Written,
                )
            });
            let before = served.entry(case.vip()).or_insert(mode);
            assert!(*before == mode, "{case}");
        }
    }

    #[test]
    fn an_answer_quotes_as_much_as_the_standards_say() {
        let of = |is_v4| Case {
            subject: Subject::TooBig,
            is_v4,
            protocol: Protocol::Tcp,
        };
        for (case, len) in [(of(true), 576), (of(false), 1280)] {
            let (head, cut) = case.answer();
            let frame = i32::try_from(case.frame().bytes.len()).unwrap();
            assert_eq!(frame + head - cut, 14 + len);
        }
    }
}
