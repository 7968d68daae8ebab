//! The pair of interfaces that leads into the namespace, and the namespace's addresses and routes.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::AddressHeaderFlags,
        link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope},
    },
};

use crate::netlink::offloads;

/// The interface in the namespace, and the one on this host, which has the first number that is free.
const INSIDE: &str = "door";
const OUTSIDE: &str = "xlb-probe%d";

/// Nobody else is on that link.
pub(super) const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Link-local (RFC 3927), and unique local (RFC 4193): link-local addresses of IPv6 cannot ask what is elsewhere.
pub(super) const INSIDE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 120, 108);
pub(super) const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0x6c62, 0x7072, 0, 0, 0, 0, 2);

/// Longest packet that the interfaces take: an answer may be longer than what is asked.
const MTU: u32 = 9000;
/// Longest packet that is sent, which every link takes (RFC 8200 §5): tunnels still fit theirs.
const SENT_MTU: u32 = 1280;

/// Makes the pair, its other end in the namespace `host` that `of_host` speaks to, and gives the namespace of `handle` and of this thread
/// addresses and routes; gives the index of the other end.
pub(super) async fn furnish(handle: &Handle, (host, of_host): (&File, &Handle)) -> Result<u32> {
    handle
        .link()
        .add(pair(host))
        .execute()
        .await
        .context("make a veth pair for probes")?;
    // What leaves it is rewritten, and nobody behind would finish a checksum.
    offloads::finish_checksums(INSIDE).context("turn checksum offload off for probes")?;
    // What XDP sends into a veth arrives only if the other end has a program, or GRO (Linux 5.13, veth_ndo_xdp_xmit in
    // drivers/net/veth.c).
    offloads::take_from_xdp(INSIDE).context("turn GRO on for probes")?;
    let link = of_name(handle, INSIDE).await?;
    let index = link.header.index;
    let door = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    let door = door.context("the kernel does not show the other end of the veth pair")?;
    let up = LinkUnspec::new_with_index(door).up().build();
    let up = of_host.link().set(up).execute().await;
    up.context("start the interface for probes")?;
    give(handle, index, IpAddr::V4(INSIDE_V4), 32).await?;
    route(
        handle,
        RouteMessageBuilder::<Ipv4Addr>::new().scope(RouteScope::Link),
        index,
    )
    .await?;
    // A host may have no IPv6.
    if let Err(error) = furnish_v6(handle, index).await {
        log::info!("no probes of IPv6 VIPs through the data path: {error:#}");
    }
    Ok(door)
}

async fn furnish_v6(handle: &Handle, index: u32) -> Result<()> {
    give(handle, index, IpAddr::V6(INSIDE_V6), 128).await?;
    route(handle, RouteMessageBuilder::<Ipv6Addr>::new(), index).await
}

/// Both ends without neighbours: every frame has the address of the end that it leaves by, whatever it is for. The kernel starts no end
/// that does not have its other one yet.
fn pair(host: &File) -> LinkMessage {
    let outside = LinkUnspec::new_with_name(OUTSIDE)
        .address(OUTSIDE_MAC.to_vec())
        .mtu(MTU)
        .setns_by_fd(host.as_raw_fd())
        .arp(false);
    LinkMessageBuilder::<LinkVeth>::new(INSIDE, "")
        .set_info_data(InfoData::Veth(InfoVeth::Peer(outside.build())))
        .address(INSIDE_MAC.to_vec())
        .mtu(MTU)
        .arp(false)
        .up()
        .build()
}

async fn of_name(handle: &Handle, name: &str) -> Result<LinkMessage> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await.context("read the veth pair for probes")?;
    link.context("the veth pair for probes is gone")
}

async fn give(handle: &Handle, index: u32, address: IpAddr, prefix: u8) -> Result<()> {
    let mut request = handle.address().add(index, address, prefix);
    // Nobody else is on that link, and one of IPv6 that may be somebody else's can be bound to only after a moment.
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    let given = request.execute().await;
    given.with_context(|| format!("give the namespace of probes the address {address}"))
}

/// Everything is behind the door.
async fn route<T>(handle: &Handle, route: RouteMessageBuilder<T>, index: u32) -> Result<()> {
    let mut route: RouteMessage = route.output_interface(index).build();
    route
        .attributes
        .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(SENT_MTU)]));
    let added = handle.route().add(route).execute().await;
    added.context("give the namespace of probes a route")
}
