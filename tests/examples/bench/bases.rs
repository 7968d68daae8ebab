//! Programs that do the least of what a balancer does: what figures are compared with.

use crate::sys::{Instruction, action};

/// `bpf_xdp_adjust_head` and `bpf_xdp_adjust_tail`, by the numbers of include/uapi/linux/bpf.h.
pub const XDP_ADJUST_HEAD: i32 = 44;
pub const XDP_ADJUST_TAIL: i32 = 65;
const CONTEXT: u8 = 6;

/// The bytes that are put before a packet: an outer IPv4 header.
const MOVED: i32 = 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    Drop,
    Pass,
    /// Sends the frame as it is.
    Send,
    /// Makes room for an outer header and sends the frame.
    HeadMoveSend,
    /// As one that answers a packet that is too big: makes room before it, cuts off what is not quoted, and sends it.
    AnswerSend {
        head: i32,
        cut: i32,
    },
}

impl Base {
    /// Those that are measured beside each other.
    pub const ALL: [Self; 4] = [Self::Drop, Self::Pass, Self::Send, Self::HeadMoveSend];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Send => "send",
            Self::HeadMoveSend => "head-move-send",
            Self::AnswerSend { .. } => "head-move-cut-send",
        }
    }

    /// What becomes of the frames.
    pub const fn action(self) -> u32 {
        match self {
            Self::Drop => action::DROP,
            Self::Pass => action::PASS,
            Self::Send | Self::HeadMoveSend | Self::AnswerSend { .. } => action::TX,
        }
    }

    pub fn instructions(self) -> Vec<Instruction> {
        match self {
            Self::Drop => returns(action::DROP),
            Self::Pass => returns(action::PASS),
            Self::Send => returns(action::TX),
            Self::HeadMoveSend => {
                let mut code = vec![Instruction::set(2, -MOVED), Instruction::call(XDP_ADJUST_HEAD)];
                code.extend(returns(action::TX));
                code
            }
            Self::AnswerSend { head, cut } => {
                let mut code = vec![
                    Instruction::copy(CONTEXT, 1),
                    Instruction::set(2, -head),
                    Instruction::call(XDP_ADJUST_HEAD),
                    Instruction::copy(1, CONTEXT),
                    Instruction::set(2, -cut),
                    Instruction::call(XDP_ADJUST_TAIL),
                ];
                code.extend(returns(action::TX));
                code
            }
        }
    }
}

fn returns(action: u32) -> Vec<Instruction> {
    vec![Instruction::set(0, action.cast_signed()), Instruction::exit()]
}
