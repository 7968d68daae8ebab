//! What a device does to frames before anybody else sees them, by the ethtool ioctl: older than ethtool's netlink, and known to every
//! driver.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
};

use nix::libc::{SIOCETHTOOL, c_char, ifreq, ioctl};

/// From include/uapi/linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GPFLAGS: u32 = 0x27;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
/// `MLX5E_PFLAG_RX_STRIDING_RQ`, the same bit since Linux 4.17 (drivers/net/ethernet/mellanox/mlx5/core/en.h).
const STRIDING: u32 = 1 << 3;

/// A device's ways with frames. What it does not say, it does not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It takes the outer VLAN tag off.
    pub takes_tags: bool,
    /// It is a virtio-net, which in generic mode has frames of other guests of its host, with checksums that nobody has finished.
    pub virtio: bool,
    /// It is an mlx5 that puts long frames into a striding queue.
    pub mlx5_striding: bool,
}

impl Offloads {
    /// Asks the interface of this name.
    #[must_use]
    pub fn of(interface: &str) -> Self {
        let word = |command| word(interface, command).unwrap_or(0);
        let driver = driver(interface).unwrap_or([0; 32]);
        Self {
            takes_tags: word(ETHTOOL_GFLAGS) & ETH_FLAG_RXVLAN != 0,
            virtio: driver.starts_with(b"virtio_net"),
            // Private flags mean something else with every driver.
            mlx5_striding: driver.starts_with(b"mlx5_core") && word(ETHTOOL_GPFLAGS) & STRIDING != 0,
        }
    }
}

/// Has the kernel finish all checksums before the interface of this name gets a frame.
pub(crate) fn finish_checksums(interface: &str) -> io::Result<()> {
    set(interface, ETHTOOL_STXCSUM, 0)
}

/// Has the interface of this name collect received packets, and so take what XDP sends it, if it is a veth.
pub(crate) fn take_from_xdp(interface: &str) -> io::Result<()> {
    set(interface, ETHTOOL_SGRO, 1)
}

/// `struct ethtool_value`.
#[repr(C)]
struct Word {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    more: [u8; 160],
}

const _: () = assert!(size_of::<Driver>() == 196);

fn word(interface: &str, command: u32) -> io::Result<u32> {
    let mut word = Word { command, data: 0 };
    // SAFETY: the commands that come here answer with an `ethtool_value`.
    unsafe { ask(interface, &mut word) }?;
    Ok(word.data)
}

fn set(interface: &str, command: u32, data: u32) -> io::Result<()> {
    let mut word = Word { command, data };
    // SAFETY: the commands that come here read an `ethtool_value`.
    unsafe { ask(interface, &mut word) }
}

fn driver(interface: &str) -> io::Result<[u8; 32]> {
    let mut driver = Driver {
        command: ETHTOOL_GDRVINFO,
        name: [0; 32],
        more: [0; 160],
    };
    // SAFETY: the command answers with an `ethtool_drvinfo`.
    unsafe { ask(interface, &mut driver) }?;
    Ok(driver.name)
}

/// Has the kernel answer a question in its place.
///
/// # Safety
/// `question` begins with a command whose answer is a `T`, and any bytes make a `T`.
unsafe fn ask<T>(interface: &str, question: &mut T) -> io::Result<()> {
    // SAFETY: integers, an array of them and a pointer, for all of which zero is a value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut *question).cast();
    // Sockets of every kind take it.
    let socket = UnixDatagram::unbound()?;
    // SAFETY: the request is an `ifreq` whose data is `question`, of the size that the command asks for, and both outlive the call.
    let result = unsafe { ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_for_what_there_is() {
        // Loopback has offloads but takes no tags off, and no driver says more.
        word("lo", ETHTOOL_GFLAGS).unwrap();
        assert_eq!(Offloads::of("lo"), Offloads::default());
        let nobody = word("nobody", ETHTOOL_GFLAGS).unwrap_err();
        assert_eq!(nobody.raw_os_error(), Some(nix::libc::ENODEV));
        word("a-name-that-is-too-long", ETHTOOL_GFLAGS).unwrap_err();
    }
}
