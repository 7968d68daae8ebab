//! The only raw access to packets.

use aya_ebpf::{EbpfContext as _, programs::XdpContext};
use network_types::{ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

/// A header that may be viewed in place.
///
/// # Safety
/// Implementors have alignment 1 and accept any bytes.
pub unsafe trait Header {}

// SAFETY: byte arrays, checked below.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: byte arrays, checked below.
unsafe impl Header for TcpHdr {}
// SAFETY: byte arrays, checked below.
unsafe impl Header for UdpHdr {}
// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}

const _: () = assert!(align_of::<Ipv4Hdr>() == 1 && align_of::<TcpHdr>() == 1 && align_of::<UdpHdr>() == 1);

/// The Ethernet addresses at the head of a frame, destination first.
#[repr(C)]
pub struct Macs {
    pub destination: [u8; 6],
    pub source: [u8; 6],
}

// SAFETY: byte arrays.
unsafe impl Header for Macs {}

/// A received frame. Views of headers borrow it, so none survives a change of its bounds.
pub struct Frame {
    ctx: XdpContext,
}

impl Frame {
    pub fn new(ctx: XdpContext) -> Self {
        Self { ctx }
    }

    /// Length of the whole frame in bytes.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        (self.ctx.data_end() - self.ctx.data()) as u64
    }

    /// Index of the interface that it came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        // SAFETY: the kernel hands the program a valid context for as long as it runs.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    pub fn context(&self) -> &XdpContext {
        &self.ctx
    }

    pub fn raw_context(&self) -> *mut core::ffi::c_void {
        self.ctx.as_ptr()
    }

    /// The header at `offset`, if the frame holds all of it.
    #[inline(always)]
    pub fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let at = self.bounded::<T>(offset)?;
        // SAFETY: `bounded` proved that the bytes are inside the frame; `T: Header` takes any bytes at any alignment.
        Some(unsafe { &*at })
    }

    /// The header at `offset` for writing, if the frame holds all of it.
    #[inline(always)]
    pub fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let at = self.bounded::<T>(offset)?;
        // SAFETY: as in `header`; the exclusive borrow of the frame makes this the only view.
        Some(unsafe { &mut *at })
    }

    #[inline(always)]
    fn bounded<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.ctx.data() + offset;
        if start + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        Some(start as *mut T)
    }
}
