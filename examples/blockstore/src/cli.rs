//! The command line: clap's types and nothing else.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, builder::RangedU64ValueParser, value_parser};
use ipnet::IpNet;

use crate::{cut::MAX_BLOCK, name::FileName};

const EXAMPLES: &str = "\
Examples:
  export XLB_BLOCKS_NETWORK=198.51.100.0/24 XLB_BLOCKS_PORT=9000 XLB_BLOCKS_REPLICAS=3
  xlb-blockstore put words.txt
  xlb-blockstore get words.txt -o copy.txt
  xlb-blockstore count words.txt
  xlb-blockstore repair words.txt";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  error, also a wrong command line; 'repair': a block is lost
  2  done, but replicas could not be written or looked at: 'repair' again when their servers are well";

/// Stores files as blocks on HTTP servers behind xlb, with replicas.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xlb-blockstore",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Cut a file into blocks and write each to all its places
    Put {
        /// A regular file
        file: PathBuf,
        /// Name to store it under [default: FILE's own, without directories]
        #[arg(long)]
        name: Option<FileName>,
        /// Bytes of a block, with K or M for KiB or MiB; 1K to 64M
        #[arg(long, value_name = "SIZE", default_value = "256K")]
        block_size: Size,
        #[command(flatten)]
        service: Service,
    },
    /// Read a file's blocks, from other replicas where the first fails, and put them together
    Get {
        /// Name that it is stored under
        name: FileName,
        /// File to write, there when all of it is; - for standard output
        #[arg(short, long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
        #[command(flatten)]
        service: Service,
    },
    /// Count a file's words block by block, as 'LC_ALL=C wc -w' would
    Count {
        /// Name that it is stored under
        name: FileName,
        #[command(flatten)]
        service: Service,
    },
    /// Look at every replica of every block, and write those that are not where they belong now
    ///
    /// After a server has joined that is about one of N replicas, for N servers.
    Repair {
        /// Name that it is stored under
        name: FileName,
        /// Read every replica and compare its hash, instead of asking for its length
        #[arg(long)]
        verify: bool,
        /// Server to ask directly for blocks that are at none of their places; may be repeated
        #[arg(long, value_name = "ADDRESS:PORT")]
        also: Vec<SocketAddr>,
        #[command(flatten)]
        service: Service,
    },
}

const SERVICE: &str = "Service of xlb, and how it is used";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = SERVICE)]
pub struct Service {
    /// Network of the service's VIP
    #[arg(long, value_name = "NETWORK", env = "XLB_BLOCKS_NETWORK")]
    pub network: IpNet,
    /// First port of its range
    #[arg(long, env = "XLB_BLOCKS_PORT", default_value_t = 9000, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Replicas of a block: what the service says, or fewer
    #[arg(long, value_name = "COUNT", env = "XLB_BLOCKS_REPLICAS", default_value_t = 3, value_parser = value_parser!(u16).range(1..=4))]
    pub replicas: u16,
    /// Path on the servers that everything is under
    #[arg(long, value_name = "PATH", env = "XLB_BLOCKS_PATH", default_value = "/blocks")]
    pub path: Prefix,
    /// Blocks at once
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub jobs: usize,
    /// How often everything is tried, with longer and longer pauses
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = value_parser!(u32).range(1..=10))]
    pub tries: u32,
    /// Longest wait for a connection
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub connect_timeout: humantime::Duration,
    /// Longest wait for a whole answer
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: humantime::Duration,
}

/// A path on the servers: a slash at its beginning and none at its end, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/%".contains(c);
        if !text.starts_with('/') || !text.chars().all(is_allowed) {
            return Err("a path begins with / and has letters, digits, -._~/ and % of a URL".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.as_bytes() {
            [digits @ .., b'K'] => (digits, 10),
            [digits @ .., b'M'] => (digits, 20),
            digits => (digits, 0),
        };
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<u64>().ok());
        number
            .and_then(|number| number.checked_mul(1 << shift))
            .filter(|size| (1024..=MAX_BLOCK).contains(size))
            .map(Self)
            .ok_or_else(|| "a size is 1K to 64M, in bytes or with K or M, such as 256K".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_bytes_or_have_a_letter() {
        for (text, size) in [("1024", 1024), ("1K", 1024), ("64M", MAX_BLOCK)] {
            assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        }
        for bad in [
            "",
            "K",
            "0",
            "1023",
            "65M",
            "1G",
            "-1K",
            "1.5M",
            "99999999999999999999M",
            "1 K",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_begin_with_a_slash_and_end_without() {
        assert_eq!("/".parse(), Ok(Prefix(String::new())));
        assert_eq!("/a/b/".parse(), Ok(Prefix("/a/b".to_owned())));
        for bad in ["", "a", "/a b", "/a?b", "/ä"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
