//! Probes through the data path, with real sockets and backends: the programs on a balancer's interfaces, without an agent around them.
#![expect(clippy::unwrap_used, reason = "what a test cannot do has failed it")]

mod stage;

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_common::{flow::Protocol, outcome::Outcome, service::ForwardMode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use xlb::datapath::Datapath as _;
use xlb_tests::{lab::Mode, preflight};

use crate::stage::{PORT, Stage, staged};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for an answer that does not come.
const MOMENT: Duration = Duration::from_secs(1);

/// Asks the backend who it is.
async fn ask(stage: &Stage, v4: bool, patience: Duration) -> Result<String> {
    let via = stage.through(v4, Protocol::Tcp);
    let lease = stage.path.lease(&via).await?;
    let socket = lease.tcp_socket().await?;
    let answer = timeout(patience, async {
        let mut stream = socket.connect(via.vip).await?;
        // More than one packet, both ways.
        stream.write_all(&[b'?'; 4000]).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    Ok(answer.await.context("no answer")??)
}

async fn ask_by_udp(stage: &Stage, v4: bool) -> Result<Vec<u8>> {
    let via = stage.through(v4, Protocol::Udp);
    let lease = stage.path.lease(&via).await?;
    let socket = lease.udp_socket().await?;
    socket.connect(via.vip).await?;
    socket.send(b"anybody?").await?;
    let mut answer = [0; 100];
    let len = timeout(PATIENCE, socket.recv(&mut answer))
        .await
        .context("no answer")??;
    Ok(answer[..len].to_vec())
}

#[test]
fn a_backend_answers_in_every_mode() -> Result<()> {
    for mode in Mode::ALL {
        staged(mode, async |stage| {
            for v4 in [true, false] {
                let name = format!("{mode:?} {v4}");
                let answer = ask(&stage, v4, PATIENCE).await.context(name.clone())?;
                assert_eq!(answer.len(), 3000, "{name}");
                assert_eq!(
                    ask_by_udp(&stage, v4).await.context(name.clone())?,
                    b"anybody?",
                    "{name}"
                );
            }
            // Many in turn, each with a port of its own.
            for _ in 0..50 {
                ask(&stage, true, PATIENCE).await?;
            }
            let count = |outcome: Outcome| {
                stage
                    .datapath
                    .outcomes()
                    .map(|all| all[usize::from(outcome.wire())].packets)
            };
            assert!(count(Outcome::ProbeSent)? > 200 && count(Outcome::ProbeAnswered)? > 200);
            assert_eq!((count(Outcome::Forwarded)?, count(Outcome::Returned)?), (0, 0));
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_port_that_nobody_listens_on_refuses() -> Result<()> {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        staged(mode, async |stage| {
            for v4 in [true, false] {
                let mut via = stage.through(v4, Protocol::Tcp);
                via.vip.set_port(PORT + 1);
                via.server.set_port(PORT + 1);
                let lease = stage.path.lease(&via).await?;
                let socket = lease.tcp_socket().await?;
                let error = timeout(PATIENCE, socket.connect(via.vip)).await?.unwrap_err();
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionRefused,
                    "{mode:?} {v4}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What a check that asks the backend's own address would not notice.
#[test]
fn a_backend_without_the_vip_does_not_answer() -> Result<()> {
    for mode in [Mode::Dsr, Mode::Ipip, Mode::Gue] {
        staged(mode, async |stage| {
            let backend = &stage.lab.backends[0].ns;
            for v4 in [true, false] {
                ask(&stage, v4, PATIENCE).await?;
                let (vip, bits) = (stage.vip(v4), if v4 { "32" } else { "128" });
                let address = format!("{vip}/{bits}");
                backend.ip(&["addr", "del", &address, "dev", "lo"])?;
                let answer = ask(&stage, v4, MOMENT).await;
                ensure!(answer.is_err(), "{mode:?} {v4}: answered without the VIP");
                backend.ip(&["addr", "add", &address, "dev", "lo"])?;
                ask(&stage, v4, PATIENCE)
                    .await
                    .with_context(|| format!("{mode:?} {v4}: no answer with it"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_backend_whose_tunnel_ends_nowhere_does_not_answer() -> Result<()> {
    for mode in [Mode::Ipip, Mode::Gue] {
        staged(mode, async |mut stage| {
            ask(&stage, true, PATIENCE).await?;
            stage.decaps.clear();
            ensure!(
                ask(&stage, true, MOMENT).await.is_err(),
                "{mode:?}: answered without a tunnel"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_a_probe_cannot_have_is_said() -> Result<()> {
    staged(Mode::Dsr, async |stage| {
        let via = stage.through(true, Protocol::Tcp);
        let refusal = async |via| {
            stage
                .path
                .lease(&via)
                .await
                .err()
                .map(|error| (error.is_ours(), error.to_string()))
        };
        let mut other = via;
        other.source = IpAddr::from([192, 0, 2, 200]);
        let (ours, text) = refusal(other).await.context("an address of nobody's")?;
        assert!(ours && text.contains("of 192.0.2.200: Cannot assign"), "{text}");
        let mut other = via;
        other.source = stage.lab.back.addr6.into();
        let (ours, text) = refusal(other).await.context("an address of another family")?;
        assert!(ours && text.contains("not all of its family"), "{text}");
        let mut other = via;
        other.protocol = Protocol::Sctp;
        let (ours, text) = refusal(other).await.context("SCTP")?;
        assert!(ours && text.contains("no probes by sctp"), "{text}");
        Ok(())
    })
}

/// Ports are counted for each VIP and port: with as many kept connections as there are ports, the next VIP still has all of them.
#[test]
fn what_asks_another_port_may_have_the_same_one() -> Result<()> {
    for mode in [Mode::Nat, Mode::Dsr] {
        staged(mode, async |stage| {
            for v4 in [true, false] {
                let via = stage.through(v4, Protocol::Tcp);
                let mut other = via;
                other.vip.set_port(PORT + 1);
                other.server.set_port(PORT + 1);
                let leases = (stage.path.lease(&via).await?, stage.path.lease(&other).await?);
                let sockets = (leases.0.tcp_socket().await?, leases.1.tcp_socket().await?);
                let ports = (sockets.0.local_addr()?.port(), sockets.1.local_addr()?.port());
                ensure!(ports.0 == ports.1, "{mode:?} {v4}: {ports:?}");
                // Of these two somebody listens to one.
                let refused = timeout(PATIENCE, sockets.1.connect(other.vip)).await?;
                assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
                timeout(PATIENCE, sockets.0.connect(via.vip)).await??;
                let via = stage.through(v4, Protocol::Udp);
                let mut other = via;
                other.vip.set_port(PORT + 1);
                other.server.set_port(PORT + 1);
                let leases = (stage.path.lease(&other).await?, stage.path.lease(&via).await?);
                let sockets = (leases.0.udp_socket().await?, leases.1.udp_socket().await?);
                ensure!(
                    sockets.0.local_addr()? == sockets.1.local_addr()?,
                    "{mode:?} {v4}"
                );
                sockets.0.connect(other.vip).await?;
                sockets.1.connect(via.vip).await?;
                sockets.1.send(b"anybody?").await?;
                let mut answer = [0; 100];
                let len = timeout(PATIENCE, sockets.1.recv(&mut answer)).await??;
                assert_eq!(&answer[..len], b"anybody?", "{mode:?} {v4}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Also where nobody wants another one.
#[test]
fn a_port_that_has_rested_is_this_hosts_again() -> Result<()> {
    staged(Mode::Dsr, async |stage| {
        let via = stage.through(true, Protocol::Tcp);
        let lease = stage.path.lease(&via).await?;
        let port = lease.tcp_socket().await?.local_addr()?.port();
        let is_free = || TcpListener::bind((via.source, port)).is_ok();
        drop(lease);
        stage.path.let_go(Instant::now())?;
        ensure!(!is_free(), "port {port} does not rest");
        stage.path.let_go(Instant::now() + PATIENCE)?;
        ensure!(is_free(), "port {port} still rests");
        Ok(())
    })
}

/// The interface goes with the path, and with it the namespace.
#[test]
fn nothing_stays() -> Result<()> {
    staged(Mode::Dsr, async |stage| {
        let door = || {
            stage
                .lab
                .lb
                .ns
                .exec(&["ip", "-o", "link", "show", "type", "veth"])
        };
        let lease = stage.path.lease(&stage.through(true, Protocol::Tcp)).await?;
        ensure!(door()?.contains("xlb-probe0"), "{}", door()?);
        drop(lease);
        let Stage { path, lab, .. } = stage;
        drop(path);
        let gone = || Ok::<_, anyhow::Error>(!lab.lb.ns.exec(&["ip", "-o", "link"])?.contains("xlb-probe"));
        for _ in 0..200 {
            if gone()? {
                return Ok(());
            }
            tokio::time::sleep(PATIENCE / 200).await;
        }
        anyhow::bail!("the interface is still there")
    })
}

const fn forward_mode(mode: Mode) -> ForwardMode {
    match mode {
        Mode::Nat => ForwardMode::Nat,
        Mode::FullNat => ForwardMode::FullNat,
        Mode::Dsr => ForwardMode::Dsr,
        Mode::Ipip => ForwardMode::Ipip,
        Mode::Gue => ForwardMode::Gue,
    }
}

/// An address with a port.
fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Whether this host can do it at all.
fn ready() -> bool {
    preflight::ready()
}
