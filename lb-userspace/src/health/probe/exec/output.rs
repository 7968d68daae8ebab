//! What a command writes.

use std::{convert::Infallible, io, os::fd::OwnedFd, time::Duration};

use tokio::{net::unix::pipe, time::sleep};

/// What is kept. The rest is read, so that the command does not wait, and thrown away.
const KEPT: usize = 4 * 1024;
/// Between two reads of what is thrown away: a command that writes without end does not take a second CPU here.
const PAUSE: Duration = Duration::from_millis(1);

/// The beginning of it.
pub struct Output {
    pipe: pipe::Receiver,
    pub kept: Vec<u8>,
}

impl Output {
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let kept = Vec::new();
        Ok(Self { pipe, kept })
    }

    /// Reads on and on.
    pub async fn drain(&mut self) -> Infallible {
        loop {
            let readable = self.pipe.readable().await;
            if readable.is_err() || !self.read() {
                // Nobody writes any more.
                return std::future::pending().await;
            }
            if self.kept.len() == KEPT {
                sleep(PAUSE).await;
            }
        }
    }

    /// What is in the pipe when the leader has ended. Somebody who has left the group may go on writing, and is not waited for.
    pub fn take_rest(&mut self) {
        while self.kept.len() < KEPT {
            let before = self.kept.len();
            if !self.read() || self.kept.len() == before {
                return;
            }
        }
    }

    /// Reads once; false at the end.
    fn read(&mut self) -> bool {
        let mut piece = [0; 4 * KEPT];
        match self.pipe.try_read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                let room = KEPT - self.kept.len();
                self.kept.extend_from_slice(&piece[..count.min(room)]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
