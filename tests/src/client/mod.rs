//! Real clients on hosts: curl, downloads checked by their digest, a steady stream of new connections, UDP,
//! iperf3.

mod curl;
mod dig;
mod download;
mod iperf;
mod steady;
mod tcp;
mod udp;

pub mod samples;

pub use curl::Reply;
pub use download::{Download, Downloads};
pub use iperf::Moved;
pub use samples::{Failure, Sample, Samples};
pub use steady::{Steady, SteadyBuilder};
pub use udp::UdpReport;
