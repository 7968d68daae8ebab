//! Backends that packets come to in an outer header.

use lb_common::service::{ForwardMode, GUE_PORT};

use super::{Script, Setup, vips};
use crate::tunnel::{self, ETHERNET_MTU};

/// A device of the kernel's that takes headers off, whoever sends them.
struct Device {
    name: &'static str,
    module: &'static str,
}

/// IPv4 in IPv4 (RFC 2003).
const TUNL0: Device = Device {
    name: "tunl0",
    module: "ipip",
};
/// IPv6 in IPv4 (RFC 4213).
const SIT0: Device = Device {
    name: "sit0",
    module: "sit",
};
/// IPv6 in IPv6, and after a change of its mode IPv4 in IPv6 (RFC 2473).
const IP6TNL0: Device = Device {
    name: "ip6tnl0",
    module: "ip6_tunnel",
};

pub fn write(script: &mut Script, setup: &Setup) {
    guard(script, setup);
    if setup.decap {
        vips::write(script, setup, &["lo"]);
        room(script, setup);
        script.gap();
        script.why(
            "Takes the outer headers off, until it is told to end: for a service manager to keep running.",
        );
        script.run(r#"exec xlb decap --interface "$DEV""#);
        return;
    }
    if setup.mode == ForwardMode::Gue {
        receive_gue(script, setup);
    }
    devices(script, setup);
    vips::write(script, setup, &devices_of_v4(setup));
    room(script, setup);
}

/// Says who may send such packets.
fn guard(script: &mut Script, setup: &Setup) {
    script.gap();
    script.why(
        "Whoever can send packets to this host in an outer header goes by the filters for the inner ones. Let only the balancer do \
         so (all of tunnel_sources, if it has them), such as in nftables:",
    );
    for v4 in [true, false].into_iter().filter(|v4| setup.has_outer(*v4)) {
        let found = setup.balancers.iter().find(|address| address.is_ipv4() == v4);
        let balancer = found.map_or_else(|| "BALANCER".to_owned(), ToString::to_string);
        let ip = if v4 { "ip" } else { "ip6" };
        let what = match setup.mode {
            ForwardMode::Gue => format!("udp dport {GUE_PORT}"),
            _ => "meta l4proto { 4, 41 }".to_owned(),
        };
        script.example(&format!(
            "nft add rule inet filter input {what} {ip} saddr != {balancer} drop"
        ));
    }
}

fn receive_gue(script: &mut Script, setup: &Setup) {
    script.gap();
    script.why(
        "GUE variant 1 (draft-ietf-intarea-gue): an IP packet right behind the UDP header, which the kernel's GUE takes since Linux \
         4.8. It goes on as if it had come without UDP, to the devices below. UDP over IPv6 may be without a checksum here \
         (RFC 6935).",
    );
    script.run("[ -d /sys/module/fou ] || modprobe fou");
    if setup.has_outer(true) {
        script.run(&format!(
            "ip fou show | grep '^port {GUE_PORT} gue' | grep -qv ' -6' || ip fou add port {GUE_PORT} gue"
        ));
    }
    if setup.has_outer(false) {
        script.run(&format!(
            "ip fou show | grep -q '^port {GUE_PORT} gue -6' || ip -6 fou add port {GUE_PORT} gue"
        ));
    }
}

fn devices(script: &mut Script, setup: &Setup) {
    script.gap();
    script.why(
        "The devices that take the outer headers off: those that come with the modules take packets from every sender ('xlb \
         backend-setup --decap' does without).",
    );
    let (v4_in, v6_in) = (setup.has_vips(true), setup.has_vips(false));
    if setup.has_outer(true) {
        if v4_in {
            up(script, &TUNL0);
        }
        if v6_in {
            up(script, &SIT0);
        }
    }
    if setup.has_outer(false) {
        up(script, &IP6TNL0);
        if v4_in {
            script.why("It takes only IPv6 unless told to take IPv4 too.");
            script.run("ip -6 tunnel change ip6tnl0 mode any");
        }
    }
    let names = devices_of_v4(setup);
    if names.is_empty() {
        return;
    }
    script.gap();
    script.why(
        "Clients are not behind these devices, which a strict rp_filter takes for forgery. The higher of all's and the device's \
         counts, so 2 (the client is somewhere) holds whatever all is; it needs an address on the device, which the VIPs are \
         (ip-sysctl; __fib_validate_source).",
    );
    for name in names {
        script.run(&format!("put ipv4/conf/{name}/rp_filter 2"));
    }
}

fn up(script: &mut Script, Device { name, module }: &Device) {
    script.run(&format!(
        "ip link show dev {name} >/dev/null 2>&1 || modprobe {module}"
    ));
    script.run(&format!("ip link set dev {name} up"));
}

/// Devices that IPv4 packets come out of.
fn devices_of_v4(setup: &Setup) -> Vec<&'static str> {
    if !setup.has_vips(true) {
        return Vec::new();
    }
    let mut names = Vec::new();
    if setup.has_outer(true) {
        names.push(TUNL0.name);
    }
    if setup.has_outer(false) {
        names.push(IP6TNL0.name);
    }
    names
}

/// Says how the outer header is made room for.
fn room(script: &mut Script, setup: &Setup) {
    // Where packets may come over both families, the longer header counts.
    let outer_is_v4 = !setup.has_outer(false);
    let overhead = setup.mode.overhead(outer_is_v4);
    let fits = tunnel::room(setup.mode, outer_is_v4, ETHERNET_MTU);
    script.gap();
    script.why(&format!(
        "The outer header takes {overhead} bytes. Either every link from the balancer to here takes {} bytes, or clients of TCP are \
         told to send less: where links take {ETHERNET_MTU}, by an MSS on the route that replies leave by ('ip route show default' \
         shows yours). Without either, clients are told packet by packet that it was too long.",
        ETHERNET_MTU + overhead
    ));
    for (v4, ip) in [(true, "ip"), (false, "ip -6")] {
        if setup.has_vips(v4) {
            let mss = tunnel::mss(fits, v4);
            script.example(&format!(
                "{ip} route change default via ROUTER dev DEV advmss {mss}"
            ));
        }
    }
}
