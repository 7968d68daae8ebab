//! The kernel's side of a frame: its memory, its bounds, and the helpers that move them.

use std::{
    cell::OnceCell,
    num::NonZeroUsize,
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::frame::Frame;

/// The longest frame: as far as offsets of headers reach.
pub const LONGEST: usize = 0x4000;
/// Room before a frame (`XDP_PACKET_HEADROOM`, include/uapi/linux/bpf.h).
const HEADROOM: usize = 256;
/// Memory for one frame with its headroom, and as much behind that nobody may touch: whole pages, whatever their size.
const ROOM: usize = 0x1_0000;
/// What a driver may have left before a frame.
const LEFT: u8 = 0xa5;

/// As aya names them.
pub mod bindings {
    /// The context of a frame. Bounds are addresses of 32 bits, as the kernel declares them.
    #[repr(C)]
    pub struct xdp_md {
        pub data: u32,
        pub data_end: u32,
        pub ingress_ifindex: u32,
        /// Where the headroom begins.
        pub(super) hard_start: u32,
    }
}

/// As aya names them.
pub mod programs {
    use super::bindings::xdp_md;

    pub struct XdpContext(*mut xdp_md);

    impl XdpContext {
        pub(crate) const fn new(ctx: *mut xdp_md) -> Self {
            Self(ctx)
        }

        pub(crate) fn data(&self) -> usize {
            // SAFETY: `receive` made the context, which outlives the frame.
            unsafe { (*self.0).data as usize }
        }

        pub(crate) fn data_end(&self) -> usize {
            // SAFETY: as in `data`.
            unsafe { (*self.0).data_end as usize }
        }
    }
}

/// As aya names them; refusals are those of net/core/filter.c.
pub mod helpers {
    pub mod generated {
        use crate::kernel::bindings::xdp_md;

        const ETHERNET: u32 = 14;
        const REFUSED: i64 = -22;

        /// # Safety
        /// The context is a valid one.
        pub(crate) unsafe fn bpf_xdp_adjust_head(ctx: *mut xdp_md, delta: i32) -> i64 {
            // SAFETY: the caller's promise; nobody else has it while this runs.
            let context = unsafe { &mut *ctx };
            match context.data.checked_add_signed(delta) {
                Some(data) if data >= context.hard_start && data + ETHERNET <= context.data_end => {
                    context.data = data;
                    0
                }
                _ => REFUSED,
            }
        }

        /// # Safety
        /// The context is a valid one.
        pub(crate) unsafe fn bpf_xdp_adjust_tail(ctx: *mut xdp_md, delta: i32) -> i64 {
            // SAFETY: as in `bpf_xdp_adjust_head`.
            let context = unsafe { &mut *ctx };
            match context.data_end.checked_add_signed(delta) {
                Some(end) if delta <= 0 && end >= context.data + ETHERNET => {
                    context.data_end = end;
                    0
                }
                _ => REFUSED,
            }
        }

        /// # Safety
        /// The context is a valid one.
        pub(crate) unsafe fn bpf_xdp_get_buff_len(ctx: *mut xdp_md) -> u64 {
            // SAFETY: the caller's promise.
            let context = unsafe { &*ctx };
            u64::from(context.data_end - context.data)
        }
    }
}

/// Has `work` done on a frame of these bytes; gives its result and the frame as it is then.
///
/// # Panics
/// On bytes beyond [`LONGEST`], and where there is no memory.
pub fn receive<R>(bytes: &[u8], work: impl FnOnce(&mut Frame) -> R) -> (R, Vec<u8>) {
    thread_local!(static MEMORY: OnceCell<NonNull<u8>> = const { OnceCell::new() });
    assert!(
        bytes.len() <= LONGEST,
        "a frame of {} bytes; the longest has {LONGEST}",
        bytes.len()
    );
    let start = MEMORY.with(|memory| *memory.get_or_init(memory_for_a_frame));
    let data = ROOM - bytes.len();
    // SAFETY: the memory has `ROOM` bytes, this thread's alone, and no frame in it is alive.
    let room = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), ROOM) };
    room[data - HEADROOM..data].fill(LEFT);
    room[data..].copy_from_slice(bytes);
    let address = |offset: usize| u32::try_from(start.as_ptr() as usize + offset).unwrap_or(0);
    let mut context = bindings::xdp_md {
        data: address(data),
        data_end: address(ROOM),
        ingress_ifindex: 1,
        hard_start: address(data - HEADROOM),
    };
    let ctx = &raw mut context;
    let result = work(&mut Frame::new(ctx));
    let (from, to) = (context.data as usize, context.data_end as usize);
    let mut after = vec![0; to - from];
    // SAFETY: the helpers keep the bounds inside the memory; the vector has as many bytes.
    unsafe { ptr::copy_nonoverlapping(from as *const u8, after.as_mut_ptr(), after.len()) };
    (result, after)
}

/// Memory below 4 GiB, which is where the kernel's declaration of the bounds can point to.
fn memory_for_a_frame() -> NonNull<u8> {
    static NEXT: AtomicUsize = AtomicUsize::new(0x1000_0000);
    let at = NEXT.fetch_add(2 * ROOM, Ordering::Relaxed);
    let (Some(hint), Some(len)) = (NonZeroUsize::new(at), NonZeroUsize::new(2 * ROOM)) else {
        panic!("no address for a frame");
    };
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that is only a hint touches no other.
    let memory = match unsafe { mmap_anonymous(Some(hint), len, access, MapFlags::MAP_PRIVATE) } {
        Ok(memory) => memory.cast::<u8>(),
        Err(error) => panic!("map memory for a frame: {error}"),
    };
    assert!(
        u32::try_from(memory.as_ptr() as usize + 2 * ROOM).is_ok(),
        "no memory below 4 GiB for a frame: {at:#x} is taken"
    );
    // SAFETY: inside the mapping.
    let behind = unsafe { memory.add(ROOM) };
    // SAFETY: the second half of the mapping above, which nothing refers to.
    if let Err(error) = unsafe { mprotect(behind.cast(), ROOM, ProtFlags::PROT_NONE) } {
        panic!("guard the memory of a frame: {error}");
    }
    memory
}
