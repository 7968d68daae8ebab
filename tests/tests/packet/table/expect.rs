//! Frames as they should leave, built anew from what they should say.

use std::net::{IpAddr, SocketAddr};

use lb_common::service::ForwardMode;

use crate::{
    wire::{Body, Frame, Ip, error, icmp},
    world::{Backend, Way, World},
};

/// A client's packet in the form that `backend` gets it in; `source` is what it sees where that is not the client.
pub fn forwarded(world: &World, sent: &Frame, backend: u32, source: Option<SocketAddr>) -> Frame {
    let backend = world.backend(backend);
    let service = world.service(backend.service);
    let way = &world.ways[backend.way as usize - 1];
    let mut out = on_way(way, sent);
    out.ip.ttl -= 1;
    if service.mode.translates() {
        translate(&mut out.ip, backend, source);
    }
    if service.mode.encapsulates() {
        let checked = service.gue_checksum && has_checksum(&out.ip);
        let body = match service.mode {
            ForwardMode::Ipip => Body::Inner(Box::new(out.ip.clone())),
            _ => Body::Gue {
                from: 0,
                checked,
                inner: Box::new(out.ip.clone()),
            },
        };
        out.ip = outer(way.source, backend.addr, &out.ip, body);
        out.padding.clear();
    }
    out
}

/// The Ethernet header and the tags of a way.
fn on_way(way: &Way, sent: &Frame) -> Frame {
    let hop = way.egress().hop;
    Frame {
        to: hop.destination_mac,
        from: hop.source_mac,
        tags: way.tags.clone().unwrap_or_else(|| sent.tags.clone()),
        ..sent.clone()
    }
}

fn translate(ip: &mut Ip, backend: &Backend, source: Option<SocketAddr>) {
    ip.to = backend.addr;
    if let Some(source) = source {
        ip.from = source.ip();
    }
    let Some((from, to)) = ip.body.ports_mut() else {
        return;
    };
    if backend.port != 0 {
        *to = backend.port;
    }
    if let Some(source) = source {
        *from = source.port();
    }
}

fn outer(from: IpAddr, to: IpAddr, inner: &Ip, body: Body) -> Ip {
    Ip {
        tos: inner.tos,
        ttl: 64,
        id: 0,
        dont_fragment: to.is_ipv4() && inner.is_v4() && inner.dont_fragment,
        ..Ip::new(from, to, body)
    }
}

/// Whether an outer checksum can be computed from the inner one.
fn has_checksum(ip: &Ip) -> bool {
    match ip.body {
        _ if !ip.chain.is_empty() => false,
        Body::Tcp { .. } => true,
        Body::Udp { checked, .. } => checked,
        _ => false,
    }
}

/// A frame without what may be anything: the port of GUE, the identification of a tunnel that may be fragmented, a flow label.
pub fn settled(mut frame: Frame) -> Frame {
    let ip = &mut frame.ip;
    match &mut ip.body {
        Body::Gue { from, .. } if *from >= 49_152 => *from = 0,
        Body::Gue { .. } | Body::Inner(_) => {}
        _ => return frame,
    }
    if !ip.dont_fragment {
        ip.id = 0;
    }
    frame
}

/// A frame of ours to the sender of `sent`.
pub fn answer(sent: &Frame, from: IpAddr, tos: u8, body: Body) -> Frame {
    let v4 = sent.ip.is_v4();
    let ip = Ip {
        tos,
        ttl: 64,
        id: 0,
        dont_fragment: v4,
        ..Ip::new(from, sent.ip.from, body)
    };
    Frame {
        to: sent.from,
        from: sent.to,
        tags: sent.tags.clone(),
        ip,
        padding: Vec::new(),
    }
}

/// Our refusal of the segment `sent`.
pub fn refusal(sent: &Frame, sequence: u32, acknowledged: u32, flags: u8) -> Frame {
    let (to, from) = sent.ip.body.ports();
    let body = Body::Tcp {
        from,
        to,
        sequence,
        acknowledged,
        flags,
        window: 0,
        options: Vec::new(),
        payload: Vec::new(),
    };
    answer(sent, sent.ip.to, 0, body)
}

/// An ICMP error of ours about `sent`.
pub fn error_about(sent: &Frame, from: IpAddr, kind: &icmp::Kind, word: u32) -> Frame {
    let limit = if sent.ip.is_v4() { 548 } else { 1232 };
    let len = sent.ip.len().min(limit) / 4 * 4;
    let body = error(from, sent.ip.from, kind, word, sent.ip.quote(len)).ip.body;
    answer(sent, from, 0xc0, body)
}
