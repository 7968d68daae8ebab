//! What the host's settings do to packets, in words. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_common::{next_hop::Egress, service::ForwardMode};

use crate::{
    health::Who,
    netlink::Family,
    tunnel::{self, ETHERNET_MTU},
};

/// Replies where the kernel's routes are not to be used.
#[must_use]
pub fn not_forwarding(interface: &str, family: Family) -> String {
    let family = family.name();
    format!(
        "interface {interface}: net.{family}.conf.{interface}.forwarding is 0: replies leave by the way their client's packets came, not by the routes"
    )
}

/// IPv6 that the kernel forwards (`ip6_forward` looks at the setting of all) where it says that it does not (`bpf_fib_lookup` looks
/// at the interface's own), so that `unserved = "auto"` passes to it what may come back.
#[must_use]
pub fn forwarding_unseen(interface: &str) -> String {
    format!(
        "interface {interface}: net.ipv6.conf.{interface}.forwarding is 0, but of all it is 1: unserved = \"auto\" does not see that the kernel forwards, and packets may go round: set net.ipv6.conf.{interface}.forwarding to 1, or of all to 0"
    )
}

/// A backend that is reached by an interface without the program.
#[must_use]
pub fn not_attached(backend: &str, interface: &str, mode: ForwardMode) -> String {
    if mode.translates() {
        return format!(
            "{backend} is reached by interface {interface}, which xlb is not attached to: its replies are not translated"
        );
    }
    // Documentation/networking/af_xdp.rst and the drivers: queues for redirected frames come with a program.
    format!(
        "{backend} is reached by interface {interface}, which xlb is not attached to: many drivers send no frames of XDP without a program of their own"
    )
}

/// A service whose probes are not believed.
#[must_use]
pub fn in_panic(service: &str, kept: usize) -> String {
    let who = match kept {
        1 => "1 backend is kept although its checks fail".to_owned(),
        kept => format!("{kept} backends are kept although their checks fail"),
    };
    format!(
        "service {service} is in panic: too much of its pool fails at once, and {who}: 'xlb check list {service}' says what the probes find"
    )
}

/// Backends of a service that stay as they are, since a check of this type cannot be made.
#[must_use]
pub fn unprobed((service, kind, reason): (&str, &str, &str), backends: &[&str]) -> String {
    let (who, are, they_stay) = match backends {
        [one] => (format!("backend {service}/{one}"), "is", "stays as it is"),
        others => {
            let first = others.first().copied().unwrap_or_default();
            let more = others.len().saturating_sub(1);
            let who = format!("backend {service}/{first} and {more} more");
            (who, "are", "stay as they are")
        }
    };
    format!("{who} {are} not probed by {kind}, and {they_stay}: {reason}")
}

/// A backend that goes up and down.
#[must_use]
pub fn held(Who { service, backend }: &Who, left: Duration, failures: u32) -> String {
    let left = humantime::format_duration(Duration::from_secs(left.as_secs() + 1));
    format!(
        "backend {service}/{backend} is held down for {left} more: it has failed {failures} times within a short while ('xlb check history {service}/{backend}')"
    )
}

/// A way that is too narrow for what clients send, with the outer header.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<'a> {
    pub service: &'a str,
    pub mode: ForwardMode,
    /// The families of the service's VIPs.
    pub families: &'a BTreeSet<bool>,
}

impl Narrow<'_> {
    /// Says so for each kind of way there is, with the remedy.
    #[must_use]
    pub fn warnings<'b>(
        &self,
        ways: impl IntoIterator<Item = (&'b str, String, bool, Egress)>,
    ) -> Vec<String> {
        let mut narrow: BTreeMap<(String, bool, u32), Vec<&str>> = BTreeMap::new();
        if !self.mode.encapsulates() {
            return Vec::new();
        }
        for (backend, interface, backend_is_v4, way) in ways {
            let fits = tunnel::room(self.mode, backend_is_v4, way.mtu);
            if way.mtu > 0 && fits < ETHERNET_MTU {
                narrow
                    .entry((interface, backend_is_v4, way.mtu))
                    .or_default()
                    .push(backend);
            }
        }
        narrow
            .into_iter()
            .map(|(way, backends)| self.warning(&way, &backends))
            .collect()
    }

    fn warning(&self, (interface, backend_is_v4, mtu): &(String, bool, u32), backends: &[&str]) -> String {
        let fits = tunnel::room(self.mode, *backend_is_v4, *mtu);
        let needed = ETHERNET_MTU + self.mode.overhead(*backend_is_v4);
        let mss: Vec<String> = self
            .families
            .iter()
            .rev()
            .map(|&vip_is_v4| {
                let family = if vip_is_v4 { "IPv4" } else { "IPv6" };
                format!("{} for {family}", tunnel::mss(fits, vip_is_v4))
            })
            .collect();
        let (service, mss) = (self.service, mss.join(" and "));
        let to = match backends {
            [one] => (*one).to_owned(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
            [] => String::new(),
        };
        format!(
            "service {service}: the way to {to} by interface {interface} takes {mtu} bytes, {fits} without the outer header: let it take {needed}, or let the backends advertise an MSS of {mss} ('xlb backend-setup' shows how)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(mtu: u32) -> Egress {
        Egress {
            mtu,
            ..Egress::default()
        }
    }

    fn narrow(mode: ForwardMode, families: &[bool], mtus: &[u32]) -> Vec<String> {
        let names = ["b1", "b2", "b3"];
        let families = families.iter().copied().collect();
        let narrow = Narrow {
            service: "web",
            mode,
            families: &families,
        };
        let ways = names.iter().zip(mtus);
        narrow.warnings(ways.map(|(name, mtu)| (*name, "eth1".to_owned(), true, way(*mtu))))
    }

    #[test]
    fn panic_and_holds_say_where_to_look() {
        let panic = in_panic("web", 1);
        assert!(
            panic.starts_with("service web is in panic: ") && panic.contains("1 backend is kept"),
            "{panic}"
        );
        let who = Who {
            service: "web".into(),
            backend: "b1".into(),
        };
        let held = held(&who, Duration::from_millis(11_500), 5);
        assert!(
            held.starts_with("backend web/b1 is held down for 12s more: it has failed 5 times"),
            "{held}"
        );
    }

    #[test]
    fn whom_nobody_can_probe_is_named_once_for_each_reason() {
        let of = ("web", "exec", "no such file");
        assert_eq!(
            unprobed(of, &["b1"]),
            "backend web/b1 is not probed by exec, and stays as it is: no such file"
        );
        assert_eq!(
            unprobed(of, &["b1", "b2", "b3"]),
            "backend web/b1 and 2 more are not probed by exec, and stay as they are: no such file"
        );
    }

    #[test]
    fn a_narrow_way_is_named_with_what_fits() {
        let found = narrow(ForwardMode::Ipip, &[true], &[1500]);
        let expected = "service web: the way to b1 by interface eth1 takes 1500 bytes, 1480 without the outer header: let it take 1520, or let the backends advertise an MSS of 1440 for IPv4 ('xlb backend-setup' shows how)";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn ways_of_a_kind_are_one_warning() {
        let found = narrow(ForwardMode::Gue, &[true, false], &[1500, 1500, 1400]);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("to b3 by"), "{}", found[0]);
        assert!(found[1].contains("to b1 and 1 more by"), "{}", found[1]);
        assert!(
            found[1].contains("1432 for IPv4 and 1412 for IPv6"),
            "{}",
            found[1]
        );
    }

    #[test]
    fn what_fits_or_is_not_known_is_no_warning() {
        assert!(narrow(ForwardMode::Ipip, &[true], &[1520, 0, 9000]).is_empty());
        assert!(narrow(ForwardMode::Dsr, &[true], &[1500]).is_empty());
    }

    #[test]
    fn an_interface_without_the_program_harms_each_mode_in_its_way() {
        assert!(not_attached("backend web/b1", "eth1", ForwardMode::FullNat).contains("not translated"));
        assert!(not_attached("backend web/b1", "eth1", ForwardMode::Ipip).contains("many drivers"));
    }
}
