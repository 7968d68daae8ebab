//! nginx with a configuration of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::host::Host;
use crate::preflight;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `/` and every other path with the host's name, `/health` with `ok`, and `/files/` from a directory;
/// takes uploads if it is told where to.
#[derive(Debug)]
pub struct Nginx {
    host: Host,
    ports: Vec<u16>,
    dir: PathBuf,
    process: Option<Process>,
}

/// What an nginx shall serve.
#[derive(Debug)]
pub struct NginxBuilder {
    host: Host,
    ports: Vec<u16>,
    secure: Vec<Secure>,
    http2: Vec<u16>,
    files: Option<PathBuf>,
    uploads: Option<PathBuf>,
}

/// A port with TLS.
#[derive(Debug)]
struct Secure {
    port: u16,
    certificate: PathBuf,
    key: PathBuf,
}

impl NginxBuilder {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            host: host.clone(),
            ports: vec![80],
            secure: Vec::new(),
            http2: Vec::new(),
            files: None,
            uploads: None,
        }
    }

    /// The ports to listen on, instead of 80.
    pub fn ports(mut self, ports: &[u16]) -> Self {
        self.ports = ports.to_vec();
        self
    }

    /// One port more, with TLS: a certificate and its key, each in a PEM file.
    pub fn tls(mut self, port: u16, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let (certificate, key) = (certificate.into(), key.into());
        self.secure.push(Secure {
            port,
            certificate,
            key,
        });
        self
    }

    /// Ports that speak HTTP/2: beside 1.1 where they have TLS, else nothing but that.
    pub fn http2(mut self, ports: &[u16]) -> Self {
        self.http2 = ports.to_vec();
        self
    }

    /// The directory that `/files/` shows.
    pub fn files(mut self, dir: impl Into<PathBuf>) -> Self {
        self.files = Some(dir.into());
        self
    }

    /// The directory whose `blocks` takes, and shows, what is put under `/blocks/`.
    pub fn uploads(mut self, dir: impl Into<PathBuf>) -> Self {
        self.uploads = Some(dir.into());
        self
    }

    /// Starts it and waits until it accepts connections.
    pub fn start(self) -> Result<Nginx> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = self
            .host
            .dir
            .join(format!("nginx-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        fs::write(dir.join("nginx.conf"), self.config(&dir)).context("write nginx's configuration")?;
        let mut nginx = Nginx {
            host: self.host,
            ports: self.ports,
            dir,
            process: None,
        };
        nginx.start()?;
        Ok(nginx)
    }
}

impl Nginx {
    /// Where it listens: the host's address and the first port.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(
            self.host.addr.into(),
            self.ports.first().copied().unwrap_or_default(),
        )
    }

    /// A URL of it, past any balancer. `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// Kills it and its workers with SIGKILL: its connections are reset, new ones refused.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Nginx::stop`].
    pub fn start(&mut self) -> Result<()> {
        self.stop();
        let mut command = self.host.ns.command("nginx");
        // The log named here holds until the configuration has been read.
        command
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(&self.dir)
            .arg("-c")
            .arg(self.dir.join("nginx.conf"));
        let what = format!("nginx on {}", self.host.name);
        let mut process = Process::spawn(&what, command, &self.dir.join("nginx.log"))?;
        // Whatever addresses the host has, this one it has.
        let addr = SocketAddr::new(
            Ipv4Addr::LOCALHOST.into(),
            self.ports.first().copied().unwrap_or_default(),
        );
        self.host
            .ns
            .run(|| process.wait_ready(PATIENCE, || TcpStream::connect(addr).is_ok()))??;
        self.process = Some(process);
        Ok(())
    }

    /// Freezes it: the kernel still completes handshakes, nobody answers.
    pub fn pause(&self) -> Result<()> {
        self.process
            .as_ref()
            .context("nginx is not running")?
            .signal(Signal::SIGSTOP)
    }

    /// Ends a [`Nginx::pause`].
    pub fn resume(&self) -> Result<()> {
        self.process
            .as_ref()
            .context("nginx is not running")?
            .signal(Signal::SIGCONT)
    }

    /// Makes `/health` answer 200 or 503.
    pub fn set_healthy(&self, healthy: bool) -> Result<()> {
        let mark = self.dir.join(UNHEALTHY);
        match if healthy {
            fs::remove_file(&mark)
        } else {
            fs::write(&mark, "")
        } {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("mark nginx's health"),
            _ => Ok(()),
        }
    }
}

/// While this file is there, `/health` answers 503.
const UNHEALTHY: &str = "unhealthy";

/// WebDAV's PUT, as nginx has it by itself.
fn uploads(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "    location /blocks/ {{ root {dir}; dav_methods PUT; create_full_put_path on; client_max_body_size 64m; }}\n"
    )
}

impl NginxBuilder {
    fn config(&self, dir: &Path) -> String {
        let name = &self.host.name;
        let files = self.files.as_deref().unwrap_or(dir).display();
        let uploads = self.uploads.as_deref().map_or_else(String::new, uploads);
        let mut servers = vec![self.listens(&self.ports, "")];
        servers.extend(self.secure.iter().map(|one| {
            let (certificate, key) = (one.certificate.display(), one.key.display());
            format!(
                "{}    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n",
                self.listens(&[one.port], " ssl")
            )
        }));
        let dir = dir.display();
        let content = format!(
            r#"
    location / {{ return 200 "{name}\n"; }}
    location = /health {{
      if (-f {dir}/{UNHEALTHY}) {{ return 503 "unhealthy\n"; }}
      return 200 "ok\n";
    }}
    location /files/ {{ alias {files}/; }}
{uploads}"#
        );
        let servers: String = servers
            .iter()
            .map(|server| format!("  server {{\n{server}{content}  }}\n"))
            .collect();
        format!(
            r#"daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/plain;
  sendfile on;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
{servers}}}
"#
        )
    }

    /// The `listen` lines of these ports.
    fn listens(&self, ports: &[u16], how: &str) -> String {
        let families: &[&str] = if preflight::has_ipv6() {
            &["0.0.0.0", "[::]"]
        } else {
            &["0.0.0.0"]
        };
        let line = |port: u16, any: &str| {
            let http2 = if self.http2.contains(&port) { " http2" } else { "" };
            format!("    listen {any}:{port}{how}{http2} backlog=4096;\n")
        };
        ports
            .iter()
            .flat_map(|&port| families.iter().map(move |any| line(port, any)))
            .collect()
    }
}
