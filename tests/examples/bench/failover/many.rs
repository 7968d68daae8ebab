//! An agent with ten thousand backends, each of which it probes every second.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{Backlog, listen},
    },
    unistd::{SysconfVar, sysconf},
};
use tokio::{runtime::Runtime, task::JoinHandle};
use xlb_tests::{Lab, agent::Agent, interrupt};

use crate::report::{Report, Row, Samples};

/// What the agent's capacity is set to.
pub const MOST: i64 = 50_000;
/// All addresses of it answer on one host, on [`PORT`]; those of [`VICTIMS`] on [`VICTIMS_PORT`], by a socket each.
const NET: &str = "10.100.0.0/16";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);
const PORT: u16 = 8000;
const VICTIMS_PORT: u16 = 8001;
/// So many fail, each once.
const VICTIMS: u32 = 500;
const START_PATIENCE: Duration = Duration::from_secs(120);
/// What the agent logs when its data plane is made, and of each backend that passes.
const READY: &str = "; socket ";
const UP: &str = " is up: ";
/// After the first probes, which come all at once.
const CALM: Duration = Duration::from_secs(3);
/// For how long CPU time is taken.
const STEADY: Duration = Duration::from_secs(10);
/// From one failure to the next, and as much again by chance.
const APART: Duration = Duration::from_millis(60);
/// Longer than from a failure to the second probe that finds it.
const FOUND: Duration = Duration::from_secs(5);
/// What the agent's part is to stay below, in microseconds.
const GOAL: f64 = 1000.0;

pub fn run(backends: u32, report: &mut Report) -> Result<()> {
    allow_many_files()?;
    let lab = Lab::new().backends(1).build()?;
    let host = lab.backend(0);
    host.ns.ip(&["route", "add", "local", NET, "dev", "lo"])?;
    host.ns.sysctl(&[
        ("net.core.somaxconn", "65535"),
        ("net.ipv4.tcp_max_syn_backlog", "65535"),
    ])?;
    let via = host.addr.to_string();
    lab.lb.ns.ip(&["route", "add", NET, "via", &via])?;

    let victims = VICTIMS.min(backends / 2);
    let servers = Servers::start(&lab, victims)?;
    let one = lab.agent("").start()?;
    let idle = Use::of(&one)?;
    drop(one);
    let begun = Instant::now();
    let mut agent = lab.agent(&services(&lab, backends, victims)).prepare()?;
    agent.launch()?;
    wait_logged(&agent, READY, 1)?;
    let ready = begun.elapsed();
    wait_logged(&agent, UP, backends as usize)?;
    let up = begun.elapsed();
    println!(
        "  {backends} backends: the agent is ready after {:.1} s, all of them were up once after {:.1} s",
        ready.as_secs_f64(),
        up.as_secs_f64()
    );
    thread::sleep(CALM);
    steady(&agent, &idle, backends, report)?;
    fail(&agent, servers, backends, report)
}

/// What it costs while nothing happens.
fn steady(agent: &Agent, idle: &Use, backends: u32, report: &mut Report) -> Result<()> {
    let seconds = usize::try_from(STEADY.as_secs())?;
    let (mut cpu, mut waiting) = (Samples::default(), Samples::default());
    let mut before = Use::of(agent)?;
    for _ in 0..seconds {
        interrupt::check()?;
        let begun = Instant::now();
        thread::sleep(Duration::from_secs(1));
        let now = Use::of(agent)?;
        cpu.push((now.cpu - before.cpu).as_secs_f64() * 1000.0 / begun.elapsed().as_secs_f64());
        waiting.push(now.time_wait);
        before = now;
    }
    let same = |figure: f64| (0..seconds).map(|_| figure).collect::<Samples>();
    let row = |name, unit, samples: &Samples, base, figure| {
        Row::new(name, backends.into(), unit, samples, base, &same(figure))
    };
    report.add(row("probes/cpu", "ms/s", &cpu, "one CPU", 1000.0));
    report.add(row(
        "probes/memory",
        "MiB",
        &same(before.memory),
        "no backends",
        idle.memory,
    ));
    report.add(row(
        "probes/time-wait",
        "sockets",
        &waiting,
        "probes/s",
        backends.into(),
    ));
    Ok(())
}

/// Has one after the other fail, and asks the agent how fast it was.
fn fail(agent: &Agent, mut servers: Servers, backends: u32, report: &mut Report) -> Result<()> {
    let count = servers.victims.len();
    for victim in servers.victims.drain(..) {
        interrupt::check()?;
        victim.abort();
        thread::sleep(APART + some_of(APART));
    }
    thread::sleep(FOUND);
    let status = agent.status()?;
    let reaction = &status["reaction"];
    let told = |name: &str| {
        let told = reaction[name].as_f64();
        told.with_context(|| format!("the agent's status has no reaction.{name}"))
    };
    let found = told("count")?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let closed = count as f64;
    ensure!(
        found >= closed,
        "{closed} backends were closed, and the agent has taken {found} out: {reaction}"
    );
    if found > closed {
        println!(
            "  {} more were taken out by probes that took too long here",
            found - closed
        );
    }
    let microseconds = |name| told(name).map(|nanoseconds| (nanoseconds / 10.0).round() / 100.0);
    let median = microseconds("p50")?;
    report.add(Row {
        name: "result to word".to_owned(),
        flows: backends.into(),
        median,
        min: microseconds("min")?,
        max: microseconds("max")?,
        p90: Some(microseconds("p90")?),
        p99: Some(microseconds("p99")?),
        unit: "us".to_owned(),
        base: "goal".to_owned(),
        base_median: GOAL,
        ratio: (median / GOAL * 1000.0).round() / 1000.0,
    });
    Ok(())
}

/// Sockets that take the probes, until they are told not to.
struct Servers {
    /// Each with the socket of one backend.
    victims: Vec<JoinHandle<()>>,
    // Last: all ends with it.
    _runtime: Runtime,
}

impl Servers {
    fn start(lab: &Lab, victims: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start a runtime")?;
        let host = lab.backend(0);
        let all = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
        let own = (0..victims).map(|at| SocketAddrV4::new(address(at), VICTIMS_PORT));
        let bound = host.ns.run(|| {
            let addresses = std::iter::once(all).chain(own);
            addresses.map(bind).collect::<Result<Vec<_>>>()
        })??;
        let _inside = runtime.enter();
        let mut serving = bound.into_iter().map(|listener| {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok(tokio::spawn(accept(listener)))
        });
        let _all = serving.next().transpose()?;
        let victims: Result<_> = serving.collect();
        drop(_inside);
        Ok(Self {
            victims: victims?,
            _runtime: runtime,
        })
    }
}

fn bind(to: SocketAddrV4) -> Result<TcpListener> {
    let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
    // As many as the host allows, instead of the library's 128: all probes may come in one moment.
    listen(&listener, Backlog::MAXALLOWABLE)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(listener: tokio::net::TcpListener) {
    loop {
        // Probes end by themselves.
        drop(listener.accept().await);
    }
}

/// Of the backend with this number.
fn address(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + at)
}

fn services(lab: &Lab, backends: u32, victims: u32) -> String {
    let mut config = format!(
        "[limits]\nbackends = {}\n[[service]]\nname = \"web\"\nvip = \"{}:80/tcp\"\n[service.check]\ntype = \"tcp\"\n\
         interval = \"1s\"\ntimeout = \"1s\"\nfall = 2\nrise = 1\n[service.health.flaps]\nhold = \"0s\"\n",
        MOST + 1,
        lab.vip()
    );
    for at in 0..backends {
        let port = if at < victims { VICTIMS_PORT } else { PORT };
        // A String takes everything.
        let _ = writeln!(
            config,
            "[[service.backend]]\nname = \"b{at}\"\naddress = \"{}\"\nport = {port}",
            address(at)
        );
    }
    config
}

/// Waits until it has logged so many lines with these words. A status of so many backends would keep it busy.
fn wait_logged(agent: &Agent, words: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        interrupt::check()?;
        let found = agent.log().matches(words).count();
        if found >= count {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "only {found} of {count} times {words:?} after {START_PATIENCE:?}\n{}",
            agent.log_tail()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a process takes.
struct Use {
    /// User and system time so far.
    cpu: Duration,
    /// Resident, MiB.
    memory: f64,
    /// Sockets in TIME_WAIT, in its namespace.
    time_wait: f64,
}

impl Use {
    fn of(agent: &Agent) -> Result<Self> {
        let pid = agent.pid().context("the agent does not run")?;
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let ticks = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
        Ok(Self {
            cpu: cpu(&read("stat")?, u64::try_from(ticks)?).context("CPU time in /proc/PID/stat")?,
            memory: number(&read("status")?, "VmRSS:").context("VmRSS in /proc/PID/status")? / 1024.0,
            time_wait: number(&read("net/sockstat")?, "tw").context("tw in /proc/PID/net/sockstat")?,
        })
    }
}

/// The 14th and 15th field (proc(5)); the second, in brackets, may have anything in it.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second))
}

/// The number behind a word.
fn number(text: &str, word: &str) -> Option<f64> {
    let mut words = text.split_whitespace().skip_while(|one| *one != word);
    words.nth(1)?.parse().ok()
}

fn some_of(most: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    most.mul_f64(f64::from(now.map_or(0, |now| now.subsec_micros() % 1000)) / 1000.0)
}

/// Each victim is a socket of this process.
fn allow_many_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_process_is_read() {
        let stat = "4711 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(cpu("4711 (xlb) S 1", 100), None);
        let sockstat = "sockets: used 3\nTCP: inuse 1 orphan 0 tw 12 alloc 4 mem 0\n";
        assert_eq!(number(sockstat, "tw"), Some(12.0));
        assert_eq!(number("VmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048.0));
    }
}
