//! What the configured interfaces ask of the program, before it is loaded. Pure.

use crate::{
    config::{AttachMode, Interface},
    netlink::Link,
};

/// The longest MTU whose frames fit one buffer with every driver. i40e and ice have the least: 3072 bytes of frame, of which 26
/// are Ethernet header, two VLAN tags and checksum (`I40E_PACKET_HDR_PAD`). With ena and mlx5 it is 3498, with virtio and veth
/// 3506: a page of 4096 without 256 of headroom, 320 of `skb_shared_info` and the Ethernet header.
pub const ONE_BUFFER: u32 = 3046;
/// The first kernel that takes programs for frames of several buffers.
const SINCE: (u32, u32) = (5, 18);
/// Kinds of interfaces that senders on the same host reach without a device that would finish their checksums.
const UNFINISHED: &[&str] = &["veth", "tun", "netkit", "bridge", "macvlan", "macvtap"];

/// Which of the two programs the interfaces need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Every frame is in one buffer.
    OneBuffer,
    /// This interface's may be longer.
    Several { interface: String, mtu: u32 },
    /// So may this one's, but the kernel is too old for it.
    TooLong { interface: String, mtu: u32 },
}

impl Frames {
    /// Whether the program for frames of several buffers is to be loaded.
    #[must_use]
    pub const fn multi_buffer(&self) -> bool {
        matches!(self, Self::Several { .. })
    }

    /// Says what was decided, where it is not the usual thing.
    pub fn log(&self) {
        match self {
            Self::OneBuffer => {}
            Self::Several { interface, mtu } => {
                log::info!(
                    "interface {interface}: MTU {mtu}: the program for frames of several buffers is loaded"
                );
            }
            Self::TooLong { interface, mtu } => {
                let (major, minor) = SINCE;
                log::warn!(
                    "interface {interface}: MTU {mtu}: frames of several buffers need Linux {major}.{minor}, and its driver may refuse the program: lower its MTU to {ONE_BUFFER}"
                );
            }
        }
    }
}

/// Which program the interfaces need on a kernel of this version. A program for several buffers is never refused where one would
/// do, but costs more.
#[must_use]
pub fn frames(links: &[Link], interfaces: &[Interface], kernel: (u32, u32)) -> Frames {
    // In generic mode the kernel makes frames one buffer first.
    let native = interfaces
        .iter()
        .filter(|interface| interface.mode != AttachMode::Generic);
    let longest = native
        .filter_map(|interface| links.iter().find(|link| link.name == interface.name))
        .max_by_key(|link| link.mtu);
    match longest {
        Some(link) if link.mtu > ONE_BUFFER => {
            let (interface, mtu) = (link.name.clone(), link.mtu);
            if kernel >= SINCE {
                Frames::Several { interface, mtu }
            } else {
                Frames::TooLong { interface, mtu }
            }
        }
        _ => Frames::OneBuffer,
    }
}

/// What to do about an MTU that a driver refuses.
#[must_use]
pub fn remedy(mtu: u32, kernel: (u32, u32)) -> String {
    if mtu > ONE_BUFFER && kernel < SINCE {
        let (major, minor) = SINCE;
        return format!(
            "lower its MTU from {mtu} to {ONE_BUFFER} (longer frames need Linux {major}.{minor})"
        );
    }
    format!("lower its MTU (it is {mtu}; of a veth, its far end's counts)")
}

/// Whether frames with unfinished L4 checksums (`CHECKSUM_PARTIAL`) may come in by one of the interfaces. In generic mode by any: a VLAN
/// device has those of the interface below it, and virtio-net (`is_virtio` says which are) those of the host's other guests, unless XDP is
/// in the driver. Where that may be generic mode is not known yet, only those two may have them: with others it would cost each packet a
/// sum for nothing.
#[must_use]
pub fn has_unfinished_checksums(
    links: &[Link],
    interfaces: &[Interface],
    is_virtio: impl Fn(&str) -> bool,
) -> bool {
    let kind = |name: &str| links.iter().find(|link| link.name == name)?.kind.as_deref();
    interfaces.iter().any(|Interface { name, mode }| match mode {
        AttachMode::Generic => true,
        AttachMode::Native => kind(name).is_some_and(|kind| UNFINISHED.contains(&kind)),
        AttachMode::Auto => kind(name).is_some() || is_virtio(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::example::link;

    const NEW: (u32, u32) = (6, 1);

    fn with_mtu(index: u32, mtu: u32) -> Link {
        Link { mtu, ..link(index) }
    }

    fn on(names: &[&str], mode: AttachMode) -> Vec<Interface> {
        let interface = |name: &&str| Interface {
            name: (*name).to_owned(),
            mode,
        };
        names.iter().map(interface).collect()
    }

    #[test]
    fn the_longest_mtu_decides_the_program() {
        let links = [with_mtu(1, 1500), with_mtu(2, 9000), with_mtu(3, 3046)];
        let found = |names: &[&str], mode, kernel| frames(&links, &on(names, mode), kernel);
        let native = AttachMode::Native;
        assert_eq!(found(&["eth1", "eth3"], native, NEW), Frames::OneBuffer);
        let (interface, mtu) = ("eth2".to_owned(), 9000);
        let several = Frames::Several {
            interface: interface.clone(),
            mtu,
        };
        assert!(several.multi_buffer());
        assert_eq!(found(&["eth1", "eth2"], native, NEW), several);
        assert_eq!(found(&["eth2"], AttachMode::Auto, (5, 18)), several);
        let too_long = Frames::TooLong { interface, mtu };
        assert!(!too_long.multi_buffer());
        assert_eq!(found(&["eth2"], native, (5, 15)), too_long);
        assert_eq!(found(&["eth2"], AttachMode::Generic, NEW), Frames::OneBuffer);
        assert_eq!(found(&[], native, NEW), Frames::OneBuffer);
    }

    #[test]
    fn an_mtu_that_is_refused_is_named() {
        assert!(remedy(9000, (5, 15)).contains("from 9000 to 3046 (longer frames need Linux 5.18)"));
        assert!(remedy(9000, NEW).starts_with("lower its MTU (it is 9000;"));
    }

    #[test]
    fn checksums_are_unfinished_where_no_device_has_sent_the_frame() {
        let veth = Link {
            kind: Some("veth".into()),
            ..link(1)
        };
        let vlan = Link {
            kind: Some("vlan".into()),
            ..link(2)
        };
        let links = [veth, vlan, link(3), link(4)];
        let is_virtio = |name: &str| name == "eth4";
        let found = |names: &[&str], mode| has_unfinished_checksums(&links, &on(names, mode), is_virtio);
        assert!(found(&["eth3", "eth1"], AttachMode::Native));
        assert!(!found(&["eth2", "eth3", "eth4"], AttachMode::Native));
        assert!(!found(&[], AttachMode::Native));
        // Which of the two this will be is not known yet.
        assert!(found(&["eth3"], AttachMode::Generic));
        let auto = ["eth2", "eth3", "eth4"].map(|name| found(&[name], AttachMode::Auto));
        assert_eq!(auto, [true, false, true]);
    }
}
