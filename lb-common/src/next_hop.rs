//! Where a frame leaves, as the agent resolved it from routes and neighbours.

use crate::{addr::Addr, map_struct};

/// The VLAN tags that fit: IEEE 802.1Q, and 802.1ad around it.
pub const TAGS: usize = 2;

map_struct! {
    /// The VLAN tags of a frame, outermost first. Each is TPID and TCI as the four bytes stand in the frame.
    pub struct Vlans {
        /// How many; [`Vlans::KEEP`] for those that a frame comes with.
        pub count: u32,
        pub _pad: u32,
        pub tags: [u32; TAGS],
    }
}

map_struct! {
    /// The interface a frame leaves by, and the Ethernet addresses and tags it leaves with.
    ///
    /// Each address begins a word: it is copied as four bytes and two, which must be aligned on the BPF stack.
    pub struct NextHop {
        /// The neighbour's address.
        pub destination_mac: [u8; 6],
        pub _pad: u16,
        /// Our own on that interface.
        pub source_mac: [u8; 6],
        pub _pad2: u16,
        /// Interface index; 0 where there is none.
        pub ifindex: u32,
        pub _pad3: u32,
        pub vlans: Vlans,
    }
}

map_struct! {
    /// Entry of `NEXT_HOPS`: the way to a backend.
    pub struct Egress {
        pub hop: NextHop,
        /// Longest IP packet that the way takes; 0 where that is not known.
        pub mtu: u32,
        pub _pad: u32,
        /// Our own address on the way: the source of tunnels and of translated flows. None where the host has none.
        pub source: Addr,
    }
}

map_struct! {
    /// Entry of `VLAN_DEVICES`, by the index of a VLAN device: the interface below it that frames really leave by. XDP cannot
    /// send to a VLAN device.
    pub struct VlanDevice {
        pub ifindex: u32,
        pub _pad: u32,
        pub vlans: Vlans,
    }
}

impl NextHop {
    #[must_use]
    #[inline(always)]
    pub const fn new(ifindex: u32, destination_mac: [u8; 6], source_mac: [u8; 6], vlans: Vlans) -> Self {
        Self {
            destination_mac,
            _pad: 0,
            source_mac,
            _pad2: 0,
            ifindex,
            _pad3: 0,
            vlans,
        }
    }
}

impl Vlans {
    /// As many tags as the frame has, and the same.
    pub const KEEP: u32 = u32::MAX;

    /// The tags of the frame, whatever they are.
    #[must_use]
    #[inline(always)]
    pub const fn keep() -> Self {
        Self {
            count: Self::KEEP,
            _pad: 0,
            tags: [0; TAGS],
        }
    }

    /// No tags.
    #[must_use]
    #[inline(always)]
    pub const fn none() -> Self {
        Self {
            count: 0,
            _pad: 0,
            tags: [0; TAGS],
        }
    }

    /// These tags instead of the frame's, outermost first, each TPID and TCI. What does not fit is left out.
    #[must_use]
    pub fn of(tags: &[(u16, u16)]) -> Self {
        let mut vlans = Self::default();
        for (place, &(protocol, control)) in vlans.tags.iter_mut().zip(tags) {
            *place = (u32::from(protocol) << 16 | u32::from(control)).to_be();
            vlans.count += 1;
        }
        vlans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_bytes_of_the_frame() {
        let vlans = Vlans::of(&[(0x88a8, 0x0064), (0x8100, 0x600a)]);
        assert_eq!(vlans.count, 2);
        assert_eq!(vlans.tags[0].to_ne_bytes(), [0x88, 0xa8, 0, 0x64]);
        assert_eq!(vlans.tags[1].to_ne_bytes(), [0x81, 0, 0x60, 0x0a]);
        assert_eq!(Vlans::of(&[]), Vlans::default());
    }
}
