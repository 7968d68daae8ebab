//! Frames to start from: those of the packet tests' fixtures, and ICMP errors about each of them.

use std::{fs, io, path::Path};

use crate::sum;

/// Every frame of `tests/fixtures`, and errors of both families that quote them.
///
/// # Errors
/// Where a file cannot be read.
pub fn frames() -> io::Result<Vec<Vec<u8>>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut frames = Vec::new();
    for dir in [fixtures.clone(), fixtures.join("other")] {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        // The same mutations on every host.
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            let text = fs::read_to_string(path)?;
            frames.extend(text.lines().filter_map(frame));
        }
    }
    for protocol in [6, 17, 132] {
        frames.extend([v4(protocol), v6(protocol)]);
    }
    let errors: Vec<_> = frames.iter().filter_map(|frame| error_about(frame)).collect();
    frames.extend(errors);
    Ok(frames)
}

/// The frame of a line `OUTCOME HEX`.
fn frame(line: &str) -> Option<Vec<u8>> {
    let (outcome, hex) = line.split_once(' ')?;
    if outcome == "#" || outcome == "backend" {
        return None;
    }
    let digits = hex.bytes().map(|digit| char::from(digit).to_digit(16));
    let digits = digits.collect::<Option<Vec<_>>>()?;
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair.get(1)?).ok())
        .collect()
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const V4: [[u8; 4]; 2] = [[198, 51, 100, 1], [192, 0, 2, 10]];
const V6: [[u8; 16]; 2] = [
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
];

fn v4(protocol: u8) -> Vec<u8> {
    around_v4(V4, protocol, &transport(protocol, V4.as_flattened()))
}

fn v6(protocol: u8) -> Vec<u8> {
    around_v6(V6, protocol, &transport(protocol, V6.as_flattened()))
}

/// A TCP, UDP or SCTP header that is whole, with five bytes.
fn transport(protocol: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0x01, 0xbb];
    let check = match protocol {
        6 => {
            header.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            16
        }
        17 => {
            header.extend([0, 13, 0, 0]);
            6
        }
        _ => {
            header.extend([1, 2, 3, 4, 5, 6, 7, 8]);
            return header;
        }
    };
    header.extend(b"hello");
    let [.., len] = header.len().to_be_bytes();
    let sum = sum::check(&[addresses, &[0, protocol, 0, len], &header]);
    header[check..check + 2].copy_from_slice(&sum);
    header
}

/// An ICMP error to the sender of the packet in an untagged frame.
fn error_about(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0x78];
            message.extend(&packet[..packet.len().min(100)]);
            let check = sum::check(&[&message]);
            message[2..4].copy_from_slice(&check);
            let to = packet.get(12..16)?.try_into().ok()?;
            Some(around_v4([[203, 0, 113, 1], to], 1, &message))
        }
        [0x86, 0xdd] => {
            let mut message = vec![2, 0, 0, 0, 0, 0, 5, 0];
            message.extend(&packet[..packet.len().min(100)]);
            let ends = [V6[1], packet.get(8..24)?.try_into().ok()?];
            let [.., l1, l0] = message.len().to_be_bytes();
            let check = sum::check(&[ends.as_flattened(), &[0, 58, l1, l0], &message]);
            message[2..4].copy_from_slice(&check);
            Some(around_v6(ends, 58, &message))
        }
        _ => None,
    }
}

fn around_v4(ends: [[u8; 4]; 2], protocol: u8, body: &[u8]) -> Vec<u8> {
    let [.., l1, l0] = (20 + body.len()).to_be_bytes();
    let mut header = vec![0x45, 0, l1, l0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    header.extend(ends.as_flattened());
    let check = sum::check(&[&header]);
    header[10..12].copy_from_slice(&check);
    [&MACS[..], &[0x08, 0x00], &header[..], body].concat()
}

fn around_v6(ends: [[u8; 16]; 2], protocol: u8, body: &[u8]) -> Vec<u8> {
    let [.., l1, l0] = body.len().to_be_bytes();
    let header = [0x60, 0, 0, 0, l1, l0, protocol, 64];
    [&MACS[..], &[0x86, 0xdd], &header[..], ends.as_flattened(), body].concat()
}
