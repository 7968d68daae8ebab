//! QUIC connection IDs that say which server has issued them (draft-ietf-quic-load-balancers, plaintext CIDs), so that a client
//! which changes its address stays with its backend.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::{flow::Protocol, limits, service::QuicServerKey};

use crate::{
    backend,
    frame::{Frame, Udp},
    stage::Stage,
};

#[btf_map]
static QUIC_SERVERS: HashMap<
    QuicServerKey,
    u32,
    { limits::BACKENDS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// The form bit of the first byte (RFC 8999 §5): set in long headers, which say how long their connection IDs are.
const LONG_HEADER: u8 = 0x80;
/// Where the destination connection ID's length stands in a long header: behind the first byte and the version.
const CID_LEN: usize = 5;
const SERVER_ID_MAX: usize = 8;

/// The backend that the packet's connection ID names, if that is one of the service and takes such packets.
#[inline(always)]
pub fn named(frame: &Frame, stage: &Stage) -> Option<u32> {
    let len = stage.service.quic_server_id_len;
    if len == 0 || stage.packet.flow.protocol != Protocol::Udp.number() || !stage.packet.has_ports() {
        return None;
    }
    let quic = usize::from(stage.packet.l4) + size_of::<Udp>();
    let end = usize::from(stage.packet.l3 + stage.packet.ip_len);
    let first = frame.byte(quic)?;
    let (cid, cid_end) = if first & LONG_HEADER == 0 {
        (quic + 1, end)
    } else {
        let cid_len = frame.byte(quic + CID_LEN)?;
        let cid = quic + CID_LEN + 1;
        (cid, end.min(cid + usize::from(cid_len)))
    };
    let rotation = frame.byte(cid)?;
    if rotation >> 5 != stage.service.quic_config || cid + 1 + usize::from(len) > cid_end {
        return None;
    }
    let mut server_id = 0_u64;
    for place in 0..SERVER_ID_MAX {
        if place >= usize::from(len) {
            break;
        }
        let byte = frame.byte(cid + 1 + place)?;
        server_id |= u64::from(byte) << (8 * place);
    }
    let key = QuicServerKey {
        service: stage.service.id,
        len: u32::from(len),
        server_id,
    };
    // SAFETY: the value is copied at once, and what it names is looked up and judged.
    let id = unsafe { QUIC_SERVERS.get(key) }.copied()?;
    let word = backend::word(id);
    // The connection ID of a client's first packets is its own and random: it opens no flow where none may begin.
    let takes = if first & LONG_HEADER == 0 {
        word.keeps_flow_of(word.generation())
    } else {
        word.takes_new_flows()
    };
    takes.then_some(id)
}
