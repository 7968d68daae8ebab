//! Time, as flows are aged by it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Nanoseconds of the monotonic clock at the last tick: flows live for seconds, and the tick costs less than half of the
/// exact clock (kernel 5.11 on).
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and only reads the kernel's clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
