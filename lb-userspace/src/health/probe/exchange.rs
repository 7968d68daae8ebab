//! One request over a connection of its own, by HTTP/1.1 or HTTP/2, in the clear or over TLS.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    http::response::Parts,
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{ProbeError, Target, socket, tls};
use crate::config::{HttpVersion, TlsSpec};

/// How much of a body is read, and looked at.
pub const BODY: usize = 64 * 1024;
/// How long the head of a response may be.
const HEAD: u32 = 64 * 1024;
/// How many fields it may have.
const FIELDS: usize = 1000;
/// What a server may send by HTTP/2 before it is read.
const WINDOW: u32 = 64 * 1024;
/// The smallest that there is (RFC 9113 §4.2).
const FRAME: u32 = 16 * 1024;
pub const AGENT: &str = concat!("xlb/", env!("CARGO_PKG_VERSION"));

/// Whom to ask, and how.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    pub target: Target<'a>,
    /// What the check calls it.
    pub host: Option<&'a str>,
    pub tls: Option<&'a TlsSpec>,
    pub version: HttpVersion,
}

/// A body, up to [`BODY`] bytes of it.
#[derive(Debug)]
pub struct Read {
    pub bytes: Vec<u8>,
    /// What came behind it, if it was read to its end.
    pub trailers: HeaderMap,
    pub is_whole: bool,
}

impl Server<'_> {
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The Host header, or `:authority`. As a browser would: the port belongs there unless it is the scheme's own (RFC 9110 §7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let port = if self.tls.is_some() { 443 } else { 80 };
        match (self.host, self.target.address) {
            (Some(host), _) => host.to_owned(),
            // Not as the address is displayed: with a zone, which is this host's own affair.
            (None, SocketAddr::V6(address)) if address.port() == port => format!("[{}]", address.ip()),
            (None, SocketAddr::V6(address)) => format!("[{}]:{}", address.ip(), address.port()),
            (None, SocketAddr::V4(address)) if address.port() == port => address.ip().to_string(),
            (None, SocketAddr::V4(address)) => address.to_string(),
        }
    }

    /// Sends the request and reads the response, the body only if `wants` agrees to the head. The connection ends with that.
    ///
    /// # Errors
    /// That of `wants`, and when there is no whole response.
    pub async fn ask(
        self,
        request: Request<Full<Bytes>>,
        wants: impl FnOnce(&Parts) -> Result<(), ProbeError>,
    ) -> Result<(Parts, Read), ProbeError> {
        let client = match self.tls {
            Some(spec) => Some(tls::Client::new(
                spec,
                self.host,
                self.target.address,
                self.version,
            )?),
            None => None,
        };
        let stream = socket::connect(self.target).await?;
        match client {
            Some(client) => exchange(client.handshake(stream).await?, self.version, request, wants).await,
            None => exchange(stream, self.version, request, wants).await,
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    version: HttpVersion,
    request: Request<Full<Bytes>>,
    wants: impl FnOnce(&Parts) -> Result<(), ProbeError>,
) -> Result<(Parts, Read), ProbeError> {
    let stream = TokioIo::new(stream);
    match version {
        HttpVersion::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .max_buf_size(HEAD as usize)
                .max_headers(FIELDS)
                // A user agent takes them (RFC 9112 §5.2).
                .allow_obsolete_multiline_headers_in_responses(true);
            let (mut sender, connection) = builder.handshake(stream).await.map_err(failed)?;
            let response = async { look(sender.send_request(request).await, wants).await };
            drive(connection, response).await
        }
        HttpVersion::Http2 => {
            let tasks = Tasks::default();
            let mut builder = http2::Builder::new(tasks.spawner());
            builder
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME)
                .max_header_list_size(HEAD);
            let (mut sender, connection) = builder.handshake(stream).await.map_err(failed)?;
            let response = async { look(sender.send_request(request).await, wants).await };
            drive(connection, response).await
        }
    }
}

async fn look(
    response: Result<Response<Incoming>, hyper::Error>,
    wants: impl FnOnce(&Parts) -> Result<(), ProbeError>,
) -> Result<(Parts, Read), ProbeError> {
    let (head, body) = response.map_err(failed)?.into_parts();
    wants(&head)?;
    Ok((head, read(body).await?))
}

/// Reads a body up to its bound.
async fn read(mut body: Incoming) -> Result<Read, ProbeError> {
    let mut bytes = Vec::new();
    let mut trailers = HeaderMap::new();
    while bytes.len() < BODY {
        let Some(frame) = body.frame().await else {
            return Ok(Read {
                bytes,
                trailers,
                is_whole: true,
            });
        };
        match frame.map_err(failed)?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data[..data.len().min(BODY - bytes.len())]),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Read {
        bytes,
        trailers,
        is_whole: false,
    })
}

/// The exchange needs the connection to be polled beside it. The request is queued first: a connection that is already closed
/// then says so of the request.
async fn drive<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        verdict = &mut exchange => verdict,
        // The connection ends by itself once the response is in; what was received is still to be judged.
        _ = connection => exchange.await,
    }
}

/// The tasks that HTTP/2 wants for a connection. They end when this is dropped.
#[derive(Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Held by the tasks themselves, so it may not keep them alive.
#[derive(Clone, Debug)]
struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}

/// The library's errors say little without their cause.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn failed(error: hyper::Error) -> ProbeError {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(error) = source.downcast_ref::<io::Error>() {
            return stopped(error);
        }
        cause = source.source();
    }
    if error.is_canceled() {
        return ProbeError::answer("response: connection closed");
    }
    match error.source() {
        Some(source) => ProbeError::answer(format!("response: {error}: {source}")),
        None => ProbeError::answer(format!("response: {error}")),
    }
}

fn stopped(error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ProbeError::answer("response: connection closed before its end"),
        _ => tls::after_handshake(error).unwrap_or_else(|| ProbeError::io("response", error)),
    }
}
