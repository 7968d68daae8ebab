//! What the forwarding modes of xlb ask of backends.

/// A forwarding mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Backends send everything by the balancer.
    Nat,
    /// Backends have no route to any client.
    FullNat,
    /// Backends have the VIP, keep quiet about it, and answer clients by a way past the balancer.
    Dsr,
    /// The same, and take packets out of IP tunnels: [`Host::decap`](crate::Host::decap).
    Ipip,
    /// The same, and out of GUE.
    Gue,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] = [Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    /// The name in xlb's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// Whether backends get packets to the VIP, and answer clients themselves.
    pub fn answers_directly(self) -> bool {
        match self {
            Self::Nat | Self::FullNat => false,
            Self::Dsr | Self::Ipip | Self::Gue => true,
        }
    }

    /// Whether backends get packets in tunnels.
    pub fn encapsulates(self) -> bool {
        match self {
            Self::Nat | Self::FullNat | Self::Dsr => false,
            Self::Ipip | Self::Gue => true,
        }
    }
}
