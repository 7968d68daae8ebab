//! Internet checksums (RFC 1071), in another way than the program's: byte by byte, modulo 65535.

/// What the 16-bit words of these runs of bytes, each padded to whole words, add up to in ones' complement; both forms of
/// zero are 0. Of bytes with a checksum that is right among them it is 0.
pub fn residue(runs: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for run in runs {
        for (place, byte) in run.iter().enumerate() {
            let weight = if place % 2 == 0 { 256 } else { 1 };
            sum = (sum + u32::from(*byte) * weight) % 0xffff;
        }
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The checksum of runs of bytes that hold zero in its place.
pub fn check(runs: &[&[u8]]) -> [u8; 2] {
    (!residue(runs)).to_be_bytes()
}
