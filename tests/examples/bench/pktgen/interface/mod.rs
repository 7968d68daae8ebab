//! Load on a network card of this host.

mod card;
mod module;
mod rates;

use std::{
    net::IpAddr,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use xlb_tests::interrupt;

use self::{
    card::{COUNTERS, Card},
    module::Module,
    rates::Rates,
};
use super::generator::{self, Pktgen, Stream};
use crate::report::{Output, Report};

const SECOND: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// What to send.
#[derive(Debug, clap::Args)]
pub struct Load {
    /// Bytes of a frame, without its checksum
    #[arg(long, value_name = "BYTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(60..=9014), requires = "interface")]
    packet_size: u16,
    /// Flows: random source ports, and above 32768 random source addresses, too
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000_000), requires = "interface")]
    flows: u32,
    /// CPUs that send, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), requires = "interface")]
    threads: u16,
    /// Packets per second of all threads; 0 for as fast as they can
    #[arg(long, value_name = "PPS", default_value_t = 0, requires = "interface")]
    rate: u64,
    /// The balancer's Ethernet address on that link, or the next router's
    #[arg(long, value_name = "MAC", value_parser = mac)]
    destination: Option<[u8; 6]>,
    /// The address that the packets are for
    #[arg(long, value_name = "IP")]
    vip: Option<IpAddr>,
    /// The UDP port that the packets are for
    #[arg(long, default_value_t = 80, requires = "interface")]
    port: u16,
    /// The first address that packets come from [default: 198.18.0.1 or 2001:2::1, which are for benchmarks]
    #[arg(long, value_name = "IP", requires = "interface")]
    source: Option<IpAddr>,
    /// Seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400), requires = "interface")]
    duration: u64,
}

impl Load {
    /// Sends until the time is over or somebody ends it, and says each second's rates.
    pub fn send(&self, interface: &str, output: &Output) -> Result<()> {
        let interrupted = interrupt::flag().context("mind signals")?;
        let card = Card::find(interface)?;
        let _module = Module::load()?;
        let mut pktgen = Pktgen::take()?;
        let devices = self.devices(interface);
        let stream = self.stream()?;
        for (thread, device) in devices.iter().enumerate() {
            pktgen.add(thread, device, &stream)?;
        }
        let mut report = Report::new("pktgen-interface")?;
        let before = card.counters()?;
        let mut rates = Rates::begin(&card, &devices)?;
        let run = Run::start();
        let end = Instant::now() + Duration::from_secs(self.duration);
        let mut next = Instant::now() + SECOND;
        while Instant::now() < end && !interrupted.load(Ordering::Relaxed) && !run.is_over() {
            thread::sleep(POLL);
            if Instant::now() >= next {
                rates.take(&card, &devices)?;
                next += SECOND;
            }
        }
        run.end()?;
        report.add(rates.row(interface, self.flows)?);
        self.sum_up(interface, &devices, &before, &card.counters()?)?;
        pktgen.clear()?;
        report.finish(output)
    }

    /// pktgen's names for one interface on which several threads send.
    fn devices(&self, interface: &str) -> Vec<String> {
        (0..self.threads)
            .map(|thread| format!("{interface}@{thread}"))
            .collect()
    }

    /// What each thread sends.
    fn stream(&self) -> Result<Stream> {
        let destination = self.vip.context("--vip is missing")?;
        let benchmark: IpAddr = match destination {
            IpAddr::V4(_) => [198, 18, 0, 1].into(),
            IpAddr::V6(_) => [0x2001, 2, 0, 0, 0, 0, 0, 1].into(),
        };
        Ok(Stream {
            size: self.packet_size,
            destination_mac: self.destination.context("--destination is missing")?,
            source: self.source.unwrap_or(benchmark),
            destination,
            port: self.port,
            flows: self.flows,
            count: 0,
            rate: self.rate.div_ceil(self.threads.into()),
        })
    }

    fn sum_up(&self, interface: &str, devices: &[String], before: &[u64; 4], after: &[u64; 4]) -> Result<()> {
        let (mut packets, mut errors) = (0, 0);
        for device in devices {
            let sent = Pktgen::sent(device)?;
            packets += sent.packets;
            errors += sent.errors;
        }
        println!("  pktgen sent {packets} packets, {errors} of its attempts failed");
        for ((name, before), after) in COUNTERS.iter().zip(before).zip(after) {
            println!("  {interface} {name:<10} {}", after.wrapping_sub(*before));
        }
        Ok(())
    }
}

/// Packets on their way: a thread that waits in the kernel until they are sent.
struct Run {
    waiting: Option<JoinHandle<Result<()>>>,
}

impl Run {
    fn start() -> Self {
        Self {
            waiting: Some(thread::spawn(generator::start)),
        }
    }

    /// Whether pktgen has ended by itself.
    fn is_over(&self) -> bool {
        self.waiting.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(mut self) -> Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        while !waiting.is_finished() {
            generator::stop()?;
            thread::sleep(POLL);
        }
        waiting.join().map_err(|_| anyhow!("a thread panicked"))?
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Nothing is on its way that could be stopped if this fails.
        let _ = self.stop();
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter(|byte| byte.len() == 2)
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let mac = <[u8; 6]>::try_from(bytes).ok();
    mac.filter(|_| text.len() == 17)
        .ok_or_else(|| "an Ethernet address is written 02:00:00:00:00:01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses_are_read_and_others_are_not() {
        assert_eq!(mac("02:00:00:00:00:fF"), Ok([2, 0, 0, 0, 0, 255]));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:1",
            "02:00:00:00:00:01:02",
            "02-00-00-00-00-01",
            "02:00:00:00:00:gg",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }
}
