//! ICMP errors about flows whose slot decides: they take the way of a packet that would answer the one they quote.

use lb_common::{
    addr::Addr,
    flow::{FlowKey, icmp},
    pick::Opens,
};

use crate::{
    express::plain::{self, Plain},
    frame::{Frame, Icmp, Ipv4, Ipv6},
    parse::{eth, ipv6},
};

/// Bytes of a transport header that every error quotes.
const QUOTED: usize = 8;

/// Whether the short way takes what has this protocol, besides [`plain::is_taken`].
#[inline(always)]
pub const fn is_taken(protocol: u8, is_v4: bool) -> bool {
    protocol == if is_v4 { icmp::V4 } else { icmp::V6 }
}

/// Reads an error of IPv4, of which `ip` is what its own header says.
#[inline(always)]
pub fn v4(frame: &Frame, ip: &Plain) -> Option<Plain> {
    const LATER: u16 = 0x1fff_u16.to_be();
    let l4 = eth::LEN + size_of::<Ipv4>();
    if !matches!(frame.header::<Icmp>(l4)?.kind[0], 3 | 11 | 12) {
        return None;
    }
    let l3 = l4 + size_of::<Icmp>();
    let quoted = frame.header::<Ipv4>(l3)?;
    if quoted.version_tos[0] != 0x45 || u16::from_ne_bytes(quoted.fragment) & LATER != 0 {
        return None;
    }
    let address = |bytes| Addr::from_v4_word(u32::from_ne_bytes(bytes));
    let addresses = (address(quoted.source), address(quoted.destination));
    answer(frame, ip, addresses, quoted.protocol[0], l3 + size_of::<Ipv4>())
}

/// Reads an error of IPv6 about a packet without extension headers.
#[inline(always)]
pub fn v6(frame: &Frame, ip: &Plain) -> Option<Plain> {
    let l4 = eth::LEN + size_of::<Ipv6>();
    if !matches!(frame.header::<Icmp>(l4)?.kind[0], 1..=4) {
        return None;
    }
    let l3 = l4 + size_of::<Icmp>();
    let quoted = frame.header::<Ipv6>(l3)?;
    if quoted.version_class[0] >> 4 != 6 {
        return None;
    }
    let addresses = (ipv6::address(&quoted.source), ipv6::address(&quoted.destination));
    answer(
        frame,
        ip,
        addresses,
        quoted.next_header[0],
        l3 + size_of::<Ipv6>(),
    )
}

/// The error as a packet of the flow whose transport header it quotes at `at`, if it goes to who sent that.
#[inline(always)]
fn answer(
    frame: &Frame,
    ip: &Plain,
    (source, destination): (Addr, Addr),
    protocol: u8,
    at: usize,
) -> Option<Plain> {
    if source != ip.flow.destination
        || !plain::is_taken(protocol)
        || at + QUOTED > eth::LEN + usize::from(ip.ip_len)
    {
        return None;
    }
    let &[s0, s1, d0, d1, ..] = frame.header::<[u8; QUOTED]>(at)?;
    Some(Plain {
        flow: FlowKey {
            source: destination,
            destination: source,
            source_port: u16::from_ne_bytes([d0, d1]),
            destination_port: u16::from_ne_bytes([s0, s1]),
            protocol: u32::from(protocol),
        },
        opens: Opens::Later,
        is_error: true,
        ..*ip
    })
}
