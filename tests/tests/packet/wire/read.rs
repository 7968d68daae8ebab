//! Reading frames: whatever does not hold is an error that says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Body, Extension, Frame, GUE_PORT, Ip, Mac, Quote, icmp, protocol, sum};

type Read<T> = Result<T, String>;

/// Reads a frame with an IP packet and verifies every checksum in it: of the IPv4 headers, of TCP, UDP and ICMP, inside tunnels,
/// and inside the packets that errors quote.
pub fn frame(bytes: &[u8]) -> Read<Frame> {
    let (to, from) = (mac(part(bytes, 0, 6)?), mac(part(bytes, 6, 6)?));
    let (mut at, mut tags) = (12, Vec::new());
    while matches!(u16_at(bytes, at)?, 0x8100 | 0x88a8 | 0x9100) {
        tags.push((u16_at(bytes, at)?, u16_at(bytes, at + 2)?));
        at += 4;
    }
    let (ip, len) = packet(bytes.get(at + 2..).unwrap_or_default())?;
    let expected = if ip.is_v4() { 0x0800 } else { 0x86dd };
    ensure(u16_at(bytes, at)? == expected, || {
        format!("EtherType {:04x}", u16_at(bytes, at).unwrap_or(0))
    })?;
    let padding = bytes[at + 2 + len..].to_vec();
    Ok(Frame {
        to,
        from,
        tags,
        ip,
        padding,
    })
}

/// Reads the packet that `bytes` begin with; gives its length, too.
pub fn packet(bytes: &[u8]) -> Read<(Ip, usize)> {
    match part(bytes, 0, 1)?[0] >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        version => Err(format!("IP version {version}")),
    }
}

/// Reads a quoted packet, if all of it is quoted. Of one that is not, the IPv4 header's checksum is verified.
pub fn packet_if_whole(bytes: &[u8]) -> Read<Option<Ip>> {
    let is_v4 = part(bytes, 0, 1)?[0] >> 4 == 4;
    let len = if is_v4 {
        usize::from(u16_at(bytes, 2)?)
    } else {
        40 + usize::from(u16_at(bytes, 4)?)
    };
    if len <= bytes.len() {
        return Ok(Some(packet(&bytes[..len])?.0));
    }
    if is_v4 {
        v4_header(bytes)?;
    }
    Ok(None)
}

fn v4_header(bytes: &[u8]) -> Read<&[u8]> {
    let header_len = usize::from(part(bytes, 0, 1)?[0] & 0xf) * 4;
    ensure(header_len >= 20, || format!("IHL of {header_len} bytes"))?;
    let header = part(bytes, 0, header_len)?;
    ensure(sum::holds(&[header]), || "IPv4 checksum".to_owned())?;
    Ok(header)
}

fn v4(bytes: &[u8]) -> Read<(Ip, usize)> {
    let header = v4_header(bytes)?;
    let total_len = usize::from(u16_at(header, 2)?);
    ensure(total_len >= header.len(), || format!("total length {total_len}"))?;
    let address = |at: usize| IpAddr::from(Ipv4Addr::from(u32_at(header, at).unwrap_or(0)));
    let flags = u16_at(header, 6)?;
    let piece = (flags << 3, flags & 0x2000 != 0);
    let body = part(bytes, header.len(), total_len - header.len())?;
    let ends = (address(12), address(16));
    let ip = Ip {
        from: ends.0,
        to: ends.1,
        tos: header[1],
        ttl: header[8],
        id: u32::from(u16_at(header, 4)?),
        dont_fragment: flags & 0x4000 != 0,
        piece,
        options: header[20..].to_vec(),
        chain: Vec::new(),
        body: read_body(header[9], body, ends, piece == (0, false))?,
    };
    Ok((ip, total_len))
}

fn v6(bytes: &[u8]) -> Read<(Ip, usize)> {
    let header = part(bytes, 0, 40)?;
    let len = usize::from(u16_at(header, 4)?);
    let mut rest = part(bytes, 40, len)?;
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap();
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (ends, first_word) = ((address(8), address(24)), u32_at(header, 0)?);
    let (mut next, mut chain, mut whole, mut later) = (header[6], Vec::new(), true, false);
    while let Some(extension_len) = extension_len(next, rest) {
        if later {
            break;
        }
        let extension = part(rest, 0, extension_len)?;
        if next == protocol::FRAGMENT {
            let place = u16_at(extension, 2)?;
            whole = place & 0xfff9 == 0;
            later = place & 0xfff8 != 0;
        }
        let kind = next;
        next = extension[0];
        chain.push(Extension {
            kind,
            rest: extension[1..].to_vec(),
        });
        rest = &rest[extension_len..];
    }
    let ip = Ip {
        from: ends.0,
        to: ends.1,
        tos: u8::try_from(first_word >> 20 & 0xff).unwrap(),
        ttl: header[7],
        id: first_word & 0xf_ffff,
        dont_fragment: false,
        piece: (0, false),
        options: Vec::new(),
        chain,
        body: read_body(next, rest, ends, whole)?,
    };
    Ok((ip, 40 + len))
}

/// Length of the extension header of this kind at the beginning of `rest`; `None` if it is no extension header.
fn extension_len(kind: u8, rest: &[u8]) -> Option<usize> {
    let units = usize::from(*rest.get(1).unwrap_or(&0));
    match kind {
        protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::ROUTING => Some((units + 1) * 8),
        protocol::AUTHENTICATION => Some((units + 2) * 4),
        protocol::FRAGMENT => Some(8),
        _ => None,
    }
}

fn read_body(number: u8, bytes: &[u8], ends: (IpAddr, IpAddr), whole: bool) -> Read<Body> {
    let over_v4 = ends.0.is_ipv4();
    match number {
        _ if !whole => Ok(raw(number, bytes)),
        protocol::TCP => tcp(bytes, ends),
        protocol::UDP => udp(bytes, ends),
        protocol::SCTP => Ok(Body::Sctp {
            from: u16_at(bytes, 0)?,
            to: u16_at(bytes, 2)?,
            payload: bytes[4..].to_vec(),
        }),
        protocol::ICMP if over_v4 => icmp_message(bytes, ends),
        protocol::ICMPV6 if !over_v4 => icmp_message(bytes, ends),
        protocol::IPIP | protocol::IPV6 => {
            let (inner, len) = packet(bytes)?;
            ensure(len == bytes.len(), || {
                format!("{} bytes behind the inner packet", bytes.len() - len)
            })?;
            let version = if number == protocol::IPIP { 4 } else { 6 };
            ensure(bytes[0] >> 4 == version, || {
                format!("IP version {} behind protocol {number}", bytes[0] >> 4)
            })?;
            Ok(Body::Inner(Box::new(inner)))
        }
        _ => Ok(raw(number, bytes)),
    }
}

fn raw(protocol: u8, bytes: &[u8]) -> Body {
    let bytes = bytes.to_vec();
    Body::Raw { protocol, bytes }
}

fn tcp(bytes: &[u8], ends: (IpAddr, IpAddr)) -> Read<Body> {
    let header_len = usize::from(part(bytes, 0, 20)?[12] >> 4) * 4;
    ensure(header_len >= 20 && header_len <= bytes.len(), || {
        format!("TCP header of {header_len} bytes")
    })?;
    let pseudo = sum::pseudo(ends.0, ends.1, protocol::TCP, bytes.len());
    ensure(sum::holds(&[&pseudo, bytes]), || "TCP checksum".to_owned())?;
    Ok(Body::Tcp {
        from: u16_at(bytes, 0)?,
        to: u16_at(bytes, 2)?,
        sequence: u32_at(bytes, 4)?,
        acknowledged: u32_at(bytes, 8)?,
        flags: bytes[13],
        window: u16_at(bytes, 14)?,
        options: bytes[20..header_len].to_vec(),
        payload: bytes[header_len..].to_vec(),
    })
}

fn udp(bytes: &[u8], ends: (IpAddr, IpAddr)) -> Read<Body> {
    let (from, to) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    ensure(usize::from(u16_at(bytes, 4)?) == bytes.len(), || {
        format!("UDP length, in {} bytes", bytes.len())
    })?;
    let checked = u16_at(bytes, 6)? != 0;
    let pseudo = sum::pseudo(ends.0, ends.1, protocol::UDP, bytes.len());
    ensure(!checked || sum::holds(&[&pseudo, bytes]), || {
        "UDP checksum".to_owned()
    })?;
    let payload = &bytes[8..];
    if to == GUE_PORT {
        let (inner, len) = packet(payload)?;
        ensure(len == payload.len(), || {
            "bytes behind the inner packet".to_owned()
        })?;
        let inner = Box::new(inner);
        return Ok(Body::Gue { from, checked, inner });
    }
    let payload = payload.to_vec();
    Ok(Body::Udp {
        from,
        to,
        checked,
        payload,
    })
}

fn icmp_message(bytes: &[u8], ends: (IpAddr, IpAddr)) -> Read<Body> {
    let pseudo = match ends.0 {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(_) => sum::pseudo(ends.0, ends.1, protocol::ICMPV6, bytes.len()),
    };
    ensure(sum::holds(&[&pseudo, bytes]), || "ICMP checksum".to_owned())?;
    let (kind, code, word) = (bytes[0], part(bytes, 1, 1)?[0], u32_at(bytes, 4)?);
    let rest = bytes[8..].to_vec();
    if !icmp::is_error(ends.0.is_ipv4(), kind) {
        return Ok(Body::Icmp {
            kind,
            code,
            word,
            payload: rest,
        });
    }
    let quote = Quote(rest);
    quote
        .whole()
        .map_err(|wrong| format!("{wrong} in a quoted packet"))?;
    Ok(Body::Error {
        kind,
        code,
        word,
        quote,
    })
}

fn part(bytes: &[u8], at: usize, len: usize) -> Read<&[u8]> {
    bytes
        .get(at..at + len)
        .ok_or_else(|| format!("ends at {} of {}", bytes.len(), at + len))
}

fn u16_at(bytes: &[u8], at: usize) -> Read<u16> {
    Ok(u16::from_be_bytes(part(bytes, at, 2)?.try_into().unwrap()))
}

fn u32_at(bytes: &[u8], at: usize) -> Read<u32> {
    Ok(u32::from_be_bytes(part(bytes, at, 4)?.try_into().unwrap()))
}

fn mac(bytes: &[u8]) -> Mac {
    bytes.try_into().unwrap()
}

fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Read<()> {
    if holds { Ok(()) } else { Err(wrong()) }
}
