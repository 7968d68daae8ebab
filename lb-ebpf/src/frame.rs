//! The only raw access to packets.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};

use lb_common::next_hop::NextHop;

use crate::config;

/// A header that may be viewed in place.
///
/// # Safety
/// Implementors have alignment 1 and accept any bytes.
pub unsafe trait Header {}

// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}

/// Declares headers as runs of bytes, with the proof that they may be viewed anywhere.
macro_rules! headers {
    ($($(#[$attribute:meta])* pub struct $name:ident { $($(#[$about:meta])* $field:ident: [u8; $len:literal]),* $(,)? })*) => {
        $(
            $(#[$attribute])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $($(#[$about])* pub $field: [u8; $len]),* }

            // SAFETY: all fields are byte arrays.
            unsafe impl Header for $name {}

            impl $name {
                /// Length of the header in bytes.
                #[allow(dead_code, reason = "not every header's is asked for")]
                #[expect(clippy::cast_possible_truncation, reason = "the size of a header")]
                pub const LEN: u16 = size_of::<Self>() as u16;
            }
        )*
    };
}

headers! {
    /// The Ethernet addresses at the head of a frame.
    pub struct Macs { destination: [u8; 6], source: [u8; 6] }

    /// The same, as they are written: destination and source, each from its first and from its fifth byte on.
    pub struct MacWords { d0: [u8; 4], d4: [u8; 2], s0: [u8; 4], s4: [u8; 2] }

    /// IPv4 (RFC 791) without options.
    pub struct Ipv4 {
        /// Version and length in words; type of service.
        version_tos: [u8; 2],
        total_len: [u8; 2],
        id: [u8; 2],
        fragment: [u8; 2],
        ttl: [u8; 1],
        protocol: [u8; 1],
        check: [u8; 2],
        source: [u8; 4],
        destination: [u8; 4],
    }

    /// IPv6 (RFC 8200).
    pub struct Ipv6 {
        /// Version, traffic class, flow label.
        version_class: [u8; 4],
        payload_len: [u8; 2],
        next_header: [u8; 1],
        hop_limit: [u8; 1],
        source: [u8; 16],
        destination: [u8; 16],
    }

    /// TCP (RFC 9293) without options.
    pub struct Tcp {
        source: [u8; 2],
        destination: [u8; 2],
        sequence: [u8; 4],
        acknowledgement: [u8; 4],
        /// Length in words in the upper half.
        offset: [u8; 1],
        flags: [u8; 1],
        window: [u8; 2],
        check: [u8; 2],
        urgent: [u8; 2],
    }

    /// UDP (RFC 768).
    pub struct Udp { source: [u8; 2], destination: [u8; 2], len: [u8; 2], check: [u8; 2] }

    /// ICMP and ICMPv6 (RFC 792, RFC 4443).
    pub struct Icmp { kind: [u8; 1], code: [u8; 1], check: [u8; 2], rest: [u8; 4] }
}

impl Macs {
    /// The addresses that a frame leaves with. By words: of bytes each is loaded and stored by itself.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the two parts of an address")]
    pub fn of(hop: &NextHop) -> MacWords {
        // SAFETY: the first 16 bytes of a value that is aligned to words, and any bits are integers.
        let [destination, source] = unsafe { (&raw const *hop).cast::<[u64; 2]>().read() };
        let parts = |address: u64| {
            (
                (address as u32).to_ne_bytes(),
                ((address >> 32) as u16).to_ne_bytes(),
            )
        };
        let ((d0, d4), (s0, s4)) = (parts(destination), parts(source));
        MacWords { d0, d4, s0, s4 }
    }
}

/// Where headers may start, as a mask: the verifier wants every offset bounded, and headers stand well before this.
const OFFSETS: usize = 0x3fff;

/// A received frame. Views of headers borrow it, so none survives a change of its bounds.
#[repr(transparent)]
pub struct Frame {
    ctx: *mut xdp_md,
}

impl Frame {
    pub fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }

    /// Length of the whole frame in bytes.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        if config::is_multi_buffer() {
            // SAFETY: the context is the one that the kernel gave us.
            return unsafe { bpf_xdp_get_buff_len(self.ctx) };
        }
        let context = self.context();
        (context.data_end() - context.data()) as u64
    }

    /// Index of the interface that it came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        // SAFETY: the kernel hands the program a valid context for as long as it runs.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Uses the context. A stage that does not look at the packet calls this: the code generator passes nothing for a parameter
    /// that is not used, and the verifier wants what the signature says.
    #[inline(always)]
    pub fn hold(&self) {
        // SAFETY: as in `ingress`.
        let ifindex = unsafe { &raw const (*self.ctx).ingress_ifindex };
        // SAFETY: as above. Volatile, so that it is not left out.
        unsafe { ifindex.read_volatile() };
    }

    #[inline(always)]
    pub fn context(&self) -> XdpContext {
        XdpContext::new(self.ctx)
    }

    pub fn raw(&self) -> *mut xdp_md {
        self.ctx
    }

    /// The header at `offset`, if the frame holds all of it.
    #[inline(always)]
    pub fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let at = self.bounded::<T>(offset)?;
        // SAFETY: `bounded` proved that the bytes are inside the frame; `T: Header` takes any bytes at any alignment.
        Some(unsafe { &*at })
    }

    /// The byte at `offset`, which is not the frame's first.
    ///
    /// Looked at with the one before it: that a single byte is inside the frame, the code generator asks in a way that the
    /// verifier draws nothing from (`find_good_pkt_pointers` in kernel/bpf/verifier.c: no range from an open end at offset 0).
    #[inline(always)]
    pub fn byte(&self, offset: usize) -> Option<u8> {
        let &[_, byte] = self.header::<[u8; 2]>(offset - 1)?;
        Some(byte)
    }

    /// The header at `offset` for writing, if the frame holds all of it.
    #[inline(always)]
    pub fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let at = self.bounded::<T>(offset)?;
        // SAFETY: as in `header`; the exclusive borrow of the frame makes this the only view.
        Some(unsafe { &mut *at })
    }

    /// Makes room for `bytes` before the frame, or takes as many away if they are negative. Refused, the frame is as before.
    #[inline(always)]
    pub fn grow_head(&mut self, bytes: i32) -> bool {
        // SAFETY: the context is the one that the kernel gave us; no view of the frame is alive.
        unsafe { bpf_xdp_adjust_head(self.ctx, -bytes) == 0 }
    }

    /// Cuts `bytes` off the end of the frame. Refused, the frame is as before.
    #[inline(always)]
    pub fn cut_tail(&mut self, bytes: i32) -> bool {
        // SAFETY: as in `grow_head`.
        unsafe { bpf_xdp_adjust_tail(self.ctx, -bytes) == 0 }
    }

    #[inline(always)]
    fn bounded<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.context().data() + (offset & OFFSETS);
        // Read anew each time: from one that is known, the code generator would draw that an earlier header ends beyond this
        // one, and leave out the comparison that the verifier wants to see.
        // SAFETY: the context is the one that the kernel gave us.
        let end = unsafe { &raw const (*self.ctx).data_end };
        // SAFETY: as above.
        let end = unsafe { end.read_volatile() };
        if start + size_of::<T>() > end as usize {
            return None;
        }
        Some(start as *mut T)
    }
}
