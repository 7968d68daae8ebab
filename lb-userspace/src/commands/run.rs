//! `xlb run`: the agent.

mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use lb_common::{
    conn::Timeouts,
    settings::{Options, Own},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
};

use super::{Code, Reply};
use crate::{
    api::server::Socket,
    config::{self, Config, Network, PartialChecksums},
    control::{
        self, Controller, Inlets, Outlets,
        events::{Journal, News, What, hook::Hook},
        overrides::Overrides,
    },
    datapath::{
        attach::{self, Attached},
        bpf::BpfDatapath,
        interfaces::{self, Frames},
        load::{self, Capacity, Settings},
        nics,
        pins::Pins,
        preflight, probing,
        records::Records,
        sweep::{Census, Sweep},
    },
    health::{results, through::Path as Probing, unreachable::Listener},
    kernel_log,
    netlink::{Link, Links, Offloads, Resolver},
    state_dir::StateDir,
};

/// Room for messages on their way to the control loop.
const QUEUE: usize = 1024;
/// Pause between two sweeps of the flow table, at least; a sweep that takes long is followed by twenty times as much.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// How long tasks may take to end with the agent.
const ENDING: Duration = Duration::from_secs(1);

/// Runs the agent until it is told to end.
///
/// # Errors
/// When it cannot start. A first start that fails leaves nothing behind; one that fails over the pins of an earlier agent
/// leaves those, and packets flow on.
pub fn execute(file: &Path, detach_on_exit: bool) -> Result<Reply> {
    let config = Config::load(file)?;
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(run(&config, detach_on_exit))?;
    // For commands of checks, which end with their tasks. A sweep of the flow table may be under way; nothing depends on its end.
    runtime.shutdown_timeout(ENDING);
    Ok(Reply {
        text: String::new(),
        code: Code::Done,
    })
}

/// Every probe holds a socket while it waits; the usual soft limit of 1024 is for programs that use `select`.
fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("raise the limit of open files: {error}");
    }
}

async fn run(config: &Config, detach_on_exit: bool) -> Result<()> {
    preflight::check()?;
    preflight::bpf_file_system(&config.node.pin_dir)?;
    attach::check(&config.interfaces)?;
    // Before anything is made, so that a signal in the middle of the start leaves nothing.
    let signals = (
        signal(SignalKind::interrupt()).context("listen for signals")?,
        signal(SignalKind::terminate()).context("listen for signals")?,
    );
    let pins = Pins::take(&config.node.pin_dir)?;
    let adopts = pins.hold_maps();
    let linked = pins.linked()?;
    match run_on(config, &pins, adopts, signals).await {
        Ok(()) if detach_on_exit => {
            let linked = pins.linked()?;
            attach::let_go(&Links::connect()?, &linked, || pins.remove()).await?;
            log::info!("detached: packets pass by from now on");
            Ok(())
        }
        Ok(()) => {
            log::info!("ended; packets keep flowing: 'xlb detach' takes the balancer away");
            Ok(())
        }
        Err(error) => {
            let undone = if adopts {
                pins.unlink_all_but(&linked).map(drop)
            } else {
                pins.remove()
            };
            if let Err(left) = undone {
                log::warn!("clean up after a failed start: {left:#}");
            }
            Err(error)
        }
    }
}

async fn run_on(
    config: &Config,
    pins: &Pins,
    adopts: bool,
    (mut interrupt, mut terminate): (Signal, Signal),
) -> Result<()> {
    let mut state = StateDir::take(&config.node.state_dir)?;
    let mut socket = Socket::bind(&config.node.socket)?;
    let links = Links::connect()?;
    let host = host(config, &links).await?;
    let settings = settings(config, state.hash_key()?, &host)?;
    // For the refusal alone, while nothing has been touched.
    let overrides = Overrides::load(&config.node.state_dir)?;
    let mut ebpf = load::load(pins, &settings)?;
    // Before anything is taken from the object: what is loaded names maps by what is open in it.
    let can_probe = probing::load(&mut ebpf).map(drop);

    let (observed, observations) = results::channel(QUEUE);
    let (wanted, targets) = watch::channel(BTreeSet::new());
    let (suspected, suspects) = mpsc::channel(QUEUE);
    let (lifetimes, lasting) = watch::channel(BTreeMap::new());
    let journal = Journal::default();
    let services = overrides.over(&config.setup(), &config.limits).0.services.len();
    journal.note(started(services), SystemTime::now());
    let (path, object) = Probing::expecting();
    let outlets = Outlets {
        path: Some(path),
        own: settings.own,
        observations: observed,
        targets: wanted,
        suspects: suspected,
        lifetimes,
        journal: journal.clone(),
    };
    let mut datapath = BpfDatapath::new(&mut ebpf)?;
    settings::write_sources(&mut datapath, &config.node.sources)?;
    // An interface that cannot be had is found out while the tables are still those of before: empty ones let all packets pass.
    let attached = attach::attach(&mut ebpf, pins, &links, &config.interfaces).await?;
    host.frames.log();
    warn_of_nics(&links.all().await?, &attached);
    let mut controller = Controller::adopt(datapath, config, outlets, observations)?;
    attach::detach_others(&links, pins, &config.interfaces).await?;
    load::pin_program(&mut ebpf, pins)?;
    if config.node.log_packets {
        kernel_log::forward(&mut ebpf)?;
    }
    // Probes by the data path wait for it, if there are any.
    let _waiting = object.send(can_probe.map(|()| ebpf).map_err(|error| format!("{error:#}")));

    let (heard, news) = mpsc::channel(QUEUE);
    let _resolver = Resolver::spawn(targets, suspects, heard);
    let (asks, requests) = mpsc::channel(QUEUE);
    socket.serve(asks, journal.clone());
    let census = sweep(Sweep::open(pins, settings.timeouts, lasting)?);
    let mut node = control::Node {
        started: Instant::now(),
        attached,
        records: Some(Arc::new(Mutex::new(Records::open(pins, settings.hash_key)?))),
        loaded: control::lookup::Loaded {
            hash_key: settings.hash_key,
            timeouts: settings.timeouts,
        },
        nics: Vec::new(),
        interfaces: BTreeMap::new(),
    };
    let inlets = Inlets {
        requests,
        news,
        census,
        unreachables: listen_for_errors(),
        realtime: config.node.realtime,
    };
    let end = async move {
        tokio::select! {
            _ = interrupt.recv() => log::info!("ends on SIGINT"),
            _ = terminate.recv() => log::info!("ends on SIGTERM"),
        }
    };
    state.keep();
    log::info!(
        "{} maps in {}",
        if adopts { "adopted the" } else { "made" },
        config.node.pin_dir.display()
    );
    log::info!(
        "services: {}; socket {}",
        config.services.len(),
        config.node.socket.display()
    );
    let hook = Hook::start(&config.node.on_event, &journal);
    control::run(&mut controller, &mut node, inlets, end).await;
    if let Some(hook) = hook {
        hook.end().await;
    }
    controller.write_health(Instant::now()).await;
    Ok(())
}

/// Says what stands in the program's way on the interfaces.
fn warn_of_nics(links: &[Link], attached: &[Attached]) {
    let modes = attached.iter().map(|one| (one.name.as_str(), one.mode));
    for warning in nics::warnings(links, modes) {
        log::warn!("{warning}");
    }
}

/// That the agent has begun.
fn started(services: usize) -> News<'static> {
    let plural = if services == 1 { "" } else { "s" };
    News {
        event: What::Started,
        service: None,
        backend: None,
        check: None,
        reason: format!("xlb {}: {services} service{plural}", env!("CARGO_PKG_VERSION")),
    }
}

/// What the program has to know of this host.
struct Host {
    own: Own,
    frames: Frames,
    partial_checksums: bool,
}

async fn host(config: &Config, links: &Links) -> Result<Host> {
    let names: Vec<_> = config
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    let vips = || config.services.iter().flat_map(|service| &service.vips);
    let is_vip = |ip| vips().any(|vip| vip.network.contains(Network::new(ip, u8::MAX)));
    let all = links.all().await?;
    let frames = interfaces::frames(&all, &config.interfaces, preflight::kernel()?);
    Ok(Host {
        own: links.own(&names, is_vip).await?,
        frames,
        partial_checksums: match config.node.partial_checksums {
            PartialChecksums::Auto => {
                interfaces::has_unfinished_checksums(&all, &config.interfaces, |name| {
                    Offloads::of(name).virtio
                })
            }
            PartialChecksums::On => true,
            PartialChecksums::Off => false,
        },
    })
}

fn settings(config: &Config, hash_key: [u64; 2], host: &Host) -> Result<Settings> {
    let config::Limits {
        flows,
        backends,
        services,
        written: _,
    } = config.limits;
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Ok(Settings {
        hash_key,
        timeouts: Timeouts {
            syn: nanoseconds(config.timeouts.syn),
            established: nanoseconds(config.timeouts.established),
            fin: nanoseconds(config.timeouts.fin),
            closed: nanoseconds(config.timeouts.closed),
            udp: nanoseconds(config.timeouts.udp),
        },
        options: Options {
            partial_checksums: host.partial_checksums.into(),
            multi_buffer: host.frames.multi_buffer().into(),
            answers_per_second: config.node.answers_per_second,
            ..Options::default()
        },
        own: host.own,
        outer: settings::outer(&config.node.tunnel_sources),
        translation: settings::translation(&config.node)?,
        capacity: Capacity {
            flows,
            backends,
            services,
            written: config.limits.written_entries(),
        },
        log_packets: config.node.log_packets,
    })
}

/// Hears ICMP errors about tunnels, which come to this host.
fn listen_for_errors() -> mpsc::Receiver<IpAddr> {
    let (told, heard) = mpsc::channel(QUEUE);
    let listener = match Listener::open() {
        Ok(listener) => listener,
        Err(error) => {
            log::warn!("ICMP errors about tunnels are not heard: {error:#}");
            return heard;
        }
    };
    tokio::spawn(async move {
        loop {
            match listener.next().await {
                // Of a flood, as many as there is room for are enough.
                Ok(address) => match told.try_send(address) {
                    Ok(()) | Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Closed(_)) => return,
                },
                Err(error) => {
                    log::warn!("ICMP errors about tunnels are not heard any more: {error:#}");
                    return;
                }
            }
        }
    });
    heard
}

/// Sweeps the tables of flows over and over, beside the control loop.
fn sweep(mut sweep: Sweep) -> mpsc::Receiver<Census> {
    let (counted, census) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let start = Instant::now();
            let swept = tokio::task::spawn_blocking(move || (sweep.run(), sweep)).await;
            let Ok((result, back)) = swept else { return };
            sweep = back;
            match result {
                Ok(result) => {
                    if counted.send(result).await.is_err() {
                        return;
                    }
                }
                Err(error) => log::warn!("sweep the tables of flows: {error:#}"),
            }
            tokio::time::sleep(SWEEP_PAUSE.max(20 * start.elapsed())).await;
        }
    });
    census
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_an_event_of_nobody() {
        let version = env!("CARGO_PKG_VERSION");
        let News {
            event,
            service,
            reason,
            ..
        } = started(3);
        assert_eq!((event, service), (What::Started, None));
        assert_eq!(reason, format!("xlb {version}: 3 services"));
        assert_eq!(started(1).reason, format!("xlb {version}: 1 service"));
    }
}
