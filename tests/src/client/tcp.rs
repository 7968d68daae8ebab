//! Plain TCP connections from a host.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Host;

const PATIENCE: Duration = Duration::from_secs(3);

impl Host {
    /// Connects; the stream stays in the host's namespace wherever it is used. Reads and writes time out after 3 s.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let stream = self.ns.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let stream = stream.with_context(|| format!("connect {} to {to}", self.name))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
