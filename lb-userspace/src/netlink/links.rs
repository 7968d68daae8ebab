//! Network interfaces.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{
        AfSpecInet6, AfSpecUnspec, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
        LinkMessage, LinkXdp, VlanProtocol, XdpAttached,
    },
};
use tokio::task::JoinHandle;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Its Ethernet address; `None` for an interface of another kind.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// The driver's name for virtual interfaces ("veth", "tun", "vlan"); none for a device's.
    pub kind: Option<String>,
    /// Longest IP packet.
    pub mtu: u32,
    /// Longest IPv6 packet, which a router may have set lower (RFC 4861 §4.6.4).
    pub mtu_v6: u32,
    /// The interface that this one is on, if it is in this network namespace too.
    pub lower: Option<u32>,
    /// TPID and id of a VLAN device.
    pub vlan: Option<(u16, u16)>,
    pub xdp: XdpState,
}

/// XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpState {
    pub mode: XdpMode,
    pub program_id: Option<u32>,
}

impl XdpState {
    pub const NONE: Self = Self {
        mode: XdpMode::None,
        program_id: None,
    };
}

/// How the kernel runs an interface's XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    None,
    /// In the driver.
    Native,
    /// In the stack, after the driver.
    Generic,
    /// In the network card.
    Offloaded,
    /// Several programs in several modes.
    Multiple,
}

/// Asks the kernel about interfaces of this network namespace.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Links {
    /// Opens a netlink socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no netlink.
    pub fn connect() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The socket that the kernel is asked on.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The interface of a name; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<Link>> {
        Ok(self.all().await?.into_iter().find(|link| link.name == name))
    }

    /// Every interface.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn all(&self) -> Result<Vec<Link>> {
        all(&self.handle).await
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Every interface.
///
/// # Errors
/// When the kernel does not answer.
pub async fn all(handle: &Handle) -> Result<Vec<Link>> {
    let messages: Vec<_> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .context("read the interfaces")?;
    Ok(messages.iter().map(parse).collect())
}

fn parse(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        kind: None,
        mtu: 0,
        mtu_v6: 0,
        lower: None,
        vlan: None,
        xdp: XdpState::NONE,
    };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut is_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::AfSpecUnspec(families) => link.mtu_v6 = mtu_v6(families).unwrap_or(0),
            LinkAttribute::Link(index) if *index != link.index => link.lower = Some(*index),
            // The index is another namespace's, as that of a veth's far end is.
            LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => (link.kind, link.vlan) = info(infos),
            LinkAttribute::Xdp(attributes) => link.xdp = xdp(attributes),
            _ => {}
        }
    }
    if is_elsewhere {
        link.lower = None;
    }
    // Without IPv6 on it there is nothing that says less.
    link.mtu_v6 = if link.mtu_v6 == 0 {
        link.mtu
    } else {
        link.mtu_v6.min(link.mtu)
    };
    link
}

fn mtu_v6(families: &[AfSpecUnspec]) -> Option<u32> {
    let mut inet6 = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    inet6.find_map(|attributes| {
        attributes.iter().find_map(|attribute| match attribute {
            AfSpecInet6::DevConf(settings) => u32::try_from(settings.mtu6).ok(),
            _ => None,
        })
    })
}

/// The kind of a virtual interface, and TPID and id if it is a VLAN device.
fn info(infos: &[LinkInfo]) -> (Option<String>, Option<(u16, u16)>) {
    let mut kind = None;
    let mut vlan = None;
    for info in infos {
        match info {
            LinkInfo::Kind(name) => kind = Some(name.to_string()),
            LinkInfo::Data(InfoData::Vlan(attributes)) => vlan = tag(attributes),
            _ => {}
        }
    }
    (kind, vlan)
}

/// A VLAN device says its protocol since Linux 3.10; before, all were 802.1Q.
fn tag(attributes: &[InfoVlan]) -> Option<(u16, u16)> {
    let mut protocol = VlanProtocol::Ieee8021Q;
    let mut id = None;
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(number) => id = Some(*number),
            InfoVlan::Protocol(number) => protocol = *number,
            _ => {}
        }
    }
    Some((protocol.into(), id?))
}

fn xdp(attributes: &[LinkXdp]) -> XdpState {
    let mut state = XdpState::NONE;
    for attribute in attributes {
        match attribute {
            LinkXdp::Attached(attached) => {
                state.mode = match attached {
                    XdpAttached::Driver => XdpMode::Native,
                    XdpAttached::SocketBuffer => XdpMode::Generic,
                    XdpAttached::Hardware => XdpMode::Offloaded,
                    XdpAttached::Multiple => XdpMode::Multiple,
                    _ => XdpMode::None,
                }
            }
            LinkXdp::ProgId(id) => state.program_id = Some(*id),
            _ => {}
        }
    }
    state
}

#[cfg(test)]
pub mod tests {
    use rtnetlink::packet_route::link::{Inet6DevConf, InfoKind};

    use super::*;

    /// An Ethernet interface that is up.
    pub fn link(index: u32) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            #[expect(clippy::cast_possible_truncation, reason = "tests have few interfaces")]
            mac: Some([index as u8; 6]),
            running: true,
            kind: None,
            mtu: 1500,
            mtu_v6: 1500,
            lower: None,
            vlan: None,
            xdp: XdpState::NONE,
        }
    }

    /// A VLAN device on `lower`.
    pub fn vlan(index: u32, lower: u32, tag: (u16, u16)) -> Link {
        Link {
            name: format!("eth{lower}.{}", tag.1),
            kind: Some("vlan".into()),
            lower: Some(lower),
            vlan: Some(tag),
            ..link(index)
        }
    }

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![LinkAttribute::IfName("eth7".into())];
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_vlan_device_tells_its_tag_and_what_it_is_on() {
        let data = vec![InfoVlan::Id(100), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)];
        let info = vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(data)),
        ];
        let parsed = parse(&message(vec![
            LinkAttribute::Mtu(1496),
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(info),
        ]));
        assert_eq!(
            (parsed.kind.as_deref(), parsed.vlan, parsed.lower),
            (Some("vlan"), Some((0x88a8, 100)), Some(2))
        );
        assert_eq!((parsed.mtu, parsed.mtu_v6, parsed.running), (1496, 1496, true));
    }

    #[test]
    fn what_a_veth_is_on_is_not_here() {
        let info = vec![LinkInfo::Kind(InfoKind::Veth)];
        let parsed = parse(&message(vec![
            LinkAttribute::Link(2),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::LinkInfo(info),
        ]));
        assert_eq!((parsed.kind.as_deref(), parsed.lower), (Some("veth"), None));
    }

    #[test]
    fn a_router_may_ask_for_shorter_ipv6_packets() {
        let mut settings = Inet6DevConf::default();
        settings.mtu6 = 1400;
        let families = vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::DevConf(settings)])];
        let parsed = parse(&message(vec![
            LinkAttribute::Mtu(1500),
            LinkAttribute::AfSpecUnspec(families),
        ]));
        assert_eq!((parsed.mtu, parsed.mtu_v6, parsed.kind), (1500, 1400, None));
    }
}
