//! What the stages hand on to each other, as far as those here want it; they call each other as plain functions.

use std::mem::MaybeUninit;

use lb_common::{flow::FlowKey, next_hop::Egress};

use crate::parse::Packet;

/// The fields of the program's own stage that the sources here use.
#[repr(C)]
pub struct Stage {
    pub packet: Packet,
    pub egress: Egress,
    pub leaves_as: FlowKey,
    pub finished_check: u32,
}

impl Stage {
    /// One in which every byte is `byte`: what a map may hold from an earlier packet.
    pub fn left(byte: u8) -> Self {
        let mut stage = MaybeUninit::<Self>::uninit();
        // SAFETY: the pointer is to one `Self`.
        unsafe { stage.as_mut_ptr().write_bytes(byte, 1) };
        // SAFETY: written above; integers all through, of which any bytes are a value.
        unsafe { stage.assume_init() }
    }
}

macro_rules! stages {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident as $symbol:ident = $body:path;)*) => {
        $(
            $(#[$attribute])*
            $visibility fn $name(
                frame: &mut $crate::frame::Frame,
                stage: &mut $crate::stage::Stage,
            ) -> Result<(), lb_common::outcome::Outcome> {
                $body(frame, stage)
            }
        )*
    };
}
pub(crate) use stages;
