//! ICMP's numbers, and the packets that its errors quote.

use std::fmt;

use crate::wire::{Ip, read};

/// Type and code, for both families (RFC 792, RFC 4443).
pub struct Kind {
    pub v4: (u8, u8),
    pub v6: (u8, u8),
}

impl Kind {
    pub fn of(&self, v4: bool) -> (u8, u8) {
        if v4 { self.v4 } else { self.v6 }
    }
}

pub const ECHO_REQUEST: Kind = Kind {
    v4: (8, 0),
    v6: (128, 0),
};
pub const ECHO_REPLY: Kind = Kind {
    v4: (0, 0),
    v6: (129, 0),
};
pub const TIME_EXCEEDED: Kind = Kind {
    v4: (11, 0),
    v6: (3, 0),
};
pub const TOO_BIG: Kind = Kind {
    v4: (3, 4),
    v6: (2, 0),
};
pub const PORT_UNREACHABLE: Kind = Kind {
    v4: (3, 3),
    v6: (1, 4),
};
pub const PARAMETER_PROBLEM: Kind = Kind {
    v4: (12, 0),
    v6: (4, 0),
};

/// Whether a message of this type is an error that quotes a packet.
pub fn is_error(v4: bool, kind: u8) -> bool {
    if v4 {
        matches!(kind, 3 | 4 | 5 | 11 | 12)
    } else {
        matches!(kind, 1..=4)
    }
}

/// The beginning of a packet, or all of it, as an error quotes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote(pub Vec<u8>);

impl Quote {
    /// The packet, where the quote is all of it; what is wrong with it, where something is.
    pub fn whole(&self) -> Result<Option<Ip>, String> {
        read::packet_if_whole(&self.0)
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whole() {
            Ok(Some(ip)) => write!(f, "Whole({ip:?})"),
            _ => write!(f, "Quote({} bytes: {:02x?})", self.0.len(), self.0),
        }
    }
}
