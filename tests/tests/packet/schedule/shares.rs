//! Share of flows against weight, for every algorithm (chi-square), over a million flows each.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::slot::SlotBits;
use xlb::config::Algorithm;
use xlb_tests::preflight;

use super::{CLIENT, NETWORK, Scene, TCP_PORT, VIP};
use crate::wire::{SYN, sum, tcp};

const WEIGHTS: [u16; 6] = [1, 2, 3, 4, 5, 6];
const FLOWS: u32 = 1_000_000;
/// Room for them all, as they are by default.
const ROOM: u32 = 1 << 20;
/// Finer than any deviation that a million flows would show.
const BITS: SlotBits = SlotBits::new(14);
/// The first of the clients.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);

/// A SYN whose addresses and ports change.
pub struct Syn(Vec<u8>);

/// An IPv4 address and a port.
pub type End = (Ipv4Addr, u16);

impl Syn {
    pub fn new() -> Self {
        Self(tcp((CLIENT, 1), (VIP, 1), SYN).payload(b"").bytes())
    }

    /// The frame between these.
    pub fn between(&mut self, from: End, to: End) -> &[u8] {
        let (ip, ports) = self.0[14..38].split_at_mut(20);
        ip[12..16].copy_from_slice(&from.0.octets());
        ip[16..20].copy_from_slice(&to.0.octets());
        ip[10..12].fill(0);
        let check = sum::checksum(&[ip]);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        ports[..2].copy_from_slice(&from.1.to_be_bytes());
        ports[2..].copy_from_slice(&to.1.to_be_bytes());
        &self.0
    }
}

/// The backend that a frame that came out is for: the end of the outer header's destination.
pub fn arrived_at(out: &[u8]) -> Option<usize> {
    let [10, 20, 0, last] = out.get(30..34)? else {
        return None;
    };
    usize::from(*last).checked_sub(11)
}

/// The end number `index` of a row of addresses.
fn nth(first: Ipv4Addr, index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + index)
}

/// Sends flows between ends; gives how many each backend got.
fn count(scene: &Scene, flows: u32, ends: impl Fn(u32) -> (End, End)) -> Result<[u64; WEIGHTS.len()]> {
    let (mut syn, mut out, mut counts) = (Syn::new(), Vec::new(), [0; WEIGHTS.len()]);
    for index in 0..flows {
        let (from, to) = ends(index);
        scene.rig.send(syn.between(from, to), &mut out)?;
        let place = arrived_at(&out);
        counts[place.ok_or_else(|| anyhow::anyhow!("flow {index} went nowhere"))?] += 1;
    }
    Ok(counts)
}

/// Flows that differ in all that a client chooses.
fn mixed(index: u32) -> (End, End) {
    let port = 1024 + u16::try_from(index % 64_000).unwrap();
    ((nth(CLIENTS, index / 7), port), vip(TCP_PORT))
}

fn vip(port: u16) -> End {
    let std::net::IpAddr::V4(vip) = VIP else {
        unreachable!("the VIP is an IPv4 address")
    };
    (vip, port)
}

/// How far counts are from weights, as Pearson has it.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn chi_square(counts: &[u64], weights: &[u16]) -> f64 {
    let flows = counts.iter().sum::<u64>() as f64;
    let all: u16 = weights.iter().sum();
    let terms = counts.iter().zip(weights).map(|(&count, &weight)| {
        let expected = flows * f64::from(weight) / f64::from(all);
        (count as f64 - expected).powi(2) / expected
    });
    terms.sum()
}

/// What chi-square of so many degrees of freedom passes once in a million times (Wilson, Hilferty: "The distribution of chi-square",
/// PNAS 1931).
fn one_in_a_million(freedom: usize) -> f64 {
    const NORMAL: f64 = 4.753_424;
    let freedom = f64::from(u32::try_from(freedom).unwrap());
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + NORMAL * spread.sqrt()).powi(3)
}

/// The share of every backend is its weight's.
#[expect(clippy::print_stdout, reason = "the figures of a test that passes")]
fn shares_by_weight(algorithm: Algorithm, flows: u32, ends: impl Fn(u32) -> (End, End)) -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::with_room(u32::try_from(WEIGHTS.len())?, ROOM)?;
    scene.weigh(algorithm, BITS, &WEIGHTS)?;
    let counts = count(&scene, flows, ends)?;
    let (found, limit) = (chi_square(&counts, &WEIGHTS), one_in_a_million(WEIGHTS.len() - 1));
    println!("{algorithm:?}: {counts:?}, chi-square {found:.2} of {limit:.2}");
    assert!(
        found < limit,
        "{counts:?} of {WEIGHTS:?}: {found} is beyond {limit}"
    );
    Ok(())
}

#[test]
fn by_maglev() -> Result<()> {
    shares_by_weight(Algorithm::Maglev, FLOWS, mixed)
}

#[test]
fn by_source() -> Result<()> {
    // A client has one share, however many flows.
    shares_by_weight(Algorithm::Source, FLOWS, |index| {
        ((nth(CLIENTS, index), 4000), vip(TCP_PORT))
    })
}

#[test]
fn by_dest() -> Result<()> {
    shares_by_weight(Algorithm::Dest, FLOWS, |index| {
        (mixed(index).0, (nth(NETWORK, index), TCP_PORT))
    })
}

/// There are no more ports than these.
#[test]
fn by_dest_port() -> Result<()> {
    shares_by_weight(Algorithm::DestPort, 65_535, |index| {
        let port = u16::try_from(index + 1).unwrap();
        (mixed(index).0, (nth(NETWORK, 7), port))
    })
}

#[test]
fn by_bounded() -> Result<()> {
    shares_by_weight(Algorithm::Bounded, FLOWS, mixed)
}

#[test]
fn by_round_robin() -> Result<()> {
    shares_by_weight(Algorithm::RoundRobin, FLOWS, mixed)
}

#[test]
fn by_random() -> Result<()> {
    shares_by_weight(Algorithm::Random, FLOWS, mixed)
}

#[test]
fn by_p2c() -> Result<()> {
    shares_by_weight(Algorithm::TwoChoices, FLOWS, mixed)
}

#[test]
fn by_least_conn() -> Result<()> {
    shares_by_weight(Algorithm::LeastConn, FLOWS, mixed)
}

/// The judge sees a deviation of a hundredth, and none where there is none.
#[test]
fn the_judge_is_neither_blind_nor_harsh() {
    let exact = WEIGHTS.map(|weight| u64::from(weight) * 10_000);
    assert!(chi_square(&exact, &WEIGHTS) < 1e-9);
    let mut off = exact;
    off[5] += 2_000;
    assert!(chi_square(&off, &WEIGHTS) > one_in_a_million(5));
    // Of even degrees of freedom the probability has a closed form.
    let half = one_in_a_million(10) / 2.0;
    let terms = (1..5).scan(1.0, |term, k| {
        *term *= half / f64::from(k);
        Some(*term)
    });
    let probability = (-half).exp() * (1.0 + terms.sum::<f64>());
    assert!((3e-7..2e-6).contains(&probability), "{probability}");
}
