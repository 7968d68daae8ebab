//! The kernel's packet generator, by the files that it is driven with (Documentation/networking/pktgen.rst).

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The files, in the network namespace of the calling thread.
const PLACE: &str = "/proc/thread-self/net/pktgen";
const CONTROL: &str = "pgctrl";
/// The first source port, behind those that the kernel keeps for services.
const FIRST_PORT: u16 = 1024;
/// Most source ports of one address.
const PORTS: u32 = 32_768;

/// What is sent: UDP, from random ports and, where there are more flows than ports, from random addresses.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Bytes of a frame, without its checksum.
    pub size: u16,
    pub destination_mac: [u8; 6],
    /// The first address that is sent from.
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub flows: u32,
    /// Packets; 0 for as many as there is time for.
    pub count: u64,
    /// Packets per second; 0 for as fast as it can.
    pub rate: u64,
}

/// What a device has sent at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub packets: u64,
    pub errors: u64,
    pub microseconds: u64,
}

/// pktgen of one network namespace. Its devices are taken away with the value.
pub struct Pktgen {
    /// Threads that have been given devices.
    threads: Vec<usize>,
}

/// Whether the kernel has pktgen, here and now.
pub fn is_there() -> bool {
    Path::new(PLACE).join(CONTROL).exists()
}

impl Pktgen {
    /// Of the calling thread's namespace, all of whose threads must be free.
    pub fn take() -> Result<Self> {
        let place = Path::new(PLACE);
        ensure!(
            is_there(),
            "{PLACE}/{CONTROL}: this kernel has no pktgen (module pktgen, CONFIG_NET_PKTGEN), or the module is not loaded"
        );
        for name in threads()? {
            let text = read(&place.join(&name))?;
            let devices = devices(&text);
            ensure!(
                devices.is_empty(),
                "pktgen is in use: its thread {name} has {devices}; to take them away: echo rem_device_all > /proc/net/pktgen/{name}"
            );
        }
        Ok(Self { threads: Vec::new() })
    }

    /// Has a thread, which is one of a CPU, send on a device. `device` is an interface, or `eth0@1` where several threads send on it.
    pub fn add(&mut self, thread: usize, device: &str, stream: &Stream) -> Result<()> {
        let file = format!("kpktgend_{thread}");
        ensure!(
            Path::new(PLACE).join(&file).exists(),
            "pktgen has no thread {thread}: it has one for each CPU that is online, {} here",
            threads()?.len()
        );
        // Even if this fails half way, nothing stays.
        self.threads.push(thread);
        command(&file, &format!("add_device {device}"))?;
        for line in stream.commands()? {
            command(device, &line).with_context(|| said(device))?;
        }
        Ok(())
    }

    /// Takes all devices away.
    pub fn clear(&mut self) -> Result<()> {
        while let Some(thread) = self.threads.pop() {
            command(&format!("kpktgend_{thread}"), "rem_device_all")?;
        }
        Ok(())
    }

    /// What a device has sent since it was added.
    pub fn sent(device: &str) -> Result<Sent> {
        let text = read(&Path::new(PLACE).join(device))?;
        Sent::parse(&text).with_context(|| format!("pktgen's report on {device}: {text}"))
    }

    /// Packets that a device has sent so far.
    pub fn so_far(device: &str) -> Result<u64> {
        let text = read(&Path::new(PLACE).join(device))?;
        number_behind(&text, "pkts-sofar:").with_context(|| format!("pktgen's report on {device}: {text}"))
    }
}

impl Drop for Pktgen {
    fn drop(&mut self) {
        // What cannot be taken away was never there.
        let _ = self.clear();
    }
}

/// Sends on all devices, until each has sent its count or somebody stops it.
pub fn start() -> Result<()> {
    command(CONTROL, "start")
}

/// Ends a run that another thread has started.
pub fn stop() -> Result<()> {
    command(CONTROL, "stop")
}

impl Stream {
    /// pktgen's own commands, for a device that is new.
    fn commands(&self) -> Result<Vec<String>> {
        let addresses = self.flows.max(1).div_ceil(PORTS);
        let ports = self.flows.max(1).div_ceil(addresses);
        let last_port = u32::from(FIRST_PORT) + ports;
        let mac = self.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
        let mut commands = vec![
            format!("count {}", self.count),
            // Each packet is a new one: what receives it may change it.
            "clone_skb 0".to_owned(),
            format!("pkt_size {}", self.size),
            match self.rate {
                0 => "delay 0".to_owned(),
                rate => format!("ratep {rate}"),
            },
            format!("dst_mac {mac}"),
            format!("udp_dst_min {}", self.port),
            format!("udp_dst_max {}", self.port),
            format!("udp_src_min {FIRST_PORT}"),
            // The first that is not used.
            format!("udp_src_max {last_port}"),
            "flag UDPSRC_RND".to_owned(),
        ];
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let end = u32::from(source)
                    .checked_add(addresses)
                    .context("too many flows from that source")?;
                commands.extend([
                    format!("dst {destination}"),
                    format!("src_min {source}"),
                    format!("src_max {}", std::net::Ipv4Addr::from(end)),
                ]);
                if addresses > 1 {
                    commands.push("flag IPSRC_RND".to_owned());
                }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ensure!(
                    addresses == 1,
                    "pktgen has no random IPv6 sources: at most {PORTS} flows"
                );
                commands.extend([format!("dst6 {destination}"), format!("src6 {source}")]);
            }
            _ => bail!("source and destination must be of one family"),
        }
        Ok(commands)
    }
}

impl Sent {
    /// From `Result: OK: 8971(c8970+d1) usec, 20000 (60byte,0frags)` and `errors: 0` in the line below.
    fn parse(text: &str) -> Result<Self> {
        let (_, result) = text.split_once("Result: OK:").context("no result")?;
        let microseconds = leading_number(result).context("no time")?;
        let packets = leading_number(result.split_once("usec,").context("no time")?.1).context("no count")?;
        Ok(Self {
            packets,
            errors: number_behind(result, "errors:").context("no errors")?,
            microseconds,
        })
    }
}

/// The names of pktgen's threads.
fn threads() -> Result<Vec<String>> {
    let files = fs::read_dir(PLACE).with_context(|| format!("list {PLACE}"))?;
    let names = files
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("kpktgend_")).collect())
}

/// What a thread has: the lines `Running:` and `Stopped:` name its devices.
fn devices(thread: &str) -> String {
    let lists = thread
        .lines()
        .filter_map(|line| line.strip_prefix("Running:").or(line.strip_prefix("Stopped:")));
    let names: Vec<&str> = lists.flat_map(str::split_whitespace).collect();
    names.join(" ")
}

fn number_behind(text: &str, word: &str) -> Option<u64> {
    leading_number(text.split_once(word)?.1)
}

fn leading_number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn command(file: &str, line: &str) -> Result<()> {
    let path = Path::new(PLACE).join(file);
    let write = || {
        let mut file = OpenOptions::new().write(true).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())
    };
    write().with_context(|| format!("{line} to pktgen's {file}"))
}

/// What pktgen says about the last command for a device.
fn said(device: &str) -> String {
    let text = fs::read_to_string(PathBuf::from(PLACE).join(device)).unwrap_or_default();
    let result = text.lines().find_map(|line| line.strip_prefix("Result:"));
    format!("pktgen: {}", result.unwrap_or("no result").trim())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        size: 60,
        destination_mac: [2, 0, 0, 0, 0, 0xb],
        source: IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: 80,
        flows: 256,
        count: 10,
        rate: 0,
    };

    fn has(stream: &Stream, line: &str) -> bool {
        stream.commands().unwrap().iter().any(|command| command == line)
    }

    #[test]
    fn few_flows_are_ports_of_one_address() {
        for line in [
            "udp_src_min 1024",
            "udp_src_max 1280",
            "src_max 198.18.0.2",
            "delay 0",
        ] {
            assert!(has(&STREAM, line), "{line}");
        }
        assert!(has(&STREAM, "dst_mac 02:00:00:00:00:0b"));
        assert!(!has(&STREAM, "flag IPSRC_RND"));
    }

    #[test]
    fn many_flows_take_several_addresses() {
        let stream = Stream {
            flows: 100_000,
            rate: 5000,
            ..STREAM
        };
        for line in [
            "src_max 198.18.0.5",
            "udp_src_max 26024",
            "flag IPSRC_RND",
            "ratep 5000",
        ] {
            assert!(has(&stream, line), "{line}");
        }
    }

    #[test]
    fn families_are_not_mixed_and_ipv6_has_as_many_flows_as_ports() {
        let source: IpAddr = "2001:2::1".parse().unwrap();
        assert!(Stream { source, ..STREAM }.commands().is_err());
        let destination = "2001:db8::1".parse().unwrap();
        let stream = |flows| Stream {
            source,
            destination,
            flows,
            ..STREAM
        };
        assert!(has(&stream(1), "dst6 2001:db8::1"));
        assert!(stream(40_000).commands().is_err());
    }

    #[test]
    fn a_report_has_the_packets_the_errors_and_the_time() {
        let text = "Current:\n     pkts-sofar: 20000  errors: 3\n     started: 1us  stopped: 2us idle: 5us\n\
                    Result: OK: 8971(c8966+d5) usec, 20000 (60byte,0frags)\n  2229405pps 1070Mb/sec (1070114400bps) errors: 3\n";
        let sent = Sent {
            packets: 20_000,
            errors: 3,
            microseconds: 8971,
        };
        assert_eq!(Sent::parse(text).unwrap(), sent);
        assert_eq!(number_behind(text, "pkts-sofar:"), Some(20_000));
        assert!(Sent::parse("Result: Idle\n").is_err());
    }

    #[test]
    fn a_thread_s_devices_are_found() {
        assert_eq!(
            devices("Running: eth0@0 \nStopped: eth1 \nResult: OK\n"),
            "eth0@0 eth1"
        );
        assert_eq!(devices("Running: \nStopped: \nResult: NA\n"), "");
    }
}
