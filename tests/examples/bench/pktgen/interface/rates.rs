//! Packets per second.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::card::Card;
use crate::{
    pktgen::generator::Pktgen,
    report::{Row, Samples},
};

/// Those of pktgen and of the card, second by second.
pub struct Rates {
    at: Instant,
    counts: (u64, u64),
    pktgen: Samples,
    card: Samples,
}

impl Rates {
    pub fn begin(card: &Card, devices: &[String]) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            counts: counts(card, devices)?,
            pktgen: Samples::default(),
            card: Samples::default(),
        })
    }

    pub fn take(&mut self, card: &Card, devices: &[String]) -> Result<()> {
        let (counts, now) = (counts(card, devices)?, Instant::now());
        let seconds = (now - self.at).as_secs_f64();
        self.pktgen.push(rate(self.counts.0, counts.0, seconds));
        self.card.push(rate(self.counts.1, counts.1, seconds));
        (self.at, self.counts) = (now, counts);
        Ok(())
    }

    pub fn row(&self, interface: &str, flows: u32) -> Result<Row> {
        ensure!(
            !self.card.median().is_nan(),
            "ended before the first second was over"
        );
        let name = format!("{interface}/tx");
        Ok(Row::new(
            name,
            flows.into(),
            "pps",
            &self.card,
            "pktgen",
            &self.pktgen,
        ))
    }
}

fn counts(card: &Card, devices: &[String]) -> Result<(u64, u64)> {
    let mut sent = 0;
    for device in devices {
        sent += Pktgen::so_far(device)?;
    }
    Ok((sent, card.counters()?[0]))
}

#[expect(clippy::cast_precision_loss, reason = "packets of a second")]
fn rate(before: u64, after: u64, seconds: f64) -> f64 {
    (after.wrapping_sub(before) as f64 / seconds).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_per_second() {
        assert_eq!(rate(100, 1100, 2.0), 500.0);
    }
}
