//! The kernel's packet generator, pktgen: on a network card of this host, as one loads a balancer from outside, or in a virtual
//! machine, which counts instructions.
//!
//! Reading order: [`generator`] (pktgen's files), [`interface`] (a network card), then what is for the virtual machine that
//! `cargo xtask` boots: [`lane`] (what is compared), [`guest`] (its first process), [`console`] (what that says) and
//! [`comparison`] (what becomes of it here).

mod comparison;
mod console;
mod generator;
pub mod guest;
mod interface;
mod lane;

use std::io;

use anyhow::{Result, bail};

use self::{comparison::Comparison, interface::Load};
use crate::report::{Output, Report};

/// Flows of the guest's packets.
const FLOWS: u32 = 256;

/// What `--help` says of it.
pub const HELP: &str = "\
The kernel's packet generator: on a network card, or in a virtual machine beside IPVS

--vm boots Debian's Linux 6.12 under QEMU with -icount, where one instruction takes one nanosecond of the guest's time: pktgen's \
rate there is instructions per packet, the same on every machine and in every run (caches and cycles are not seen). In the \
guest are a client, balancers and a backend host, joined by veth. pktgen sends UDP packets of 60 bytes from 256 random ports, and every \
packet is counted where it arrives; a lane that loses one fails the run. The lanes take turns: dropping, redirecting without a decision \
(in XDP and behind the kernel's allocation of packets), routing, xlb with nat, dsr and ipip, and IPVS with NAT, DR and TUN and its scheduler \
mh. Rows `own/...` are what a balancer takes itself: its packets' instructions less those of the cheapest redirect on its side of \
the kernel. The run fails if xlb's dsr takes more than a third of the instructions of its own that IPVS DR takes.

--interface sends on a network card of this host, for --duration, and says each second's rates by pktgen and by the card: load for a balancer \
on another host. It sends on no other interface, and leaves pktgen as it was. It needs root.";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Boot Debian's Linux 6.12 in a virtual machine, and count what a packet takes there
    #[arg(long)]
    vm: bool,
    /// With --vm: install the packages that are missing
    #[arg(long, requires = "vm")]
    install: bool,
    /// Send on this interface of this host
    #[arg(
        long,
        value_name = "IFACE",
        conflicts_with = "vm",
        requires = "destination",
        requires = "vip"
    )]
    interface: Option<String>,
    #[command(flatten)]
    load: Load,
    /// Make the report of what a guest says, on the standard input
    #[arg(long, hide = true)]
    console: bool,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    if args.console {
        return of_console(output);
    }
    match &args.interface {
        Some(interface) => args.load.send(interface, output),
        None if args.vm => {
            bail!("`cargo xtask bench pktgen --vm` boots the virtual machine, not this program alone")
        }
        None => bail!(
            "say where: --vm for a virtual machine, or --interface IFACE --destination MAC --vip IP for a network card"
        ),
    }
}

fn of_console(output: &Output) -> Result<()> {
    let told = console::read(io::stdin().lock())?;
    let comparison = Comparison::of(&told.measured)?;
    let machine = format!("QEMU with -icount, 1 CPU, Linux {}", told.kernel);
    let mut report = Report::on("pktgen", machine);
    for row in comparison.rows() {
        report.add(row);
    }
    report.finish(output)?;
    let verdict = comparison.verdict();
    println!("{verdict}");
    verdict.check()
}
