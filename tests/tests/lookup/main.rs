//! `xlb lookup` against the kernel: for random packets, over changes of pools, failures and drains, both say the same.
#![expect(
    clippy::unwrap_used,
    reason = "numbers of backends are small, and pins that stay are a failed test"
)]

mod purge;
mod rig;
mod story;

use anyhow::Result;
use xlb_tests::preflight;

use crate::story::Story;

/// Changes between which packets are looked up; `XLB_CASES` for more.
const ROUNDS: u64 = 120;

fn rounds() -> u64 {
    let cases = std::env::var("XLB_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn what_a_lookup_says_is_what_the_kernel_does() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut story = Story::begin()?;
    for round in 0..rounds() {
        story.change()?;
        story.packets(round)?;
    }
    story.ensure_broad()
}

#[test]
fn flows_are_forgotten_both_ways_and_with_their_loads() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    purge::forgets_what_is_meant()
}
