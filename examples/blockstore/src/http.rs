//! One exchange with one server, on a connection of its own: xlb chooses the server when a connection is opened, and that choice
//! is to be made anew each time.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, CONTENT_LENGTH, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// How long an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the connection is there.
    pub connect: Duration,
    /// From then on until the answer has come as a whole.
    pub answer: Duration,
}

/// Why a server has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    NoConnection(Duration),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("the exchange broke off: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("no request can be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("{0}")]
    Status(StatusCode),
    #[error("{found} bytes instead of {wanted}")]
    Length { found: u64, wanted: u64 },
    #[error("more than {0} bytes")]
    TooLong(u64),
    #[error("wrong content")]
    Content,
    #[error("{0}")]
    Manifest(#[from] crate::manifest::BadManifest),
}

impl Failure {
    /// Whether another server, or the same a moment later, may well do it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoConnection(_) | Self::NoAnswer(_) | Self::Exchange(_) => true,
            Self::Status(status) => status.is_server_error(),
            _ => false,
        }
    }

    /// Whether the server answered, and does not have what was asked for, or not right.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Status(status) => matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE),
            Self::Length { .. } | Self::TooLong(_) | Self::Content | Self::Manifest(_) => true,
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::NoConnection(_) => {
                "is the network routed to xlb, has the service that range of ports, and has it so many backends that are up? \
                 'xlb status' says"
            }
            Self::NoAnswer(_) | Self::Exchange(_) => {
                "are the servers overloaded? try again, or with a longer --timeout"
            }
            Self::Request(_) => "is --path a path?",
            Self::Status(status) => match *status {
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::FORBIDDEN => {
                    "does the server allow PUT there, and may it write to its directory?"
                }
                StatusCode::PAYLOAD_TOO_LARGE => {
                    "the server takes no body as long as that: raise its limit (nginx: client_max_body_size), or choose a smaller \
                     --block-size"
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => {
                    "was it stored under this name and with the same --network, --port and --path? a server that still has it \
                     can be asked directly: 'repair NAME --also ADDRESS:PORT'"
                }
                _ => "the server's error log says more",
            },
            Self::Length { .. } | Self::TooLong(_) | Self::Content | Self::Manifest(_) => {
                "what the server has is damaged: 'repair NAME --verify' writes it anew from another replica, 'put' from the file"
            }
        }
    }
}

/// The body of an answer to GET, handed on piece by piece; `wanted` is its length, if that is known, `most` what it may not pass.
pub async fn get(
    to: SocketAddr,
    path: &str,
    patience: Patience,
    most: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<u64, Failure> {
    exchange(to, Method::GET, path, Bytes::new(), patience, async |answer| {
        let mut body = expect_success(answer)?.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            length += piece.len() as u64;
            if length > most {
                return Err(Failure::TooLong(most));
            }
            take(&piece);
        }
        Ok(length)
    })
    .await
}

/// How long a server says that it has it.
pub async fn head(to: SocketAddr, path: &str, patience: Patience) -> Result<Option<u64>, Failure> {
    exchange(to, Method::HEAD, path, Bytes::new(), patience, async |answer| {
        let answer = expect_success(answer)?;
        let length = answer.headers().get(CONTENT_LENGTH);
        Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
    })
    .await
}

/// Stores a body.
pub async fn put(to: SocketAddr, path: &str, patience: Patience, body: Bytes) -> Result<(), Failure> {
    exchange(to, Method::PUT, path, body, patience, async |answer| {
        // What the server has to say has to be read, or closing the connection would be a reset.
        expect_success(answer)?.into_body().collect().await?;
        Ok(())
    })
    .await
}

fn expect_success(answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    if answer.status().is_success() {
        Ok(answer)
    } else {
        Err(Failure::Status(answer.status()))
    }
}

async fn exchange<T, F: Future<Output = Result<T, Failure>>>(
    to: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    patience: Patience,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, to.to_string())
        .header(CONNECTION, "close")
        .body(Full::new(body))?;
    let connected = timeout(patience.connect, TcpStream::connect(to)).await;
    let stream = connected
        .map_err(|_| Failure::NoConnection(patience.connect))?
        .map_err(Failure::Connect)?;
    let answered = timeout(patience.answer, async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this exchange, however that ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await?;
        read(answer).await
    });
    answered.await.map_err(|_| Failure::NoAnswer(patience.answer))?
}
