//! A TCP connection that lives long: a client that says something now and then, and a backend that echoes it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::Host;

pub struct Talk {
    stream: BufReader<TcpStream>,
    /// The name of the host at the other end.
    pub backend: String,
    said: u32,
}

impl Talk {
    /// Connects and reads the greeting.
    pub fn open(client: &Host, to: SocketAddr) -> Result<Self> {
        let mut stream = BufReader::new(client.connect(to)?);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).context("no greeting")?;
        ensure!(!greeting.is_empty(), "closed instead of a greeting");
        Ok(Self {
            stream,
            backend: greeting.trim().to_owned(),
            said: 0,
        })
    }

    /// Several.
    pub fn open_many(client: &Host, to: SocketAddr, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::open(client, to)).collect()
    }

    /// Says something and hears it back.
    pub fn say(&mut self) -> Result<()> {
        self.said += 1;
        let line = format!("line {} to {}\n", self.said, self.backend);
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .context("say something")?;
        let mut heard = String::new();
        self.stream
            .read_line(&mut heard)
            .with_context(|| format!("hear {line:?} back"))?;
        ensure!(heard == line, "said {line:?}, heard {heard:?}");
        Ok(())
    }
}

/// All say something.
pub fn all_say(talks: &mut [Talk], when: &str) -> Result<()> {
    talks
        .iter_mut()
        .try_for_each(Talk::say)
        .with_context(|| when.to_owned())
}
