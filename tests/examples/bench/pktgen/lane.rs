//! What stands between the sender and the receiver in the guest.

use std::fmt;

use lb_common::service::ForwardMode;

use crate::sys::Hook;

/// A way from pktgen to where packets are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The other end of the sender's veth drops.
    Drop(Hook),
    /// A program of a few instructions sends every packet on to the backends: what carrying it takes, whoever decides.
    Redirect(Hook),
    /// The same behind a move of the head, as a tunnel's outer header takes it.
    HeadMove,
    /// The kernel's routing.
    Routing,
    Xlb(Mode),
    Ipvs(Mode),
}

/// How packets get to their backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nat,
    /// Only the Ethernet addresses.
    Direct,
    /// In an IPv4 header of their own.
    Tunnel,
}

impl Mode {
    /// Of its service.
    pub const fn number(self) -> u32 {
        match self {
            Self::Nat => 1,
            Self::Direct => 2,
            Self::Tunnel => 3,
        }
    }

    /// The port of the VIP that is forwarded so.
    pub const fn port(self) -> u16 {
        match self {
            Self::Nat => 8001,
            Self::Direct => 8002,
            Self::Tunnel => 8003,
        }
    }

    /// What it is in xlb.
    pub const fn forward(self) -> ForwardMode {
        match self {
            Self::Nat => ForwardMode::Nat,
            Self::Direct => ForwardMode::Dsr,
            Self::Tunnel => ForwardMode::Ipip,
        }
    }

    /// What it is in IPVS, as its option of `ipvsadm` and as people call it.
    pub const fn of_ipvs(self) -> (&'static str, &'static str) {
        match self {
            Self::Nat => ("--masquerading", "nat"),
            Self::Direct => ("--gatewaying", "dr"),
            Self::Tunnel => ("--ipip", "tun"),
        }
    }
}

impl Lane {
    pub const ALL: [Self; 12] = [
        Self::Drop(Hook::Tc),
        Self::Drop(Hook::Xdp),
        Self::Redirect(Hook::Tc),
        Self::Redirect(Hook::Xdp),
        Self::HeadMove,
        Self::Routing,
        Self::Xlb(Mode::Nat),
        Self::Ipvs(Mode::Nat),
        Self::Xlb(Mode::Direct),
        Self::Ipvs(Mode::Direct),
        Self::Xlb(Mode::Tunnel),
        Self::Ipvs(Mode::Tunnel),
    ];

    /// The port that its packets go to.
    pub const fn port(self) -> u16 {
        match self {
            Self::Xlb(mode) | Self::Ipvs(mode) => mode.port(),
            Self::Drop(_) | Self::Redirect(_) | Self::HeadMove | Self::Routing => 8000,
        }
    }

    /// Where its packets are received: as they come by the cheaper way for its kind, so that neither kind pays for the other's.
    pub const fn receiver(self) -> Hook {
        match self {
            Self::Drop(hook) | Self::Redirect(hook) => hook,
            Self::HeadMove | Self::Xlb(_) => Hook::Xdp,
            Self::Routing | Self::Ipvs(_) => Hook::Tc,
        }
    }

    /// What its figure is compared with.
    pub const fn base(self) -> Self {
        match self {
            Self::Drop(_) => Self::Drop(Hook::Tc),
            Self::Redirect(hook) => Self::Drop(hook),
            Self::HeadMove => Self::Redirect(Hook::Xdp),
            Self::Routing => Self::Ipvs(Mode::Direct),
            Self::Xlb(mode) | Self::Ipvs(mode) => Self::Ipvs(mode),
        }
    }

    /// What carrying its packets takes without any decision; none where nothing is decided.
    pub const fn carrier(self) -> Option<Self> {
        match self {
            Self::Drop(_) | Self::Redirect(_) | Self::HeadMove => None,
            Self::Routing | Self::Xlb(_) | Self::Ipvs(_) => Some(Self::Redirect(self.receiver())),
        }
    }
}

/// `xlb/dsr`.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop(Hook::Tc) => f.write_str("veth/drop"),
            Self::Drop(Hook::Xdp) => f.write_str("xdp/drop"),
            Self::Redirect(Hook::Tc) => f.write_str("tc/redirect"),
            Self::Redirect(Hook::Xdp) => f.write_str("xdp/redirect"),
            Self::HeadMove => f.write_str("xdp/head-move-redirect"),
            Self::Routing => f.write_str("kernel/routing"),
            Self::Xlb(mode) => write!(f, "xlb/{}", mode.forward().name()),
            Self::Ipvs(mode) => write!(f, "ipvs/{}", mode.of_ipvs().1),
        }
    }
}
