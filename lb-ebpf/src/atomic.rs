//! Words that several CPUs change. The compiler's atomic types only load and store for this target; the instructions are those of
//! kernel/bpf (`BPF_ADD`, and `BPF_OR` and `BPF_CMPXCHG` since Linux 5.12).

/// Adds to a word.
///
/// # Safety
/// `place` is an aligned word of a map's value.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub unsafe fn add(place: *mut u64, change: u64) {
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({place} + 0) += {change}",
            place = in(reg) place,
            change = in(reg) change,
            options(nostack),
        );
    }
}

/// Sets bits of a word.
///
/// # Safety
/// `place` is an aligned word of a map's value.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub unsafe fn set(place: *mut u64, bits: u64) {
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({place} + 0) |= {bits}",
            place = in(reg) place,
            bits = in(reg) bits,
            options(nostack),
        );
    }
}

/// Puts `new` in the place of `old`, if that is still there. Whether it was.
///
/// # Safety
/// `place` is an aligned word of a map's value.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub unsafe fn replace(place: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {new})",
            place = in(reg) place,
            new = in(reg) new,
            inout("r0") found,
            options(nostack),
        );
    }
    found == old
}

/// As above, where sources are only looked at.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub unsafe fn add(place: *mut u64, change: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(place) }.fetch_add(change, Ordering::Relaxed);
}

/// As above, where sources are only looked at.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub unsafe fn set(place: *mut u64, bits: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(place) }.fetch_or(bits, Ordering::Relaxed);
}

/// As above, where sources are only looked at.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub unsafe fn replace(place: *mut u64, old: u64, new: u64) -> bool {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller's promise.
    let place = unsafe { AtomicU64::from_ptr(place) };
    place
        .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}
