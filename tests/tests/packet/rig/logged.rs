//! The lines that the programs log, for a rig that has them do so.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use super::Rig;

/// Reads them.
pub struct Logged {
    logger: EbpfLogger<Kept>,
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

impl Rig {
    pub fn logged(&mut self) -> Result<Logged> {
        let kept = Kept::default();
        let logger = EbpfLogger::init_with_logger(&mut self.ebpf, kept.clone())?;
        Ok(Logged { logger, kept })
    }
}

impl Logged {
    /// Those since the last time.
    pub fn take(&mut self) -> Vec<String> {
        self.logger.flush();
        std::mem::take(&mut self.kept.0.lock().unwrap())
    }
}
