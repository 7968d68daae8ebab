//! Real clients on hosts: curl, downloads checked by their digest, a steady stream of new connections, UDP.

mod curl;
mod download;
mod steady;
mod tcp;
mod udp;

pub mod samples;

pub use curl::Reply;
pub use download::{Download, Downloads};
pub use samples::{Failure, Sample, Samples};
pub use steady::{Steady, SteadyBuilder};
pub use udp::UdpReport;
