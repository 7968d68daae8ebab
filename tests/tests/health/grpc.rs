//! gRPC's own health service, on a socket in a host's namespace.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};
use xlb_tests::Host;

/// A running server; ends when dropped.
pub struct Grpc {
    runtime: Runtime,
    reporter: HealthReporter,
}

impl Grpc {
    /// Serves, and says so of `service` and of the server as a whole.
    pub fn start(host: &Host, port: u16, service: &str) -> Result<Self> {
        let listener = host.ns.run(|| TcpListener::bind(("0.0.0.0", port)))?;
        let listener = listener.with_context(|| format!("TCP port {port} on {}", host.name))?;
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let incoming = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
        runtime.spawn(
            Server::builder()
                .add_service(health)
                .serve_with_incoming(TcpIncoming::from(incoming)),
        );
        let grpc = Self { runtime, reporter };
        grpc.set(service, true);
        Ok(grpc)
    }

    /// Says from now on whether a service is served.
    pub fn set(&self, service: &str, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.runtime
            .block_on(self.reporter.set_service_status(service, status));
    }
}
