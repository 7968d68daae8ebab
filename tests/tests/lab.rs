//! The lab by itself: no xlb, the balancer's kernel forwards.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xlb_tests::client::samples::{Failure, Kind};
use xlb_tests::scope::{self, RUN_DIR};
use xlb_tests::server::files;
use xlb_tests::{Lab, interrupt, preflight};

#[test]
fn three_backends_are_up_in_seconds_and_reachable() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let start = Instant::now();
    let lab = Lab::new().backends(3).build()?;
    let built = start.elapsed();
    for backend in &lab.backends {
        assert_eq!(
            lab.client.ping(backend.addr.into(), 2)?,
            2,
            "{} does not answer",
            backend.name
        );
    }
    // A last look at the balancer's part in it: one hop.
    let route = lab
        .client
        .ns
        .ip(&["route", "get", &lab.backend(2).addr.to_string()])?;
    assert!(route.contains(&format!("via {}", lab.front.addr)), "{route}");
    println!("built in {built:?}");
    assert!(built < Duration::from_secs(3), "built in {built:?}");
    let start = Instant::now();
    drop(lab);
    println!("removed in {:?}", start.elapsed());
    Ok(())
}

#[test]
fn ports_to_the_balancer_have_native_stubs() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    for port in ["front", "back"] {
        let link = lab.switch.ip(&["link", "show", port])?;
        // `xdp` is native; the others are `xdpgeneric` and `xdpoffload`.
        assert!(link.contains(" xdp "), "{link}");
    }
    let features = lab.client.ns.exec(&["ethtool", "-k", "eth0"])?;
    assert!(features.contains("tx-checksumming: off"), "{features}");
    Ok(())
}

#[test]
fn one_arm_joins_both_nets_on_one_wire() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new()
        .clients(2)
        .backends(2)
        .one_arm()
        .mtu(1600)
        .ipv6()
        .build()?;
    assert_eq!(
        (lab.front.device.as_str(), lab.back.device.as_str()),
        ("eth0", "eth0")
    );
    assert_eq!(lab.interfaces_toml().matches("[[interface]]").count(), 1);
    let nginx = lab.backend(1).nginx()?;
    for client in [&lab.client, &lab.more_clients[0]] {
        assert_eq!(client.ping(lab.backend(0).addr.into(), 2)?, 2);
        assert_eq!(client.ping(IpAddr::V6(lab.backend(0).addr6), 2)?, 2);
        assert_eq!(client.curl(&nginx.url("/"))?.text(), "b2");
    }
    let link = lab.backend(0).ns.ip(&["link", "show", "eth0"])?;
    assert!(link.contains("mtu 1600"), "{link}");
    Ok(())
}

#[test]
fn nginx_serves_fails_freezes_and_returns() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let mut nginx = lab.backend(0).nginx_with().ports(&[80, 8080]).start()?;
    let reply = lab.client.curl(&nginx.url("/"))?;
    assert_eq!((reply.status, reply.text().as_str()), (200, "b1"));
    assert_eq!(
        lab.client
            .curl(&format!("http://{}:8080/", lab.backend(0).addr))?
            .text(),
        "b1"
    );

    nginx.set_healthy(false)?;
    assert_eq!(lab.client.curl(&nginx.url("/health"))?.status, 503);
    nginx.set_healthy(true)?;
    assert_eq!(lab.client.curl(&nginx.url("/health"))?.status, 200);

    nginx.pause()?;
    let late = lab
        .client
        .curl_with(&["--max-time", "0.3", &nginx.url("/")])
        .unwrap_err();
    assert!(late.to_string().contains("timed out"), "{late:#}");
    nginx.resume()?;
    assert_eq!(lab.client.curl(&nginx.url("/"))?.text(), "b1");

    nginx.stop();
    let refused = lab.client.curl(&nginx.url("/")).unwrap_err();
    assert!(refused.to_string().contains("onnect"), "{refused:#}");
    nginx.start()?;
    assert_eq!(lab.client.curl(&nginx.url("/"))?.text(), "b1");
    Ok(())
}

#[test]
fn downloads_are_hashed_on_the_way() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    const SIZE: u64 = 20_000_003;
    let lab = Lab::new().build()?;
    let sha256 = files::random(&lab.dir().join("blob"), SIZE, 1)?;
    let nginx = lab.backend(0).nginx_with().files(lab.dir()).start()?;
    let urls = vec![nginx.url("/files/blob"); 5];
    let (downloads, took) = lab.client.download(&urls, &[])?.wait()?;
    println!("{} MB in {took:?}", SIZE * 5 / 1_000_000);
    assert_eq!(downloads.len(), 5);
    for download in downloads {
        assert_eq!((download.bytes, &download.sha256), (SIZE, &sha256));
    }
    let missing = lab
        .client
        .download(&[nginx.url("/files/none")], &[])?
        .wait()
        .unwrap_err();
    assert!(missing.to_string().contains("404"), "{missing:#}");
    Ok(())
}

#[test]
fn a_steady_stream_shows_a_death_and_a_return() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let mut nginx = lab.backend(0).nginx()?;
    let steady = lab
        .client
        .steady(nginx.addr(), 200)
        .timeout(Duration::from_millis(300))
        .start()?;
    thread::sleep(Duration::from_millis(500));
    let death = Instant::now();
    nginx.stop();
    thread::sleep(Duration::from_millis(300));
    let back = Instant::now();
    nginx.start()?;
    thread::sleep(Duration::from_millis(500));
    let samples = steady.stop();
    println!(
        "{} requests, served {:?}, failed {:?}",
        samples.all().len(),
        samples.served(),
        samples.failures()
    );
    // Two noisy cores: half the rate is enough.
    assert!(samples.all().len() > 130, "{} requests", samples.all().len());
    let began = samples.all()[0].at;
    let before = samples.between(began, death - Duration::from_millis(50));
    assert_eq!(
        before.served().get("b1"),
        Some(&before.all().len()),
        "{:?}",
        before.failures()
    );
    assert!(
        samples.failures().contains_key(&Failure::Connect(Kind::Refused)),
        "{:?}",
        samples.failures()
    );
    assert!(samples.last_failure_after(death) >= Duration::from_millis(200));
    assert!(samples.first_served_after(back, "b1").is_some());
    Ok(())
}

#[test]
fn datagrams_come_back() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let echo = lab.backend(0).udp_echo(9000)?;
    let report = lab
        .client
        .udp_echo_test(echo.addr(), 2_000, 50, Duration::from_secs(1))?;
    assert_eq!(
        (report.sent, report.echoed, report.wrong, report.refused),
        (2_000, 2_000, 0, 0)
    );
    assert_eq!(echo.received(), 2_000);
    let nobody = SocketAddr::new(lab.backend(0).addr.into(), 9001);
    let report = lab
        .client
        .udp_echo_test(nobody, 4, 2, Duration::from_millis(100))?;
    assert_eq!(report.echoed, 0);
    Ok(())
}

#[test]
fn connections_live_until_either_end_stops() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let echo = lab.backend(0).tcp_echo(7)?;
    let mut stream = BufReader::new(lab.client.connect(echo.addr())?);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    assert_eq!(line, "b1\n");
    stream.get_mut().write_all(b"hello\n")?;
    line.clear();
    stream.read_line(&mut line)?;
    assert_eq!((line.as_str(), echo.open()), ("hello\n", 1));
    drop(echo);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the connection goes on");
    Ok(())
}

#[test]
fn a_host_can_lose_its_cable_and_change_its_mac() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let backend = lab.backend(0);
    // The balancer knows the neighbour from now on, and need not ask while nobody can answer.
    assert_eq!(lab.client.ping(backend.addr.into(), 1)?, 1);
    lab.set_plugged(backend, false)?;
    assert_eq!(lab.client.ping(backend.addr.into(), 1)?, 0);
    lab.set_plugged(backend, true)?;
    assert_eq!(lab.client.ping(backend.addr.into(), 1)?, 1);
    let mut mac = backend.mac;
    mac.0[1] = 0x77;
    backend.set_mac(mac)?;
    assert!(
        backend
            .ns
            .ip(&["link", "show", "eth0"])?
            .contains(&mac.to_string())
    );
    Ok(())
}

#[test]
fn a_drop_removes_everything_also_in_a_panic() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let links = root_links()?;
    let (id, pids) = thread::spawn(|| -> Result<(String, Vec<String>)> {
        let lab = Lab::new().backends(2).build()?;
        // Handles that outlive the lab must not keep it.
        let _nginx = lab.backend(0).nginx()?;
        let found = (lab.id().to_owned(), pids_in(&lab)?);
        fs::create_dir(lab.pin_dir())?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lab = lab;
            panic!("on purpose");
        }));
        std::panic::set_hook(hook);
        assert!(unwound.is_err());
        Ok(found)
    })
    .join()
    .expect("no other panic")?;
    assert!(!pids.is_empty());
    assert_nothing_left(&id, &pids);
    assert_eq!(links, root_links()?);
    Ok(())
}

#[test]
fn a_killed_owner_is_swept_and_a_live_one_is_not() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut owner = Owner::start()?;
    scope::sweep()?;
    assert!(!namespaces(&owner.id).is_empty(), "a live lab was swept");
    assert!(
        owner.pids.iter().all(|pid| Path::new("/proc").join(pid).exists()),
        "a live process was killed"
    );
    let status = owner.end_by(Signal::SIGKILL)?;
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    scope::sweep()?;
    assert_nothing_left(&owner.id, &owner.pids);
    Ok(())
}

#[test]
fn ctrl_c_removes_the_lab() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut owner = Owner::start()?;
        let status = owner.end_by(signal)?;
        assert_eq!(status.signal(), Some(signal as i32));
        assert_nothing_left(&owner.id, &owner.pids);
    }
    Ok(())
}

#[test]
fn a_program_that_polls_ends_by_itself() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut owner = Owner::start_as("polls")?;
    let status = owner.end_by(Signal::SIGINT)?;
    assert!(status.success(), "{status}");
    assert_nothing_left(&owner.id, &owner.pids);
    Ok(())
}

const OWNER: &str = "XLB_LAB_OWNER";

/// Not a test: what [`Owner`] runs in a process of its own, to be killed.
#[test]
#[ignore = "the process that other tests kill"]
fn owner() -> Result<()> {
    let Some(way) = std::env::var_os(OWNER) else {
        return Ok(());
    };
    if way == "polls" {
        interrupt::flag()?;
    }
    let lab = Lab::new().backends(2).build()?;
    let _nginx = lab.backend(0).nginx()?;
    fs::create_dir_all(lab.pin_dir().join("xlb-0"))?;
    println!("\nlab {} {}", lab.id(), pids_in(&lab)?.join(" "));
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end && !interrupt::interrupted() {
        thread::sleep(Duration::from_millis(10));
    }
    if way != "polls" {
        // The library ends this process, not its destructors.
        thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

/// Another process with a lab.
struct Owner {
    child: Child,
    // Open, so that it can say how it ended.
    _out: BufReader<ChildStdout>,
    id: String,
    pids: Vec<String>,
}

impl Owner {
    fn start() -> Result<Self> {
        Self::start_as("sleeps")
    }

    fn start_as(way: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["owner", "--exact", "--ignored", "--nocapture"])
            .env(OWNER, way)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        while !line.starts_with("lab ") {
            line.clear();
            ensure!(out.read_line(&mut line)? > 0, "the owner has no lab");
        }
        let mut words = line.split_whitespace().skip(1).map(str::to_owned);
        let id = words.next().context("no id")?;
        let pids: Vec<String> = words.collect();
        ensure!(!pids.is_empty(), "no process in the owner's lab");
        Ok(Self {
            child,
            _out: out,
            id,
            pids,
        })
    }

    fn end_by(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_nothing_left(id: &str, pids: &[String]) {
    assert_eq!(namespaces(id), Vec::<String>::new());
    assert!(!Path::new(RUN_DIR).join(id).exists(), "its directory is left");
    assert!(
        !Path::new(&format!("/sys/fs/bpf/xlb-lab-{id}")).exists(),
        "its pins are left"
    );
    for pid in pids {
        // A killed child that its parent has not waited for has no command line any more.
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(
            command.is_empty(),
            "process {pid} is left: {}",
            String::from_utf8_lossy(&command)
        );
    }
}

fn namespaces(id: &str) -> Vec<String> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    names
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.starts_with(&format!("xlb-{id}-")))
        .collect()
}

fn pids_in(lab: &Lab) -> Result<Vec<String>> {
    let output = Command::new("ip")
        .args(["netns", "pids", lab.backend(0).ns.name()])
        .output()?;
    Ok(String::from_utf8(output.stdout)?
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

fn root_links() -> Result<String> {
    let output = Command::new("ip").args(["-o", "link"]).output()?;
    Ok(String::from_utf8(output.stdout)?)
}
