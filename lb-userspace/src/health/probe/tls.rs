//! TLS on a probe's connection: which name is asked for, and which protocol.
//!
//! `settings` has what is trusted, `words` tells what is wrong with a server.

mod settings;
#[cfg(test)]
mod tests;
mod words;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ProbeError;
use crate::config::{HttpVersion, TlsSpec, host_name};
pub use words::after_handshake;

/// All that a handshake needs of this host; there is no connection yet.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    version: HttpVersion,
}

impl Client {
    /// For a server of `version`, which the check calls `host`.
    ///
    /// # Errors
    /// [`ProbeError::ours`]: when this host cannot tell whom to trust, or has no name to ask for.
    pub fn new(
        spec: &TlsSpec,
        host: Option<&str>,
        target: SocketAddr,
        version: HttpVersion,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            name: server_name(spec, host, target.ip())?,
            config: settings::client_config(spec, version)?,
            version,
        })
    }

    /// # Errors
    /// When the server's certificate is not good, or it speaks no TLS, or not the version of HTTP over it.
    pub async fn handshake(self, stream: TcpStream) -> Result<TlsStream<TcpStream>, ProbeError> {
        let Self {
            config,
            name,
            version,
        } = self;
        let stream = TlsConnector::from(config)
            .connect(name.clone(), stream)
            .await
            .map_err(|error| words::in_handshake(&error, &name, version))?;
        // A protocol that was not offered is refused in the handshake. A server that names none speaks HTTP/1.1 (RFC 9113 §3.2).
        if version == HttpVersion::Http2 && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(words::no_protocol(version));
        }
        Ok(stream)
    }
}

/// The name in SNI and in the certificate. An address is no name for SNI (RFC 6066 §3): there it is left out.
fn server_name(
    spec: &TlsSpec,
    host: Option<&str>,
    address: IpAddr,
) -> Result<ServerName<'static>, ProbeError> {
    let Some(name) = spec.server_name.as_deref().or(host.map(host_name)) else {
        return Ok(ServerName::from(address.to_canonical()));
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| ProbeError::ours(format!("{name:?} cannot be a name in TLS: set server_name")))
}
