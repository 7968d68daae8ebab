//! Who is no client: a VIP, whose packets would go round between balancers, and the balancer itself, whose own connections to backends
//! such a flow would take the answers of. As with the kernel, nobody else sends from an address of this host (`fib_validate_source`).

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::{addr::Addr, board::Head as Board, limits, maps::switches};

use crate::{board, service};

#[btf_map]
static LOCALS: HashMap<Addr, u32, { 2 * limits::LOCALS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Whether a source is surely a client.
#[inline(always)]
pub fn is_fine(board: Board, source: &Addr) -> bool {
    board.switches() & switches::NETWORKS == 0 && !board::may_be_no_client(source)
}

/// Whether a source is no client.
#[inline(always)]
pub fn is_refused(source: &Addr) -> bool {
    service::vip(source).is_some() || is_local(source)
}

#[inline(always)]
fn is_local(source: &Addr) -> bool {
    board::may_be_no_client(source)
        // SAFETY: only the presence of the entry is looked at.
        && unsafe { LOCALS.get(*source) }.is_some()
}
