//! Backends that the balancer translates for: only the way of their replies matters.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::{Script, Setup};

pub fn write(script: &mut Script, setup: &Setup) -> Result<()> {
    script.gap();
    script.why(
        "Replies have to come back through the balancer, which gives them the VIP as source again: it is this host's router. \
         Clients on networks of this host itself would be answered past it: they cannot use the service, or it needs mode full-nat.",
    );
    for v4 in [true, false] {
        if setup.has_vips(v4) {
            default_route(script, balancer(setup, v4)?);
        }
    }
    Ok(())
}

pub fn write_full(script: &mut Script) {
    script.gap();
    script.why(
        "Nothing to do: packets come from an address of the balancer, and replies go back there by this host's own routes. The \
         server sees that address instead of the client's.",
    );
}

fn balancer(setup: &Setup, v4: bool) -> Result<IpAddr> {
    let found = setup.balancers.iter().find(|address| address.is_ipv4() == v4);
    found.copied().with_context(|| {
        let (family, like) = if v4 {
            ("IPv4", "10.0.0.1")
        } else {
            ("IPv6", "2001:db8::1")
        };
        format!(
            "in mode nat replies go through the balancer: name its {family} address on the backends' network, like --balancer {like}"
        )
    })
}

fn default_route(script: &mut Script, balancer: IpAddr) {
    if balancer.is_ipv4() {
        script.run(&format!(r#"ip route replace default via {balancer} dev "$DEV""#));
        script.why(
            "No ICMP redirect may lead replies past it. Where a host does not forward, one of the two that says yes is enough \
             (ip-sysctl).",
        );
        script.run("put ipv4/conf/all/accept_redirects 0");
        script.run(r#"put "ipv4/conf/$DEV/accept_redirects" 0"#);
    } else {
        script.why("Metric 1: before routes of router advertisements, whose metric is 1024.");
        script.run(&format!(
            r#"ip -6 route replace default via {balancer} dev "$DEV" metric 1"#
        ));
        script.run(r#"put "ipv6/conf/$DEV/accept_redirects" 0"#);
    }
}
