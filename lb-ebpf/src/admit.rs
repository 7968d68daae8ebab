//! How many new flows a service takes, and each of its sources may have.

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{Array, LruHashMap},
    macros::btf_map,
};
use lb_common::{
    limits,
    outcome::Outcome,
    rate::{self, SourceKey},
    service::service_flags,
};

use crate::{
    atomic,
    frame::Frame,
    stage::{Stage, stages},
};

#[btf_map]
static SERVICE_RATES: Array<u64, { limits::SERVICES as usize }> = Array::new();

#[btf_map]
static SOURCE_RATES: LruHashMap<SourceKey, u64, { limits::RATED_SOURCES as usize }> = LruHashMap::new();

/// How often a bucket is tried to be taken from that other CPUs take from as well.
const TRIES: usize = 4;

stages! {
    /// Takes a new flow from the rates of its service.
    fn rated as xlb_admit = admit;
}

/// Takes a new flow, if its service has rates, from them.
///
/// # Errors
/// [`Outcome::SourceLimited`] or [`Outcome::FlowLimited`] for one beyond them.
#[inline(always)]
pub fn new_flow(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.service.flags & service_flags::RATED == 0 {
        return Ok(());
    }
    rated(frame, stage)
}

/// The source's rate first: what it may not have takes nothing from the others.
#[inline(always)]
fn admit(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let (service, now) = (&stage.service, stage.now);
    if service.source_rate != 0 {
        let key = SourceKey {
            source: stage.packet.flow.source.prefix(service.rate_v4, service.rate_v6),
            service: service.id,
            _pad: 0,
        };
        let taken = match SOURCE_RATES.get_ptr_mut(key) {
            Some(bucket) => take(bucket, service.source_rate, service.source_burst, now),
            None => {
                let first = rate::take(0, service.source_rate, service.source_burst, now);
                // Where the table takes no entry the source is not limited.
                let _full = SOURCE_RATES.insert(key, first.unwrap_or(now), u64::from(BPF_ANY));
                true
            }
        };
        if !taken {
            return Err(Outcome::SourceLimited);
        }
    }
    match SERVICE_RATES.get_ptr_mut(service.id) {
        Some(bucket)
            if service.flow_rate != 0 && !take(bucket, service.flow_rate, service.flow_burst, now) =>
        {
            Err(Outcome::FlowLimited)
        }
        _ => Ok(()),
    }
}

/// Takes one from a bucket.
#[inline(always)]
fn take(bucket: *mut u64, per_second: u32, burst: u32, now: u64) -> bool {
    for _ in 0..TRIES {
        // SAFETY: an aligned word of a map; a volatile read is one load of it. One of an LRU hash may be recycled meanwhile: then another
        // source pays for this one once.
        let old = unsafe { core::ptr::read_volatile(bucket) };
        let Some(next) = rate::take(old, per_second, burst, now) else {
            return false;
        };
        // SAFETY: as above.
        if unsafe { atomic::replace(bucket, old, next) } {
            return true;
        }
    }
    // So many CPUs at once are within any burst.
    true
}
