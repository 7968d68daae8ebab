//! The helpers that the programs call, as far as a benchmark's packets do.

use anyhow::{Context as _, Result, bail};

use super::{Machine, arithmetic::cut};

/// By the numbers of include/uapi/linux/bpf.h.
mod helper {
    pub const MAP_LOOKUP: i32 = 1;
    pub const MAP_UPDATE: i32 = 2;
    pub const MAP_DELETE: i32 = 3;
    pub const KTIME: i32 = 5;
    pub const PRANDOM: i32 = 7;
    pub const CPU: i32 = 8;
    pub const REDIRECT: i32 = 23;
    pub const ADJUST_HEAD: i32 = 44;
    pub const ADJUST_TAIL: i32 = 65;
    pub const FIB_LOOKUP: i32 = 69;
    pub const KTIME_COARSE: i32 = 160;
    pub const BUFFER_LEN: i32 = 188;
}
/// Some moment after the start.
const NOW: u64 = 1_000_000_000_000_000;
/// `BPF_FIB_LKUP_RET_NOT_FWDED`: a host of its own.
const NOT_FORWARDED: u64 = 4;
const XDP_REDIRECT: u64 = 4;
const INVALID: i64 = -22;

impl Machine {
    /// Calls a helper.
    pub(super) fn call(&mut self, number: i32) -> Result<()> {
        if number == helper::MAP_LOOKUP {
            self.tally.lookups += 1;
        } else {
            self.tally.helpers += 1;
        }
        let [_, r1, r2, r3, r4, ..] = self.registers;
        let result = match number {
            helper::MAP_LOOKUP => {
                let (map, key) = self.key(r1, r2)?;
                self.maps.lookup(&mut self.memory, map, &key)?
            }
            helper::MAP_UPDATE => {
                let (map, key) = self.key(r1, r2)?;
                let (_, len) = self.maps.sizes(map);
                let value = self.memory.bytes(r3, len)?.to_vec();
                let memory = &mut self.memory;
                self.maps.update(memory, map, &key, value, r4)?.cast_unsigned()
            }
            helper::MAP_DELETE => {
                let (map, key) = self.key(r1, r2)?;
                self.maps.delete(&mut self.memory, map, &key)?.cast_unsigned()
            }
            helper::KTIME | helper::KTIME_COARSE => NOW,
            // As good as any.
            helper::PRANDOM => self.tally.instructions,
            helper::CPU => self.maps.cpu as u64,
            helper::REDIRECT => XDP_REDIRECT,
            helper::ADJUST_HEAD => result(self.memory.packet.move_start(distance(r2))),
            helper::ADJUST_TAIL => result(self.memory.packet.move_end(distance(r2))),
            helper::FIB_LOOKUP => NOT_FORWARDED,
            helper::BUFFER_LEN => (self.memory.packet.end - self.memory.packet.start) as u64,
            other => bail!("helper {other} is none that is known here"),
        };
        self.registers[0] = result;
        Ok(())
    }

    fn key(&self, map: u64, key: u64) -> Result<(usize, Vec<u8>)> {
        let map = self.maps.of(map)?;
        let (len, _) = self.maps.sizes(map);
        let key = self.memory.bytes(key, len).context("read a key")?;
        Ok((map, key.to_vec()))
    }
}

/// An `int` in a register.
fn distance(register: u64) -> i64 {
    super::arithmetic::extended(cut(register, 4), 4).cast_signed()
}

const fn result(done: bool) -> u64 {
    if done { 0 } else { INVALID.cast_unsigned() }
}
