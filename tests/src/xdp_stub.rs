//! An XDP program that passes every packet, attached natively to a veth.
//!
//! XDP_TX from a veth, and a redirect into one, hand frames to its peer's NAPI, which runs only when the peer has a
//! native XDP program: without it they are counted and vanish. Two instructions do not need a compiler or an ELF
//! file, so they go to bpf(2) as they are. The link ends with its descriptor, hence also when the owner is killed.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;

use crate::netns::Netns;

const BPF_PROG_LOAD: c_long = 5;
const BPF_LINK_CREATE: c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;

/// Keeps a stub attached.
#[derive(Debug)]
pub(crate) struct Stub {
    _link: OwnedFd,
}

/// Attaches a stub to each of the devices of `ns`.
pub(crate) fn attach(ns: &Netns, devices: &[&str]) -> Result<Vec<Stub>> {
    ns.run(|| {
        let program = load().context("load the XDP stub")?;
        let attached = devices.iter().map(|device| {
            let index = if_nametoindex(*device).with_context(|| format!("look up {device}"))?;
            let link = link(&program, index).with_context(|| format!("attach the XDP stub to {device}"))?;
            Ok(Stub { _link: link })
        });
        attached.collect()
    })?
}

/// Loads the program: the least that any use of XDP needs from the host.
pub(crate) fn load() -> io::Result<OwnedFd> {
    load_program(&[Instruction::new(0xb7, 0, 0, XDP_PASS), EXIT])
}

fn load_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        ..ProgLoad::default()
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

fn link(program: &OwnedFd, index: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd(),
        target_ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// `registers` has the destination in its low half, the source in the high one.
    const fn new(code: u8, registers: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }
}

const EXIT: Instruction = Instruction::new(0x95, 0, 0, 0);

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes what is not given as zero.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    prog_fd: RawFd,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads size_of::<T> bytes from the reference and no more; the addresses that the two
    // attribute types hold are of an instruction array and a C string that outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor that nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::{Lab, preflight};

    const XDP_TX: i32 = 3;

    /// Exchanges the MAC addresses and sends every frame back.
    const REFLECT: [Instruction; 17] = [
        Instruction::new(0x61, 0x12, 0, 0),  // r2 = data
        Instruction::new(0x61, 0x13, 4, 0),  // r3 = data_end
        Instruction::new(0xbf, 0x24, 0, 0),  // r4 = r2
        Instruction::new(0x07, 0x04, 0, 14), // r4 += 14
        Instruction::new(0x2d, 0x34, 10, 0), // if r4 > r3 goto pass
        Instruction::new(0x61, 0x25, 0, 0),  // r5, r6 = destination
        Instruction::new(0x69, 0x26, 4, 0),
        Instruction::new(0x61, 0x27, 6, 0), // r7, r8 = source
        Instruction::new(0x69, 0x28, 10, 0),
        Instruction::new(0x63, 0x72, 0, 0), // destination = r7, r8
        Instruction::new(0x6b, 0x82, 4, 0),
        Instruction::new(0x63, 0x52, 6, 0), // source = r5, r6
        Instruction::new(0x6b, 0x62, 10, 0),
        Instruction::new(0xb7, 0x00, 0, XDP_TX),
        EXIT,
        Instruction::new(0xb7, 0x00, 0, XDP_PASS), // pass:
        EXIT,
    ];

    #[test]
    fn what_xdp_sends_through_a_stub_arrives() {
        if !preflight::ready() {
            return;
        }
        let lab = Lab::new().build().unwrap();
        assert_eq!(lab.client.ping(lab.front.addr.into(), 1).unwrap(), 1);
        let attach = || link(&load_program(&REFLECT)?, if_nametoindex("eth0")?);
        let _reflector = lab.lb.ns.run(attach).unwrap().unwrap();
        let received = || -> u64 {
            let text = lab.client.ns.exec(&["cat", "/proc/net/dev"]).unwrap();
            let eth0 = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("eth0:"))
                .unwrap();
            eth0.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let before = received();
        let socket = lab
            .client
            .ns
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .unwrap()
            .unwrap();
        for _ in 0..100 {
            socket.send_to(b"back to you", (lab.front.addr, 9)).unwrap();
        }
        for _ in 0..100 {
            if received() >= before + 100 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} of 100 frames came back", received() - before);
    }
}
