//! Network interfaces.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
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
    pub xdp: XdpState,
}

/// XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpState {
    pub mode: XdpMode,
    pub program_id: Option<u32>,
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
        xdp: XdpState {
            mode: XdpMode::None,
            program_id: None,
        },
    };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Xdp(attributes) => link.xdp = xdp(attributes),
            _ => {}
        }
    }
    link
}

fn xdp(attributes: &[LinkXdp]) -> XdpState {
    let mut state = XdpState {
        mode: XdpMode::None,
        program_id: None,
    };
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
