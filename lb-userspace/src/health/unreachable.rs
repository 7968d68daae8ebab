//! ICMP errors about tunnels. They are for the tunnel's source, which is this host: the program passes them to the kernel, and the
//! kernel tells nobody but raw sockets. The program would have to find a backend by its address, in a table that nothing else needs; here
//! they cost no other packet anything.
//!
//! With `node.tunnel_sources` they are not heard: those addresses are not this host's. Nor in `dsr`, where backends tell the client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use lb_common::{flow::Protocol, service::GUE_PORT, sign};
use nix::{libc, unistd};
use tokio::io::{Interest, unix::AsyncFd};

/// `ICMP_FILTER` and `SOL_RAW` (include/uapi/linux/icmp.h, include/linux/socket.h), `ICMP6_FILTER` (include/uapi/linux/icmpv6.h).
const V4_FILTER: (libc::c_int, libc::c_int) = (255, 1);
const V6_FILTER: (libc::c_int, libc::c_int) = (libc::IPPROTO_ICMPV6, 1);
/// A set bit is a type that is not heard: all but destination unreachable.
const V4_TYPES: [u32; 1] = [!(1 << 3)];
const V6_TYPES: [u32; 8] = [!(1 << 1), !0, !0, !0, !0, !0, !0, !0];

/// IPv4 and IPv6 in IP (RFC 2003, RFC 4213).
const IN_IP: [u8; 2] = [4, 41];
const ICMP_HEADER: usize = 8;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// As much as an error needs to quote: IP header with options, ICMP header, and the quoted headers.
const ROOM: usize = 256;

/// Hears errors about tunnels.
#[derive(Debug)]
pub struct Listener {
    v4: AsyncFd<OwnedFd>,
    v6: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Opens the sockets. Must be called in a runtime.
    ///
    /// # Errors
    /// When this process may not have raw sockets.
    pub fn open() -> Result<Self> {
        let v4 = socket(libc::AF_INET, libc::IPPROTO_ICMP, V4_FILTER, &V4_TYPES);
        let v6 = socket(libc::AF_INET6, libc::IPPROTO_ICMPV6, V6_FILTER, &V6_TYPES);
        let watch = |socket: io::Result<OwnedFd>| {
            let socket = socket?;
            // SAFETY: the descriptor is the socket's own, which the `AsyncFd` owns.
            unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
        };
        Ok(Self {
            v4: watch(v4).context("open a raw socket for ICMP: needs CAP_NET_RAW")?,
            v6: watch(v6).context("open a raw socket for ICMPv6: needs CAP_NET_RAW")?,
        })
    }

    /// The address of the next backend that a tunnel does not reach. Anybody can send such an error: it is a reason to look, and the
    /// address need not be a backend's.
    ///
    /// # Errors
    /// When the sockets cannot be read any more.
    pub async fn next(&self) -> Result<IpAddr> {
        loop {
            let (mut v4, mut v6) = ([0; ROOM], [0; ROOM]);
            let found = tokio::select! {
                len = read(&self.v4, &mut v4) => {
                    let len = len.context("read ICMP errors")?;
                    v4.get(..len).and_then(of_v4)
                }
                len = read(&self.v6, &mut v6) => {
                    let len = len.context("read ICMPv6 errors")?;
                    v6.get(..len).and_then(of_v6)
                }
            };
            if let Some(address) = found {
                return Ok(address);
            }
        }
    }
}

/// Reads one message, or as much of it as there is room for.
async fn read(socket: &AsyncFd<OwnedFd>, room: &mut [u8; ROOM]) -> io::Result<usize> {
    let read = |socket: &OwnedFd| unistd::read(socket, room.as_mut_slice()).map_err(io::Error::from);
    socket.async_io(Interest::READABLE, read).await
}

/// A raw socket that hears some types.
fn socket(
    family: libc::c_int,
    protocol: libc::c_int,
    (level, name): (libc::c_int, libc::c_int),
    types: &[u32],
) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no memory of ours.
    let number = unsafe { libc::socket(family, kind, protocol) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let len = libc::socklen_t::try_from(size_of_val(types)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads so many bytes of `types`, which is borrowed for longer.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, types.as_ptr().cast(), len) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// The destination of the tunnel that an ICMP error is about, as a raw socket hands it over: with its IP header.
fn of_v4(packet: &[u8]) -> Option<IpAddr> {
    let icmp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    let quoted = about(icmp, true)?;
    let header = quoted.first_chunk::<V4_HEADER>()?;
    let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let payload = quoted.get(usize::from(header[0] & 0xf) * 4..)?;
    if header[0] >> 4 != 4 || is_later || !is_tunnel(header[9], payload) {
        return None;
    }
    let destination = [header[16], header[17], header[18], header[19]];
    Some(Ipv4Addr::from(destination).into())
}

/// The same of ICMPv6, which comes without its IP header.
fn of_v6(icmp: &[u8]) -> Option<IpAddr> {
    let quoted = about(icmp, false)?;
    let header = quoted.first_chunk::<V6_HEADER>()?;
    let payload = quoted.get(V6_HEADER..)?;
    if header[0] >> 4 != 6 || !is_tunnel(header[6], payload) {
        return None;
    }
    let destination: [u8; 16] = header.last_chunk().copied()?;
    Some(Ipv6Addr::from(destination).into())
}

/// What an error quotes, if it says that a packet has not reached its listener.
fn about(icmp: &[u8], is_v4: bool) -> Option<&[u8]> {
    let &[kind, code, ..] = icmp else {
        return None;
    };
    if !sign::is_unreachable(is_v4, kind, code) {
        return None;
    }
    icmp.get(ICMP_HEADER..)
}

/// Whether a packet of this protocol is one that the program makes: probes and what else this host sends tell their sender.
fn is_tunnel(protocol: u8, payload: &[u8]) -> bool {
    let is_gue = protocol == Protocol::Udp.wire() && payload.get(2..4) == Some(&GUE_PORT.to_be_bytes()[..]);
    is_gue || IN_IP.contains(&protocol)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use lb_common::flow::icmp;

    use super::*;

    const BACKEND: [u8; 4] = [10, 0, 0, 2];

    /// An error about an IPv4 packet of a protocol.
    fn v4((kind, code): (u8, u8), options: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = |words: u8, protocol: u8, to: [u8; 4]| {
            let mut header = vec![0x40 | words, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1];
            header.extend(to);
            header.resize(usize::from(words) * 4, 1);
            header
        };
        let outer = header(5 + options, icmp::V4, [10, 0, 0, 1]);
        let icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        [outer, icmp, header(5, protocol, BACKEND), payload.to_vec()].concat()
    }

    fn v6(kind: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0x60, 0, 0, 0, 0, 0, protocol, 64]);
        bytes.extend([0xfd; 16]);
        bytes.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(payload);
        bytes
    }

    const GUE: [u8; 8] = [0xc0, 0, 0x17, 0xc0, 0, 8, 0, 0];
    const DNS: [u8; 8] = [0xc0, 0, 0, 53, 0, 8, 0, 0];

    #[test]
    fn errors_about_tunnels_name_the_backend() {
        let backend = Some(IpAddr::from(BACKEND));
        for code in [0, 1, 2, 3, 13] {
            for options in [0, 10] {
                assert_eq!(of_v4(&v4((3, code), options, 4, &[])), backend, "{code}");
                assert_eq!(of_v4(&v4((3, code), options, 41, &[])), backend, "{code}");
                assert_eq!(of_v4(&v4((3, code), options, 17, &GUE)), backend, "{code}");
            }
        }
        let backend = Some("2001:db8::2".parse().unwrap());
        for protocol in [4, 41] {
            assert_eq!(of_v6(&v6(1, protocol, &[])), backend);
        }
        assert_eq!(of_v6(&v6(1, 17, &GUE)), backend);
    }

    #[test]
    fn others_name_nobody() {
        for (kind, protocol, payload) in [
            ((3, 4), 4, &[][..]),
            ((11, 0), 4, &[]),
            ((3, 1), 6, &[0; 8]),
            ((3, 3), 17, &DNS),
            ((3, 3), 17, &GUE[..3]),
        ] {
            assert_eq!(
                of_v4(&v4(kind, 0, protocol, payload)),
                None,
                "{kind:?} {protocol}"
            );
        }
        let mut later = v4((3, 1), 0, 4, &[]);
        later[20 + 8 + 7] = 1;
        assert_eq!(of_v4(&later), None, "a later fragment");
        assert_eq!(of_v6(&v6(2, 4, &[])), None);
        assert_eq!(of_v6(&v6(1, 6, &[0; 8])), None);
        assert_eq!(of_v6(&v6(1, 17, &DNS)), None);
    }

    #[test]
    fn what_ends_early_names_nobody_and_panics_nobody() {
        let (whole, whole_v6) = (v4((3, 3), 1, 17, &GUE), v6(1, 17, &GUE));
        for len in 0..whole.len() - 4 {
            assert_eq!(of_v4(&whole[..len]), None, "{len}");
        }
        for len in 0..whole_v6.len() - 4 {
            assert_eq!(of_v6(&whole_v6[..len]), None, "{len}");
        }
    }

    /// A datagram to GUE's port of this host, where nobody listens: the kernel itself answers with an error.
    #[tokio::test]
    async fn errors_of_the_kernel_are_heard() {
        let listener = match Listener::open() {
            Ok(listener) => listener,
            Err(error) => {
                println!("skipped: {error:#}");
                return;
            }
        };
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let Ok(sender) = UdpSocket::bind((address, 0)) else {
                println!("skipped: no {address} here");
                continue;
            };
            // Errors have a rate.
            let heard = async {
                loop {
                    drop(sender.send_to(b"?", (address, GUE_PORT)));
                    let next = tokio::time::timeout(Duration::from_millis(200), listener.next());
                    if let Ok(found) = next.await
                        && found.unwrap() == address
                    {
                        break;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(30), heard)
                .await
                .unwrap_or_else(|_| panic!("no error from {address} was heard"));
        }
    }
}
