//! One request by curl.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::Host;

/// Set before any argument of the caller's, which may override them.
const DEFAULTS: &[&str] = &[
    "-q",
    "--silent",
    "--show-error",
    "--noproxy",
    "*",
    "--max-time",
    "10",
];

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// From curl's start to the last byte.
    pub took: Duration,
    /// The client's port.
    pub local_port: u16,
}

impl Reply {
    /// The body as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

impl Host {
    /// GET by curl. Any HTTP status is a reply; an error tells curl's reason.
    pub fn curl(&self, url: &str) -> Result<Reply> {
        self.curl_with(&[url])
    }

    /// curl with arguments, of which one is the URL.
    pub fn curl_with(&self, args: &[&str]) -> Result<Reply> {
        let mut curl = curl(self);
        curl.args(["--write-out", "\n%{http_code} %{time_total} %{local_port}"])
            .args(args);
        let output = curl.output().context("start curl")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{} on {}: {}", args.join(" "), self.name, reason.trim());
        }
        parse(&output.stdout).with_context(|| format!("what curl printed for {}", args.join(" ")))
    }
}

/// curl on this host with the defaults.
pub(super) fn curl(host: &Host) -> Command {
    let mut command = host.ns.command("curl");
    command.args(DEFAULTS);
    command
}

fn parse(printed: &[u8]) -> Result<Reply> {
    let end = printed
        .iter()
        .rposition(|byte| *byte == b'\n')
        .context("no line of numbers")?;
    let (body, numbers) = (&printed[..end], std::str::from_utf8(&printed[end + 1..])?);
    let mut numbers = numbers.split(' ');
    let mut next = || numbers.next().context("too few numbers");
    Ok(Reply {
        status: next()?.parse()?,
        took: Duration::from_secs_f64(next()?.parse()?),
        local_port: next()?.parse()?,
        body: body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_may_hold_newlines() {
        let reply = parse(b"one\ntwo\n\n200 0.012 40000").unwrap();
        assert_eq!((reply.status, reply.local_port), (200, 40000));
        assert_eq!(reply.body, b"one\ntwo\n");
        assert_eq!(reply.took, Duration::from_millis(12));
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(parse(b"").is_err());
        assert!(parse(b"body\n200").is_err());
    }
}
