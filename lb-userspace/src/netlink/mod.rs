//! Routes, neighbours and links, by rtnetlink: where packets to a backend leave, kept fresh.
//!
//! [`links`] describes interfaces, [`decide`] turns the kernel's tables into a next hop (pure), [`tables`] reads them, and
//! [`resolver`] does so whenever they change.

mod decide;
mod links;
mod resolver;
mod tables;

pub use links::{Link, Links, XdpMode, XdpState};
pub use resolver::{Resolution, Resolver};

/// Whether the kernel forwards what comes in by an interface; without that, its routes are not used for replies.
#[must_use]
pub fn forwarding(interface: &str) -> bool {
    let file = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
    std::fs::read_to_string(file).is_ok_and(|value| value.trim() == "1")
}
