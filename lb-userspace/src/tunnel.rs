//! How much fits in a tunnel. Pure.

use lb_common::service::ForwardMode;

/// The longest packet that clients on Ethernet send.
pub const ETHERNET_MTU: u32 = 1500;

/// The longest packet of a client that fits, where `mtu` bytes get to the backend.
#[must_use]
pub fn room(mode: ForwardMode, backend_is_v4: bool, mtu: u32) -> u32 {
    mtu.saturating_sub(mode.overhead(backend_is_v4))
}

/// The TCP payload of a packet of so many bytes, without options (RFC 6691 §2): the MSS to advertise for it.
#[must_use]
pub fn mss(packet: u32, vip_is_v4: bool) -> u32 {
    let headers = if vip_is_v4 { 20 + 20 } else { 40 + 20 };
    packet.saturating_sub(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mss_leaves_room_for_both_headers() {
        let all = [(true, true), (true, false), (false, true), (false, false)];
        let found = |mode| {
            all.map(|(backend_is_v4, vip_is_v4)| mss(room(mode, backend_is_v4, ETHERNET_MTU), vip_is_v4))
        };
        assert_eq!(found(ForwardMode::Ipip), [1440, 1420, 1420, 1400]);
        assert_eq!(found(ForwardMode::Gue), [1432, 1412, 1412, 1392]);
        assert_eq!(found(ForwardMode::Dsr), [1460, 1440, 1460, 1440]);
    }
}
