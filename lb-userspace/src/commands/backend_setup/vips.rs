//! Backends that have the VIPs themselves and answer clients directly.

use super::{Script, Setup};
use crate::config::Network;

/// Gives the host the VIPs: IPv4 addresses on each of `devices`, all else on `lo`.
pub fn write(script: &mut Script, setup: &Setup, devices: &[&str]) {
    let of_family = |v4: bool| {
        setup
            .vips
            .iter()
            .copied()
            .filter(move |vip| vip.base().is_ipv4() == v4)
    };
    script.gap();
    script.why("The server listens on the VIP and its port, or on all addresses; ports are not translated in this mode.");
    if setup.has_vips(true) {
        silence(script);
        for device in devices {
            of_family(true).for_each(|vip| ipv4(script, vip, device));
        }
    }
    if setup.has_vips(false) {
        script.gap();
        script.why(
            "IPv6 answers solicitations only for addresses of the interface that is asked (ndisc_recv_ns), so those on lo need no \
             setting. No duplicates are looked for (nodad): every backend has them. And connections of this host's own are not made \
             from them (preferred_lft 0; RFC 6724 rule 3).",
        );
        of_family(false).for_each(|vip| ipv6(script, vip));
    }
}

fn silence(script: &mut Script) {
    script.why(
        "The network must not hear that this host has the VIPs: ARP is answered only for addresses of the interface that is asked \
         (arp_ignore 1), and asks in the name of one of those (arp_announce 2; ip-sysctl). Before the addresses, so that it never \
         does.",
    );
    script.run(r#"put "ipv4/conf/$DEV/arp_ignore" 1"#);
    script.run(r#"put "ipv4/conf/$DEV/arp_announce" 2"#);
}

fn ipv4(script: &mut Script, vip: Network, device: &str) {
    if vip.address().is_none() {
        script.why(
            "A network is taken as a whole by a local route; servers may be bound to each of its addresses.",
        );
        script.run(&format!("ip route replace local {vip} dev lo"));
        if device == "lo" {
            return;
        }
        script.why("The device needs an address of its own for rp_filter 2, whichever.");
    }
    script.run(&format!("ip address replace {}/32 dev {device}", vip.base()));
}

fn ipv6(script: &mut Script, vip: Network) {
    if let Some(address) = vip.address() {
        script.run(&format!(
            "ip -6 address replace {address}/128 dev lo nodad preferred_lft 0"
        ));
        return;
    }
    script.why(
        "A network is taken as a whole by a local route. Servers listen on all addresses, or may be bound to one of it after \
         'sysctl -w net.ipv6.ip_nonlocal_bind=1'.",
    );
    script.run(&format!("ip -6 route replace local {vip} dev lo"));
}
