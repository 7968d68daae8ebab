//! Putting the program on interfaces, over links that outlive the agent.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::{
    config::{AttachMode, Interface},
    datapath::pins::{self, Pins},
    netlink::{Links, XdpMode as Mode},
};

/// An interface with our program on it.
#[derive(Clone, Debug)]
pub struct Attached {
    pub name: String,
    pub index: u32,
    /// As read back from the kernel: never `Auto`.
    pub mode: AttachMode,
}

impl Attached {
    /// Whether the interface is still the one that we attached to.
    #[must_use]
    pub fn is_there(&self) -> bool {
        if_nametoindex(self.name.as_str()).is_ok_and(|index| index == self.index)
    }
}

/// Attaches the program to every interface of the configuration and takes it off all others.
///
/// A link that an earlier agent has pinned gets the new program by an atomic replacement: no packet goes by.
///
/// # Errors
/// The first interface that does not exist, carries somebody else's program, or cannot do the mode.
pub async fn attach(
    program: &mut Xdp,
    pins: &Pins,
    links: &Links,
    interfaces: &[Interface],
) -> Result<Vec<Attached>> {
    let mut attached = Vec::new();
    for interface in interfaces {
        let one = attach_one(program, pins, links, interface).await;
        attached.push(one.with_context(|| format!("interface {}", interface.name))?);
    }
    for name in pins.linked()? {
        if !interfaces.iter().any(|interface| interface.name == name) {
            pins::remove_file(&pins.link(&name))?;
            log::info!("interface {name}: detached, as the configuration no longer names it");
        }
    }
    Ok(attached)
}

/// Checks that every interface of the configuration exists.
///
/// # Errors
/// The first that does not.
pub fn check(interfaces: &[Interface]) -> Result<()> {
    for Interface { name, .. } in interfaces {
        ensure!(
            if_nametoindex(name.as_str()).is_ok(),
            "interface {name}: there is none of that name: 'ip link' shows them"
        );
    }
    Ok(())
}

async fn attach_one(
    program: &mut Xdp,
    pins: &Pins,
    links: &Links,
    interface: &Interface,
) -> Result<Attached> {
    let pin = pins.link(&interface.name);
    let id = program.info().context("ask for the program's id")?.id();
    if pin.exists() {
        match replace(program, &pin) {
            Ok(()) => match found(links, interface, id).await? {
                Some(attached) if allows(interface.mode, attached.mode) => return Ok(attached),
                Some(attached) => log::info!(
                    "interface {}: leaves {} mode",
                    interface.name,
                    attached.mode.name()
                ),
                None => log::info!("interface {}: is another one than before", interface.name),
            },
            Err(error) => log::info!(
                "interface {}: the link of before is of no use: {error:#}",
                interface.name
            ),
        }
        pins::remove_file(&pin)?;
    }
    attach_anew(program, &pin, interface)?;
    let attached = found(links, interface, id).await?;
    let attached = attached.context("the kernel does not show the program that was attached")?;
    log::info!(
        "interface {}: attached in {} mode",
        attached.name,
        attached.mode.name()
    );
    Ok(attached)
}

/// Puts the new program in place of the old one, by the pinned link.
fn replace(program: &mut Xdp, pin: &std::path::Path) -> Result<()> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(pin)?))?;
    let id = program.attach_to_link(link)?;
    // The pin holds the link; the program must not take it along when it is dropped.
    drop(FdLink::try_from(program.take_link(id)?)?);
    Ok(())
}

fn attach_anew(program: &mut Xdp, pin: &std::path::Path, interface: &Interface) -> Result<()> {
    let index = if_nametoindex(interface.name.as_str()).context("it has gone away")?;
    let native = || (XdpMode::Driver, "native");
    let id = match interface.mode {
        AttachMode::Native => try_mode(program, index, native())?,
        AttachMode::Generic => try_mode(program, index, (XdpMode::Skb, "generic"))?,
        AttachMode::Auto => match try_mode(program, index, native()) {
            Ok(id) => id,
            Err(error) => {
                log::warn!(
                    "interface {}: {error:#}; trying generic mode, several times slower",
                    interface.name
                );
                try_mode(program, index, (XdpMode::Skb, "generic"))?
            }
        },
    };
    let link = FdLink::try_from(program.take_link(id)?)
        .map_err(|error| anyhow!("the kernel has no XDP links: {error}"))?;
    link.pin(pin)
        .with_context(|| format!("pin the link as {}", pin.display()))?;
    Ok(())
}

fn try_mode(
    program: &mut Xdp,
    index: u32,
    (mode, name): (XdpMode, &str),
) -> Result<aya::programs::xdp::XdpLinkId> {
    let error = match program.attach_to_if_index(index, mode) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    match errno(&error) {
        Some(Errno::EBUSY | Errno::EEXIST) => {
            bail!("another XDP program is on it already ('ip link' shows its id): take that one off first")
        }
        Some(Errno::EOPNOTSUPP) if matches!(mode, XdpMode::Driver) => bail!(
            "its driver cannot run XDP programs in native mode: choose another interface, or set mode = \"generic\" for it, which is several times slower"
        ),
        Some(Errno::ERANGE | Errno::EINVAL) => {
            bail!(
                "the driver refuses XDP in {name} mode with the interface's settings: lower its MTU, turn LRO off ('ethtool -K … lro off') or reduce its queues ('ethtool -L …')"
            )
        }
        _ => Err(error).with_context(|| format!("attach the program in {name} mode")),
    }
}

fn errno(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error().map(Errno::from_raw),
        ProgramError::XdpError(_) => Some(Errno::EINVAL),
        _ => None,
    }
}

/// What the kernel says of the interface, if it carries the program with `id`.
async fn found(links: &Links, interface: &Interface, id: u32) -> Result<Option<Attached>> {
    let Some(link) = links.get(&interface.name).await? else {
        return Ok(None);
    };
    if link.xdp.program_id != Some(id) {
        return Ok(None);
    }
    let mode = match link.xdp.mode {
        Mode::Native | Mode::Offloaded => AttachMode::Native,
        Mode::Generic | Mode::Multiple | Mode::None => AttachMode::Generic,
    };
    Ok(Some(Attached {
        name: interface.name.clone(),
        index: link.index,
        mode,
    }))
}

fn allows(wanted: AttachMode, mode: AttachMode) -> bool {
    wanted == AttachMode::Auto || wanted == mode
}
