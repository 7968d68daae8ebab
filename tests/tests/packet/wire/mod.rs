//! Frames: built from a description, and read back into one with every checksum verified.
//!
//! Shares no code with the program: [`sum`] is the plain Internet checksum, [`ip`], [`body`] and [`icmp`] describe and build,
//! [`read`] reads. What is read equals what was built, so that a frame that comes out of the program can be compared with one
//! that was built as it should be; [`frame`] has the shorthands of the tests, and `etherparse` is the judge of both (see
//! the tests of [`read`]).

pub mod body;
pub mod frame;
pub mod icmp;
pub mod ip;
pub mod read;
mod selftest;
pub mod sum;

pub use body::{ACK, Body, FIN, PSH, RST, SYN, SYN_ACK};
pub use frame::{Frame, Tag, echo, error, sctp, tcp, udp};
pub use icmp::Quote;
pub use ip::{Extension, Ip};

pub type Mac = [u8; 6];

/// IP protocol numbers (IANA).
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION: u8 = 60;
    pub const SCTP: u8 = 132;
}

/// Port that GUE is sent to (IANA).
pub const GUE_PORT: u16 = 6080;
