//! Section 1: IPv6's extension headers.

use lb_common::outcome::Outcome;

use crate::{
    model::{
        bytes::{u16_at, u32_at},
        packet::Piece,
    },
    wire::protocol,
};

/// Extension headers that are followed, and how far.
const MAX_EXTENSIONS: usize = 6;
const MAX_CHAIN: usize = 512;

/// The end of a chain of headers.
pub struct Chain {
    pub protocol: u8,
    pub l4: usize,
    pub piece: Option<Piece>,
}

/// Follows the extension headers; where that ends early, how far it came.
pub fn chain(ip: &[u8], first: u8) -> Result<Chain, (Outcome, Chain)> {
    let mut at = Chain {
        protocol: first,
        l4: 40,
        piece: None,
    };
    for count in 0.. {
        let is_extension = matches!(
            at.protocol,
            protocol::HOP_BY_HOP
                | protocol::DESTINATION
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::AUTHENTICATION
        );
        if !is_extension || at.piece.is_some_and(|piece| piece.at > 0) {
            return Ok(at);
        }
        if count == MAX_EXTENSIONS || at.protocol == protocol::HOP_BY_HOP && count > 0 {
            return Err((Outcome::HeaderChain, at));
        }
        if ip.len() < at.l4 + 8 {
            return Err((Outcome::Malformed, at));
        }
        let units = usize::from(ip[at.l4 + 1]);
        let len = match at.protocol {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if at.l4 + len > ip.len() {
            return Err((Outcome::Malformed, at));
        }
        let unfinished_route = at.protocol == protocol::ROUTING && ip[at.l4 + 3] > 0;
        if at.l4 + len > MAX_CHAIN || unfinished_route {
            return Err((Outcome::HeaderChain, at));
        }
        if at.protocol == protocol::FRAGMENT {
            let place = u16_at(ip, at.l4 + 2);
            at.piece = (place & 0xfff9 != 0).then(|| Piece {
                id: u32_at(ip, at.l4 + 4),
                at: usize::from(place & 0xfff8),
            });
        }
        at.protocol = ip[at.l4];
        at.l4 += len;
    }
    Ok(at)
}
