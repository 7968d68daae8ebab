//! Lines that the BPF program writes, into the agent's own log. Only there when `node.log_packets` is on.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Forwards the program's lines until the runtime ends.
///
/// # Errors
/// When the program's log cannot be opened.
pub fn forward(ebpf: &mut Ebpf) -> Result<()> {
    let logger = EbpfLogger::init(ebpf).context("open the BPF program's log")?;
    // SAFETY: the logger owns its ring buffer, whose descriptor stays the same and open for as long as the logger lives, and
    // the `AsyncFd` owns the logger.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("watch the BPF program's log")?;
    tokio::spawn(async move {
        loop {
            match logger.readable_mut().await {
                Ok(mut ready) => {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                Err(error) => {
                    log::error!("the BPF program's log has ended: {error}");
                    return;
                }
            }
        }
    });
    Ok(())
}
