//! What dies: a server in a process of its own, which is this program under another name.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};
use xlb_tests::{Host, process::Process};

/// What clients connect to.
pub const PORT: u16 = 80;
/// What is probed: another one, so that probes are not taken for clients.
pub const CHECKED_PORT: u16 = 9000;

/// The server's name among the suites.
const NAME: &str = "served";
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it on a host.
pub fn start(host: &Host) -> Result<Process> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = host.ns.command(own);
    command.arg(NAME);
    let mut process = Process::spawn(&host.name, command, &host.dir.join("served.log"))?;
    host.ns.run(|| {
        process.wait_ready(PATIENCE, || {
            [PORT, CHECKED_PORT]
                .into_iter()
                .all(|port| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
    })??;
    Ok(process)
}

/// Is it: takes connections until it is killed, and keeps each until the client ends it.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let checked = serve(CHECKED_PORT).await?;
        let served = serve(PORT).await?;
        tokio::join!(accept(&checked), accept(&served));
        Ok(())
    })
}

async fn serve(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    listener.with_context(|| format!("listen on port {port}"))
}

async fn accept(listener: &TcpListener) {
    loop {
        // Those that the client has ended already are its own matter.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(keep(stream));
        }
    }
}

async fn keep(mut stream: TcpStream) {
    let mut heard = [0; 64];
    while stream.read(&mut heard).await.is_ok_and(|count| count > 0) {}
}
