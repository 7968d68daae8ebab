//! Echo requests, and what of the ICMP that comes in is about one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::checksum::fold;

use super::super::ProbeError;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub id: u16,
    pub sequence: u16,
    /// Sent along, and back.
    pub token: [u8; 16],
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Reply(Echo),
    /// A request to `target` cannot get there.
    Error {
        target: IpAddr,
        id: u16,
        sequence: u16,
        error: ProbeError,
    },
}

const V4: Types = Types {
    request: 8,
    reply: 0,
    unreachable: 3,
    exceeded: 11,
};
const V6: Types = Types {
    request: 128,
    reply: 129,
    unreachable: 1,
    exceeded: 3,
};

/// What both families have, under other numbers (RFC 792, RFC 4443).
pub struct Types {
    request: u8,
    pub reply: u8,
    pub unreachable: u8,
    pub exceeded: u8,
}

pub const fn types(is_v4: bool) -> Types {
    if is_v4 { V4 } else { V6 }
}

impl Echo {
    /// The request as it is sent. The kernel adds the checksum of ICMPv6, which covers addresses that it chooses.
    pub fn request(&self, is_v4: bool) -> [u8; 24] {
        let mut packet = [0; 24];
        packet[0] = types(is_v4).request;
        packet[4..6].copy_from_slice(&self.id.to_be_bytes());
        packet[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        packet[8..].copy_from_slice(&self.token);
        if is_v4 {
            let sum = !sum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }
}

/// Reads what a raw socket gives: an IPv4 packet, but of an IPv6 packet what is behind the header (raw(7), RFC 3542 §3).
pub fn read(packet: &[u8], from: IpAddr) -> Option<Heard> {
    let is_v4 = from.is_ipv4();
    // The kernel has not looked at the checksum of ICMP yet when it gives a raw socket its copy; at that of ICMPv6 it has.
    let icmp = if is_v4 {
        behind_ipv4(packet).filter(|icmp| sum(icmp) == 0xffff)?
    } else {
        packet
    };
    let types = types(is_v4);
    let (&[kind, code], rest) = icmp.split_first_chunk::<2>()?;
    if kind == types.reply {
        let (id, sequence) = ids(icmp)?;
        let token = icmp.get(8..)?.try_into().ok()?;
        return Some(Heard::Reply(Echo { id, sequence, token }));
    }
    let error = error(&types, kind, code, from)?;
    // Checksum and a word without a use, then the packet in question as far as it fits.
    let quoted = rest.get(6..)?;
    let (target, request) = if is_v4 {
        let target: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
        (Ipv4Addr::from(target).into(), behind_ipv4(quoted)?)
    } else {
        let (header, behind) = quoted.split_first_chunk::<40>()?;
        let target: [u8; 16] = header[24..].try_into().ok()?;
        let is_icmp = header[0] >> 4 == 6 && header[6] == 58;
        (Ipv6Addr::from(target).into(), is_icmp.then_some(behind)?)
    };
    let (id, sequence) = ids(request).filter(|_| request[0] == types.request)?;
    Some(Heard::Error {
        target,
        id,
        sequence,
        error,
    })
}

fn error(types: &Types, kind: u8, code: u8, from: IpAddr) -> Option<ProbeError> {
    if kind == types.exceeded {
        return Some(ProbeError::silence(format!("time exceeded, says {from}")));
    }
    if kind != types.unreachable {
        return None;
    }
    let what = match (from.is_ipv4(), code) {
        (true, 0 | 6) => "network unreachable",
        (false, 0) => "no route to it",
        (true, 1 | 7) | (false, 3) => "host unreachable",
        (true, 2) | (false, 4) => {
            return Some(ProbeError::refusal(format!("protocol unreachable, says {from}")));
        }
        (true, 9 | 10 | 13) | (false, 1 | 5) => "prohibited",
        (_, code) => {
            return Some(ProbeError::silence(format!(
                "destination unreachable (code {code}), says {from}"
            )));
        }
    };
    Some(ProbeError::silence(format!("{what}, says {from}")))
}

/// What is behind the header of an IPv4 packet with ICMP, if it is not a later fragment of one.
fn behind_ipv4(packet: &[u8]) -> Option<&[u8]> {
    let fixed = packet.first_chunk::<20>()?;
    let header = usize::from(fixed[0] & 0xf) * 4;
    let is_icmp = fixed[0] >> 4 == 4 && header >= fixed.len() && fixed[9] == 1;
    let is_first = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff == 0;
    packet.get(header..).filter(|_| is_icmp && is_first)
}

fn ids(echo: &[u8]) -> Option<(u16, u16)> {
    let ids: [u8; 4] = echo.get(4..8)?.try_into().ok()?;
    let [a, b, c, d] = ids;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// The sum of RFC 1071. Over what has a right checksum it is all ones.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    fold(words.sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ECHO: Echo = Echo {
        id: 0x1234,
        sequence: 7,
        token: *b"sixteen bytes---",
    };

    fn ipv4(icmp: &[u8], to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9];
        packet.extend(to);
        packet.extend(icmp);
        packet
    }

    fn ipv6(icmp: &[u8], to: Ipv6Addr) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 58, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(to.octets());
        packet.extend(icmp);
        packet
    }

    /// An ICMP message of this type and code, with its checksum.
    fn message(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest);
        let sum = !sum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    fn v4() -> IpAddr {
        [192, 0, 2, 1].into()
    }

    #[test]
    fn a_request_has_the_form_of_the_rfc() {
        let request = ECHO.request(true);
        assert_eq!(request[..2], [8, 0]);
        assert_eq!(request[4..8], [0x12, 0x34, 0, 7]);
        assert_eq!(sum(&request), 0xffff);
        assert_eq!(ECHO.request(false)[..8], [128, 0, 0, 0, 0x12, 0x34, 0, 7]);
    }

    #[test]
    fn a_reply_is_read_if_its_checksum_is_right() {
        let reply = message(0, 0, &ECHO.request(true)[4..]);
        let mut packet = ipv4(&reply, [192, 0, 2, 9]);
        assert_eq!(read(&packet, v4()), Some(Heard::Reply(ECHO)));
        packet[40] ^= 1;
        assert_eq!(read(&packet, v4()), None);
        let reply = message(129, 0, &ECHO.request(false)[4..]);
        assert_eq!(read(&reply, Ipv6Addr::LOCALHOST.into()), Some(Heard::Reply(ECHO)));
        // A request is none, nor is a shorter or longer reply ours.
        assert_eq!(read(&ipv4(&ECHO.request(true), [192, 0, 2, 9]), v4()), None);
        for length in [23, 25] {
            let mut rest = ECHO.request(true)[4..].to_vec();
            rest.resize(length - 4, 0);
            assert_eq!(read(&ipv4(&message(0, 0, &rest), [192, 0, 2, 9]), v4()), None);
        }
    }

    #[test]
    fn errors_are_about_the_request_that_they_quote() {
        for (kind, code, said, is_refusal) in [
            (3, 1, "host unreachable, says 192.0.2.1", false),
            (3, 2, "protocol unreachable, says 192.0.2.1", true),
            (3, 13, "prohibited, says 192.0.2.1", false),
            (3, 4, "destination unreachable (code 4), says 192.0.2.1", false),
            (11, 0, "time exceeded, says 192.0.2.1", false),
        ] {
            // Routers quote eight bytes behind the header at least.
            let quoted = ipv4(&ECHO.request(true)[..8], [198, 51, 100, 1]);
            let icmp = message(kind, code, &[&[0; 4], &*quoted].concat());
            let Some(Heard::Error {
                target,
                id,
                sequence,
                error,
            }) = read(&ipv4(&icmp, [192, 0, 2, 9]), v4())
            else {
                panic!("{said}: not read");
            };
            assert_eq!((target, id, sequence), ([198, 51, 100, 1].into(), 0x1234, 7));
            assert_eq!(error.to_string(), said);
            assert_eq!(error.is_refusal(), is_refusal);
        }
        let far: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let quoted = ipv6(&ECHO.request(false), far);
        let heard = read(
            &message(1, 0, &[&[0; 4], &*quoted].concat()),
            Ipv6Addr::LOCALHOST.into(),
        );
        let Some(Heard::Error {
            target, id, error, ..
        }) = heard
        else {
            panic!("not read: {heard:?}");
        };
        assert_eq!((target, id), (far.into(), 0x1234));
        assert_eq!(error.to_string(), "no route to it, says ::1");
        // About a datagram, and about a later fragment.
        let mut other = ipv4(&ECHO.request(true)[..8], [198, 51, 100, 1]);
        other[9] = 17;
        assert_eq!(
            read(&ipv4(&message(3, 1, &[&[0; 4], &*other].concat()), [1; 4]), v4()),
            None
        );
        other[9] = 1;
        other[7] = 1;
        assert_eq!(
            read(&ipv4(&message(3, 1, &[&[0; 4], &*other].concat()), [1; 4]), v4()),
            None
        );
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet: Vec<u8>, kind in 0..12_u8, is_v4: bool) {
            let from = if is_v4 { v4() } else { Ipv6Addr::LOCALHOST.into() };
            read(&packet, from);
            let icmp = message(kind, 0, &packet);
            read(&if is_v4 { ipv4(&icmp, [1; 4]) } else { icmp }, from);
            let icmp = message(3, 0, &[&[0; 4], &*ipv4(&packet, [1; 4])].concat());
            read(&ipv4(&icmp, [1; 4]), from);
        }
    }
}
