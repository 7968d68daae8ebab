//! Memory: areas with addresses of their own, so that no address leads from one to another.

use anyhow::{Context as _, Result, ensure};

use super::arithmetic::cut;

/// Addresses have the number of their area in the upper half.
const AREA: u32 = 32;
const CONTEXT_AREA: u64 = 1;
const PACKET_AREA: u64 = 2;
const STACK_AREA: u64 = 3;
const FIRST_VALUE: u64 = 4;

/// `struct xdp_md`.
pub const CONTEXT: u64 = CONTEXT_AREA << AREA;
const DATA: u64 = 0;
const DATA_END: u64 = 4;
const INGRESS: u64 = 12;
const LOOPBACK: u64 = 1;

/// The stacks of functions, one after the other.
pub const STACK: Stack = Stack {
    frames: 8,
    bytes: 512,
};

pub struct Stack {
    pub frames: usize,
    bytes: usize,
}

/// A frame, and the room around it that drivers give.
#[derive(Default)]
pub struct Packet {
    bytes: Vec<u8>,
    pub start: usize,
    pub end: usize,
}

pub struct Memory {
    pub packet: Packet,
    stack: Vec<u8>,
    values: Vec<Vec<u8>>,
}

const HEADROOM: usize = 256;
const TAILROOM: usize = 2048;

impl Packet {
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend(frame);
        let end = bytes.len();
        bytes.resize(end + TAILROOM, 0);
        Self {
            bytes,
            start: HEADROOM,
            end,
        }
    }

    pub fn frame(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Moves an end of the frame; whether there was room.
    pub fn move_start(&mut self, by: i64) -> bool {
        let moved = moved(self.start, by).filter(|start| start + 14 <= self.end);
        self.start = moved.unwrap_or(self.start);
        moved.is_some()
    }

    pub fn move_end(&mut self, by: i64) -> bool {
        let moved = moved(self.end, by).filter(|&end| self.start + 14 <= end && end <= self.bytes.len());
        self.end = moved.unwrap_or(self.end);
        moved.is_some()
    }
}

fn moved(at: usize, by: i64) -> Option<usize> {
    at.checked_add_signed(isize::try_from(by).ok()?)
}

/// The address above the stack of a function that is called at this depth.
pub const fn stack_top(depth: usize) -> u64 {
    (STACK_AREA << AREA) + ((depth + 1) * STACK.bytes) as u64
}

impl Memory {
    pub fn new() -> Self {
        Self {
            packet: Packet::default(),
            stack: vec![0; STACK.frames * STACK.bytes],
            values: Vec::new(),
        }
    }

    /// Gives a map's value an address.
    pub fn add(&mut self, value: Vec<u8>) -> u64 {
        let address = (FIRST_VALUE + self.values.len() as u64) << AREA;
        self.values.push(value);
        address
    }

    /// The number in so many bytes.
    pub fn load(&self, address: u64, bytes: usize) -> Result<u64> {
        if address >> AREA == CONTEXT_AREA {
            return self.context(cut(address, 4));
        }
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(self.bytes(address, bytes)?);
        Ok(u64::from_le_bytes(word))
    }

    pub fn store(&mut self, address: u64, bytes: usize, value: u64) -> Result<()> {
        self.write(address, &value.to_le_bytes()[..bytes])
    }

    pub fn bytes(&self, address: u64, len: usize) -> Result<&[u8]> {
        let (area, at) = self.area(address)?;
        let end = at.checked_add(len).context("an address beyond all")?;
        area.get(at..end)
            .with_context(|| format!("{len} bytes at {address:#x} are not all there"))
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.bytes(address, bytes.len())?;
        let at = usize::try_from(cut(address, 4))?;
        let area = match address >> AREA {
            PACKET_AREA => &mut self.packet.bytes,
            STACK_AREA => &mut self.stack,
            value => &mut self.values[usize::try_from(value - FIRST_VALUE)?],
        };
        area[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// An area, and where in it an address is. Of the packet's, only the frame is there.
    fn area(&self, address: u64) -> Result<(&[u8], usize)> {
        let at = usize::try_from(cut(address, 4))?;
        let area = match address >> AREA {
            PACKET_AREA => {
                ensure!(at >= self.packet.start, "{address:#x} is before the frame");
                &self.packet.bytes[..self.packet.end]
            }
            STACK_AREA => &self.stack,
            value => {
                let value = value.checked_sub(FIRST_VALUE).context("a null pointer")?;
                let value = self.values.get(usize::try_from(value)?);
                value.with_context(|| format!("{address:#x} is no address"))?
            }
        };
        Ok((area, at))
    }

    /// Fields of the context, of which the kernel makes pointers.
    fn context(&self, field: u64) -> Result<u64> {
        let at = |offset: usize| PACKET_AREA << AREA | offset as u64;
        Ok(match field {
            DATA => at(self.packet.start),
            DATA_END => at(self.packet.end),
            INGRESS => LOOPBACK,
            _ => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_leads_to_the_frame_and_not_beyond_it() {
        let mut memory = Memory::new();
        memory.packet = Packet::new(&[7; 60]);
        let data = memory.load(CONTEXT, 4).unwrap();
        let end = memory.load(CONTEXT + DATA_END, 4).unwrap();
        assert_eq!((end - data, memory.load(data, 1).unwrap()), (60, 7));
        assert!(memory.load(end - 1, 2).is_err() && memory.load(data - 1, 1).is_err());
        assert!(memory.packet.move_start(-20) && memory.load(data - 20, 8).is_ok());
        assert!(!memory.packet.move_start(-300) && !memory.packet.move_start(100));
    }

    #[test]
    fn what_is_stored_is_loaded_and_null_is_no_address() {
        let mut memory = Memory::new();
        let value = memory.add(vec![0; 8]);
        memory.store(value + 2, 4, 0x1_2345_6789).unwrap();
        assert_eq!(memory.load(value, 8).unwrap(), 0x2345_6789 << 16);
        assert!(memory.store(value + 5, 4, 0).is_err() && memory.load(0, 1).is_err());
        memory.store(stack_top(7) - 8, 8, 1).unwrap();
        assert!(memory.store(stack_top(7) - 7, 8, 1).is_err());
    }
}
