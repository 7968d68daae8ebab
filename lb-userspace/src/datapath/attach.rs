//! Putting the program on interfaces, over links that outlive the agent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::{
    Ebpf,
    programs::{
        ProgramError, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use nix::{
    errno::Errno,
    net::if_::{if_indextoname, if_nametoindex},
};

use crate::{
    config::{AttachMode, Interface},
    datapath::{
        generic::Generic,
        interfaces, load,
        pins::{self, Pins},
        preflight,
    },
    netlink::{Link, Links, XdpMode as Mode},
};

/// The program, and what it has to know of where it is.
struct Loaded<'a> {
    program: &'a mut Xdp,
    generic: Generic,
}

/// The longest that the kernel may take to let a link go.
const LETS_GO: Duration = Duration::from_secs(2);

/// An interface with our program on it.
#[derive(Clone, Debug)]
pub struct Attached {
    pub name: String,
    pub index: u32,
    /// As read back from the kernel: never `Auto`.
    pub mode: AttachMode,
    program: u32,
    there: bool,
}

impl Attached {
    /// Whether the interface was still the one that we attached to, with our program on it, at the last [`look`](Self::look).
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// Looks for the interface among `links`, all that there are.
    pub fn look(&mut self, links: &[Link]) {
        let there = links.iter().any(|link| {
            link.name == self.name && link.index == self.index && link.xdp.program_id == Some(self.program)
        });
        if self.there && !there {
            log::error!(
                "interface {}: the program is not on it any more: restart the agent",
                self.name
            );
        }
        self.there = there;
    }
}

/// Attaches a loaded object's program to every interface of the configuration. What else carries it stays as it is: [`detach_others`] is for
/// when nothing can fail any more.
///
/// A link that an earlier agent has pinned gets the new program by an atomic replacement: no packet goes by.
///
/// # Errors
/// The first interface that does not exist, carries somebody else's program, or cannot do the mode.
pub async fn attach(
    object: &mut Ebpf,
    pins: &Pins,
    links: &Links,
    interfaces: &[Interface],
) -> Result<Vec<Attached>> {
    let mut loaded = Loaded {
        generic: Generic::take(object)?,
        program: load::xdp(object)?,
    };
    // What may be refused comes first: while it is, nothing has changed where a link of before already is.
    let mut order: Vec<_> = interfaces.iter().enumerate().collect();
    order.sort_by_key(|(_, interface)| pins.link(&interface.name).exists());
    let mut attached = Vec::new();
    for (at, interface) in order {
        let one = attach_one(&mut loaded, pins, links, interface).await;
        attached.push((at, one.with_context(|| format!("interface {}", interface.name))?));
    }
    attached.sort_by_key(|(at, _)| *at);
    let attached: Vec<_> = attached.into_iter().map(|(_, one)| one).collect();
    for Attached {
        name, index, mode, ..
    } in &attached
    {
        loaded.generic.set(*index, *mode)?;
        log::info!("interface {name}: attached in {} mode", mode.name());
    }
    Ok(attached)
}

/// Takes the program off all interfaces that the configuration does not name.
///
/// # Errors
/// When a link cannot be removed.
pub async fn detach_others(links: &Links, pins: &Pins, interfaces: &[Interface]) -> Result<()> {
    let named: Vec<_> = interfaces
        .iter()
        .map(|interface| interface.name.clone())
        .collect();
    let mut others = pins.linked()?;
    others.retain(|name| !named.contains(name));
    for name in let_go(links, &others, || pins.unlink_all_but(&named)).await? {
        log::info!("interface {name}: detached, as the configuration no longer names it");
    }
    Ok(())
}

/// Has `remove` take away pins of links to these interfaces, and waits until those of them are free whose program goes: the kernel lets a
/// link go some time after its last file, and until then packets meet its program, and no other one fits there.
///
/// # Errors
/// When the pins cannot be removed.
pub async fn let_go<T>(links: &Links, names: &[String], remove: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = carriers(links, names).await;
    let removed = remove()?;
    let deadline = Instant::now() + LETS_GO;
    while !before.is_empty()
        && carriers(links, names)
            .await
            .iter()
            .any(|one| before.contains(one))
    {
        if Instant::now() > deadline {
            log::warn!("{}: the kernel has not let all of them go yet", names.join(", "));
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(removed)
}

/// Which of these interfaces carry a program, and which. What cannot be looked at keeps nobody from taking a balancer away.
async fn carriers(links: &Links, names: &[String]) -> Vec<(u32, u32)> {
    let all = links.all().await.unwrap_or_else(|error| {
        log::warn!("whether interfaces are free is not known: {error:#}");
        Vec::new()
    });
    let ours = all.into_iter().filter(|link| names.contains(&link.name));
    ours.filter_map(|link| Some((link.index, link.xdp.program_id?)))
        .collect()
}

/// Checks that every interface of the configuration exists.
///
/// # Errors
/// The first that does not, or that goes by another name.
pub fn check(interfaces: &[Interface]) -> Result<()> {
    for Interface { name, .. } in interfaces {
        let Ok(index) = if_nametoindex(name.as_str()) else {
            bail!("interface {name}: there is none of that name: 'ip link' shows them");
        };
        // The kernel looks an alternative name up too, but pins and netlink's answers have the first one.
        let first = if_indextoname(index).with_context(|| format!("interface {name}"))?;
        ensure!(
            first.to_bytes() == name.as_bytes(),
            "interface {name}: an alternative name of {0}: call it {0}",
            first.to_string_lossy()
        );
    }
    Ok(())
}

async fn attach_one(
    loaded: &mut Loaded<'_>,
    pins: &Pins,
    links: &Links,
    interface: &Interface,
) -> Result<Attached> {
    let pin = pins.link(&interface.name);
    let id = loaded.program.info().context("ask for the program's id")?.id();
    let mut before = None;
    if pin.exists() {
        // The new program is in the mode of the old one, from its first packet on.
        if let Some(link) = links.get(&interface.name).await? {
            loaded.generic.set(link.index, mode_of(link.xdp.mode))?;
        }
        match replace(loaded.program, &pin) {
            Ok(()) => match found(links, interface, id).await? {
                Some(attached) if allows(interface.mode, attached.mode) => return Ok(attached),
                Some(attached) => before = Some(attached.mode),
                None => log::info!("interface {}: is another one than before", interface.name),
            },
            Err(error) => log::info!(
                "interface {}: the link of before is of no use: {error:#}",
                interface.name
            ),
        }
        let_go(links, std::slice::from_ref(&interface.name), || {
            pins::remove_file(&pin)
        })
        .await?;
    }
    let mtu = links.get(&interface.name).await?.map_or(0, |link| link.mtu);
    if let Err(error) = attach_anew(loaded, &pin, interface, (interface.mode, mtu)) {
        // Packets go on in the mode of before: it is the wish for another one that failed.
        if let Some(mode) = before
            && let Err(lost) = attach_anew(loaded, &pin, interface, (mode, mtu))
        {
            log::error!("interface {}: is without the program: {lost:#}", interface.name);
        }
        return Err(error);
    }
    let attached = found(links, interface, id).await?;
    attached.context("the kernel does not show the program that was attached")
}

/// Puts the new program in place of the old one, by the pinned link.
fn replace(program: &mut Xdp, pin: &std::path::Path) -> Result<()> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(pin)?))?;
    let id = program.attach_to_link(link)?;
    // The pin holds the link; the program must not take it along when it is dropped.
    drop(FdLink::try_from(program.take_link(id)?)?);
    Ok(())
}

fn attach_anew(
    loaded: &mut Loaded<'_>,
    pin: &std::path::Path,
    interface: &Interface,
    (mode, mtu): (AttachMode, u32),
) -> Result<()> {
    let index = if_nametoindex(interface.name.as_str()).context("it has gone away")?;
    let mut try_mode = |mode| try_mode(loaded, (index, mtu), mode);
    let id = match mode {
        AttachMode::Native | AttachMode::Generic => try_mode(mode)?,
        AttachMode::Auto => match try_mode(AttachMode::Native) {
            Ok(id) => id,
            Err(error) if error.is::<Taken>() => return Err(error),
            Err(error) => {
                log::warn!(
                    "interface {}: {error:#}; trying generic mode, several times slower",
                    interface.name
                );
                try_mode(AttachMode::Generic)?
            }
        },
    };
    let link = FdLink::try_from(loaded.program.take_link(id)?)
        .map_err(|error| anyhow!("the kernel has no XDP links: {error}"))?;
    link.pin(pin)
        .with_context(|| format!("pin the link as {}", pin.display()))?;
    Ok(())
}

/// Somebody else's program is there: no mode helps.
#[derive(Debug, thiserror::Error)]
#[error(
    "another XDP program is on it already ('ip link' shows its id): take that one off first, by 'xlb detach' if it is an xlb's, or choose another interface"
)]
struct Taken;

fn try_mode(
    loaded: &mut Loaded<'_>,
    (index, mtu): (u32, u32),
    mode: AttachMode,
) -> Result<aya::programs::xdp::XdpLinkId> {
    let how = match mode {
        AttachMode::Generic => XdpMode::Skb,
        AttachMode::Native | AttachMode::Auto => XdpMode::Driver,
    };
    // Before the program's first packet.
    loaded.generic.set(index, mode)?;
    let error = match loaded.program.attach_to_if_index(index, how) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    match errno(&error) {
        Some(Errno::EBUSY | Errno::EEXIST) => Err(Taken.into()),
        Some(Errno::EOPNOTSUPP) if mode == AttachMode::Native => bail!(
            "its driver cannot run XDP programs in native mode: choose another interface, or set mode = \"generic\" for it, which is several times slower"
        ),
        Some(Errno::ERANGE | Errno::EINVAL) => {
            let remedy = interfaces::remedy(mtu, preflight::kernel()?);
            bail!(
                "the driver refuses XDP in {} mode with the interface's settings: {remedy}, turn LRO off ('ethtool -K … lro off') or reduce its queues ('ethtool -L …'), or set mode = \"generic\" for it, which is several times slower",
                mode.name()
            )
        }
        _ => Err(error).with_context(|| format!("attach the program in {} mode", mode.name())),
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
    Ok(Some(Attached {
        name: interface.name.clone(),
        index: link.index,
        mode: mode_of(link.xdp.mode),
        program: id,
        there: true,
    }))
}

fn mode_of(mode: Mode) -> AttachMode {
    match mode {
        Mode::Native | Mode::Offloaded => AttachMode::Native,
        Mode::Generic | Mode::Multiple | Mode::None => AttachMode::Generic,
    }
}

fn allows(wanted: AttachMode, mode: AttachMode) -> bool {
    wanted == AttachMode::Auto || wanted == mode
}
