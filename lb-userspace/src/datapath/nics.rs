//! What devices do to frames before XDP sees them, and what to do about it.

use crate::{
    config::AttachMode,
    datapath::interfaces::ONE_BUFFER,
    netlink::{Link, Offloads},
};

/// What stands in the program's way on interfaces of these names and modes, with the remedies.
#[must_use]
pub fn warnings<'a>(
    links: &[Link],
    interfaces: impl IntoIterator<Item = (&'a str, AttachMode)>,
) -> Vec<String> {
    let interfaces = interfaces.into_iter().filter_map(|(name, mode)| {
        let link = links.iter().find(|link| link.name == name)?;
        Some((link, mode))
    });
    interfaces
        .flat_map(|(link, mode)| match &link.kind {
            None => of_one(links, (link, mode), Offloads::of(&link.name)),
            // A virtual interface has no device that would do anything.
            Some(kind) => of_virtual(&link.name, kind, mode).into_iter().collect(),
        })
        .collect()
}

/// Segments that a sender leaves to its device come through a veth as one packet. In native mode the kernel has the sender cut them.
fn of_virtual(name: &str, kind: &str, mode: AttachMode) -> Option<String> {
    (kind == "veth" && mode == AttachMode::Generic).then(|| {
        format!(
            "interface {name}: in generic mode a veth hands XDP packets of up to 64 KB, which fit no way: set mode = \"native\" for it, or at its far end ethtool -K PEER tso off gso off"
        )
    })
}

/// Pure.
fn of_one(links: &[Link], (link, mode): (&Link, AttachMode), offloads: Offloads) -> Vec<String> {
    let Link { index, name, mtu, .. } = link;
    let mut warnings = Vec::new();
    let has_vlans = links
        .iter()
        .any(|link| link.vlan.is_some() && link.lower == Some(*index));
    if offloads.takes_tags && has_vlans {
        warnings.push(format!(
            "interface {name}: takes VLAN tags off before XDP sees them: ethtool -K {name} rxvlan off"
        ));
    }
    // In generic mode the kernel makes frames one buffer first.
    if offloads.mlx5_striding && *mtu > ONE_BUFFER && mode != AttachMode::Generic {
        warnings.push(format!(
            "interface {name}: MTU {mtu}: its striding receive queue shows XDP no headers: lower the MTU to {ONE_BUFFER}, or ethtool --set-priv-flags {name} rx_striding_rq off"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::example::{link, vlan};

    const NATIVE: AttachMode = AttachMode::Native;

    #[test]
    fn tags_that_are_taken_off_matter_where_the_host_has_vlans() {
        let takes_tags = Offloads {
            takes_tags: true,
            ..Offloads::default()
        };
        let links = [link(2), link(3), vlan(4, 2, (0x8100, 10))];
        let found = |link, offloads| of_one(&links, (link, NATIVE), offloads);
        let expected = "interface eth2: takes VLAN tags off before XDP sees them: ethtool -K eth2 rxvlan off";
        assert_eq!(found(&links[0], takes_tags), [expected]);
        assert!(found(&links[1], takes_tags).is_empty());
        assert!(found(&links[0], Offloads::default()).is_empty());
    }

    #[test]
    fn a_striding_queue_matters_for_frames_longer_than_one_buffer() {
        let striding = Offloads {
            mlx5_striding: true,
            ..Offloads::default()
        };
        let found = |mtu, mode, offloads| {
            let link = Link { mtu, ..link(2) };
            of_one(std::slice::from_ref(&link), (&link, mode), offloads)
        };
        let warned = found(9000, NATIVE, striding);
        assert!(
            warned[0].contains("lower the MTU to 3046, or ethtool --set-priv-flags eth2 rx_striding_rq off")
        );
        assert!(found(3046, NATIVE, striding).is_empty());
        assert!(found(9000, AttachMode::Generic, striding).is_empty());
        assert!(found(9000, NATIVE, Offloads::default()).is_empty());
    }

    #[test]
    fn a_veth_in_generic_mode_hands_on_what_its_sender_has_not_cut() {
        let veth = Link {
            kind: Some("veth".into()),
            ..link(2)
        };
        let found = |mode| warnings(std::slice::from_ref(&veth), [("eth2", mode)]);
        let warned = found(AttachMode::Generic);
        assert!(
            warned[0].starts_with("interface eth2: in generic mode")
                && warned[0].ends_with("ethtool -K PEER tso off gso off"),
            "{warned:?}"
        );
        assert!(found(NATIVE).is_empty());
    }

    #[test]
    fn virtual_interfaces_are_not_asked() {
        let links = [vlan(4, 2, (0x8100, 10)), link(7)];
        assert!(warnings(&links, [("eth2.10", NATIVE), ("eth7", NATIVE), ("eth8", NATIVE)]).is_empty());
    }
}
