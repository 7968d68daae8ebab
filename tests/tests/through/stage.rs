//! A lab of one backend for a mode, with the programs on the balancer's interfaces and what they need in their maps.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Context as _, Result};
use lb_common::{
    backend::{Backend, BackendState, BackendWord},
    conn::Timeouts,
    flow::Protocol,
    maps::switches,
    next_hop::{Egress, NextHop, Vlans},
    service::{Picker, Service, ServiceKey, Vip},
    settings::{Options, Outer, Own, Translation},
};
use nix::net::if_::if_nametoindex;
use xlb::{
    config::Interface,
    datapath::{
        Datapath as _, attach,
        bpf::BpfDatapath,
        load::{self, Capacity, Settings},
        pins::Pins,
        probing,
    },
    health::through::{Path, Through},
    netlink::Links,
};
use xlb_tests::{Lab, lab::Mode, server::Decap};

use crate::{at, forward_mode, ready};

/// What is served, by TCP and UDP.
pub const PORT: u16 = 80;
/// Where a backend of a translating service listens.
const BACKEND_PORT: u16 = 8080;
const GENERATION: u32 = 3;

/// By dropping order: the path, the programs, the lab.
pub struct Stage {
    pub path: Path,
    pub datapath: BpfDatapath,
    pub decaps: Vec<Decap>,
    pub lab: Lab,
    mode: Mode,
    _pins: Pins,
}

/// Runs a story in the balancer's namespace.
pub fn staged(mode: Mode, story: impl AsyncFnOnce(Stage) -> Result<()> + Send) -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let lab = Lab::new().mode(mode).ipv6().build()?;
    let decaps = lab.backends.iter().filter(|_| mode.encapsulates());
    let decaps = decaps.map(|backend| {
        let balancer = [lab.back.addr.to_string(), lab.back.addr6.to_string()];
        backend.decap(&["--from", &balancer[0], "--from", &balancer[1]])
    });
    let decaps = decaps.collect::<Result<_>>()?;
    serve(&lab, mode)?;
    let ns = lab.lb.ns.clone();
    ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let stage = Stage::new(lab, decaps, mode).await?;
            story(stage).await
        })
    })?
    .with_context(|| format!("{mode:?}"))
}

impl Stage {
    async fn new(lab: Lab, decaps: Vec<Decap>, mode: Mode) -> Result<Self> {
        let pins = Pins::take(&lab.pin_dir())?;
        let mut object = load::load(&pins, &settings())?;
        probing::load(&mut object)?;
        let mut datapath = BpfDatapath::new(&mut object)?;
        fill(&mut datapath, &lab, mode)?;
        let links = Links::connect()?;
        let interface = |device: &String| Interface {
            name: device.clone(),
            ..serde_json::from_str(r#"{ "name": "" }"#).unwrap()
        };
        let interfaces = [&lab.front.device, &lab.back.device].map(interface);
        attach::attach(&mut object, &pins, &links, &interfaces).await?;
        Ok(Self {
            path: Path::new(object),
            datapath,
            decaps,
            lab,
            mode,
            _pins: pins,
        })
    }

    pub fn vip(&self, v4: bool) -> IpAddr {
        vip(&self.lab, v4)
    }

    /// A probe of the backend.
    pub fn through(&self, v4: bool, protocol: Protocol) -> Through {
        let vip = at(self.vip(v4), PORT);
        let (back, backend) = (&self.lab.back, &self.lab.backends[0]);
        let (source, addr): (IpAddr, IpAddr) = if v4 {
            (back.addr.into(), backend.addr.into())
        } else {
            (back.addr6.into(), backend.addr6.into())
        };
        Through {
            backend: id(v4),
            generation: GENERATION,
            service: id(v4),
            protocol,
            vip,
            server: if self.mode.answers_directly() {
                vip
            } else {
                at(addr, BACKEND_PORT)
            },
            source,
        }
    }
}

/// Of the service of a family, of its backend, and of the way there.
const fn id(v4: bool) -> u32 {
    if v4 { 1 } else { 2 }
}

fn vip(lab: &Lab, v4: bool) -> IpAddr {
    if v4 { lab.vip().into() } else { lab.vip6().into() }
}

/// A service for each family, with one backend, that is down.
fn fill(datapath: &mut BpfDatapath, lab: &Lab, mode: Mode) -> Result<()> {
    let backend = &lab.backends[0];
    let ifindex = if_nametoindex(lab.back.device.as_str()).context("look up the balancer's interface")?;
    let hop = NextHop::new(ifindex, backend.mac.0, lab.back.mac.0, Vlans::keep());
    for v4 in [true, false] {
        let (source, addr): (IpAddr, IpAddr) = if v4 {
            (lab.back.addr.into(), backend.addr.into())
        } else {
            (lab.back.addr6.into(), backend.addr6.into())
        };
        let way = Egress {
            hop,
            mtu: 1500,
            source: source.into(),
            ..Egress::default()
        };
        datapath.put_next_hop(id(v4), &way)?;
        let port = if mode.answers_directly() { 0 } else { BACKEND_PORT };
        let backend = Backend {
            addr: addr.into(),
            port: port.to_be(),
            service: id(v4),
            ..Backend::default()
        };
        datapath.put_backend(id(v4), &backend)?;
        datapath.set_word(id(v4), BackendWord::new(BackendState::Down, id(v4), GENERATION));
        let service = Service {
            id: id(v4),
            mode: forward_mode(mode).wire(),
            picker: Picker::Maglev.wire(),
            home: Picker::Maglev.wire(),
            ..Service::default()
        };
        let vip = vip(lab, v4).into();
        for (protocol, port) in [
            (Protocol::Tcp, PORT),
            (Protocol::Tcp, PORT + 1),
            (Protocol::Udp, PORT),
        ] {
            let key = ServiceKey {
                vip,
                port: port.to_be(),
                protocol: protocol.wire().into(),
                ..ServiceKey::default()
            };
            datapath.put_service(&key, &service)?;
        }
        datapath.put_vip(
            &vip,
            &Vip {
                base: vip,
                prefix_len: 128,
                ..Vip::default()
            },
        )?;
    }
    datapath.set_switches(switches::PROBING | switches::REPLIES);
    Ok(())
}

fn settings() -> Settings {
    let second = 1_000_000_000;
    Settings {
        hash_key: [1, 2],
        timeouts: Timeouts {
            syn: second,
            established: second,
            fin: second,
            closed: second,
            udp: second,
        },
        options: Options::default(),
        own: Own::default(),
        outer: Outer::default(),
        translation: Translation::default(),
        capacity: Capacity {
            flows: 1024,
            backends: 64,
            services: 16,
            written: 1024,
        },
        log_packets: false,
    }
}

/// Answers every TCP connection once all is said, and every datagram with itself.
fn serve(lab: &Lab, mode: Mode) -> Result<()> {
    let backend = &lab.backends[0];
    let (port, addresses): (u16, [IpAddr; 2]) = if mode.answers_directly() {
        (PORT, [lab.vip().into(), lab.vip6().into()])
    } else {
        (BACKEND_PORT, [backend.addr.into(), backend.addr6.into()])
    };
    let listener = backend.ns.run(|| TcpListener::bind(("::", port)))??;
    // Until the test's process ends: there is nothing to wait for.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut asked = Vec::new();
                stream.read_to_end(&mut asked)?;
                stream.write_all(&[b'!'; 3000])
            });
        }
    });
    for address in addresses {
        // On every address, the kernel would choose one to answer from.
        let socket = backend.ns.run(|| UdpSocket::bind(at(address, port)))??;
        thread::spawn(move || {
            let mut asked = [0; 100];
            while let Ok((len, from)) = socket.recv_from(&mut asked) {
                if socket.send_to(&asked[..len], from).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
