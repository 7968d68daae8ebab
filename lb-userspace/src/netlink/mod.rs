//! Routes, neighbours and links, by rtnetlink: where packets to a backend leave, kept fresh.
//!
//! [`links`] describes interfaces, [`addresses`] those of this host, [`offloads`] what devices do to frames; [`vlans`] finds the interface that frames really leave by and
//! [`decide`] turns the kernel's tables into a next hop, [`doubts`] says who else is to be kept fresh (all three pure); [`tables`] reads
//! them, and [`resolver`] does so whenever they change.

mod addresses;
mod decide;
mod doubts;
mod links;
pub(crate) mod offloads;
mod resolver;
mod tables;
mod vlans;

#[cfg(test)]
pub use links::tests as example;
pub use links::{Link, Links, XdpMode, XdpState};
pub use offloads::Offloads;
pub use resolver::{News, Resolution, Resolver};

/// A family of addresses, as the kernel's settings are named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// Whether the kernel forwards what comes in by an interface; without that, its routes are not used for replies.
#[must_use]
pub fn forwarding(interface: &str, family: Family) -> bool {
    let file = format!("/proc/sys/net/{}/conf/{interface}/forwarding", family.name());
    std::fs::read_to_string(file).is_ok_and(|value| value.trim() == "1")
}
