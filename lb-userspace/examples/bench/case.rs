//! What is measured.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{outcome::Outcome, service::ForwardMode};

use crate::{
    frame::{self, Frame},
    sys::action,
};

/// Packets of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub is_v4: bool,
    /// None for packets that are not for a VIP.
    pub mode: Option<ForwardMode>,
}

/// Port of every service.
pub const PORT: u16 = 80;

impl Case {
    pub const ALL: [Self; 12] = [
        Self::new(true, Some(ForwardMode::Nat)),
        Self::new(false, Some(ForwardMode::Nat)),
        Self::new(true, Some(ForwardMode::FullNat)),
        Self::new(false, Some(ForwardMode::FullNat)),
        Self::new(true, Some(ForwardMode::Dsr)),
        Self::new(false, Some(ForwardMode::Dsr)),
        Self::new(true, Some(ForwardMode::Ipip)),
        Self::new(false, Some(ForwardMode::Ipip)),
        Self::new(true, Some(ForwardMode::Gue)),
        Self::new(false, Some(ForwardMode::Gue)),
        Self::new(true, None),
        Self::new(false, None),
    ];

    const fn new(is_v4: bool, mode: Option<ForwardMode>) -> Self {
        Self { is_v4, mode }
    }

    pub const fn has_flows(self) -> bool {
        self.mode.is_some()
    }

    /// Number of the service that takes the packets.
    pub const fn service(self) -> Option<u8> {
        match self.mode {
            Some(mode) => Some(2 * mode.wire() + if self.is_v4 { 0 } else { 1 }),
            None => None,
        }
    }

    /// Where the packets go.
    pub fn vip(self) -> IpAddr {
        let host = self.service().unwrap_or(u8::MAX);
        if self.is_v4 {
            Ipv4Addr::new(192, 0, 2, host).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into()
        }
    }

    pub fn frame(self) -> Frame {
        frame::tcp(self.vip(), PORT)
    }

    /// What becomes of the packets.
    pub const fn outcome(self) -> Outcome {
        match self.mode {
            Some(_) => Outcome::Forwarded,
            None => Outcome::NotOurs,
        }
    }

    pub const fn action(self) -> u32 {
        match self.mode {
            Some(_) => action::TX,
            None => action::PASS,
        }
    }
}

/// `ipip/tcp4/settled`: of a flow that is known.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_v4 { 4 } else { 6 };
        match self.mode {
            Some(mode) => write!(f, "{}/tcp{family}/settled", mode.name()),
            None => write!(f, "pass/tcp{family}"),
        }
    }
}
