//! Servers to probe, for tests.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Course, ProbeError, Question, Who, probe};
use crate::config::{CheckKind, TlsSpec};

/// What a server does between the pieces of its answer.
const PAUSE: Duration = Duration::from_millis(20);
/// Long enough for a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Asks once.
pub async fn ask(kind: &CheckKind, target: SocketAddr, timeout: Duration) -> Result<Answer, ProbeError> {
    let question = Question {
        kind,
        target,
        timeout,
        who: &Who::default(),
        course: &Course::Direct,
    };
    probe(question).await
}

/// The reason of a failure, which is one line.
pub fn reason(result: Result<Answer, ProbeError>) -> String {
    let reason = result.unwrap_err().to_string();
    assert!(!reason.contains('\n'), "{reason}");
    reason
}

/// Serves every connection, over TLS if there are settings for it.
pub async fn server<F, R>(tls: Option<ServerConfig>, serve: F) -> SocketAddr
where
    F: Fn(Box<dyn Stream>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(Box::new(stream)).await,
                    // The client may have left.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(Box::new(stream)).await;
                        }
                    }
                }
            });
        }
    });
    target
}

/// Reads a request, writes `text`, and closes.
pub async fn answer_with(mut stream: Box<dyn Stream>, text: Vec<u8>) {
    let mut request = vec![0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(&text).await;
    let _ = stream.shutdown().await;
}

/// Serves one connection: the pieces one after another, then closes. Gives back the request.
pub async fn pieces(pieces: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        for piece in pieces {
            // The client leaves before the end of what it does not want.
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        request.truncate(length);
        String::from_utf8(request).unwrap()
    });
    (target, server)
}

/// Where nobody listens.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An authority of the tests' own, and the file with its certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    file: NamedTempFile,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("authority of a test")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self {
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            file: NamedTempFile::new().unwrap(),
        };
        authority.write(&authority.pem);
        authority
    }

    /// What a check says that trusts this authority.
    pub fn spec(&self) -> TlsSpec {
        TlsSpec {
            ca: Some(self.file.path().to_owned()),
            ..TlsSpec::default()
        }
    }

    /// Puts another's certificate into the file.
    pub fn replace_by(&self, other: &Self) {
        self.write(&other.pem);
    }

    pub fn write(&self, text: &str) {
        let mut file = self.file.reopen().unwrap();
        file.set_len(0).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Settings of a server with a certificate for these names that is good from one year to another.
    pub fn server(&self, names: &[&str], years: (i32, i32)) -> ServerConfig {
        let (params, key) = leaf(names, years);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server_config(certificate.der(), &key)
    }

    /// A certificate for these names, and its key.
    pub fn keyed(&self, names: &[&str]) -> CertifiedKey {
        let (params, key) = leaf(names, GOOD);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], key)
    }

    /// Settings of a server with a good certificate for the address that servers of tests have.
    pub fn good_server(&self, alpn: &[&str]) -> ServerConfig {
        let mut config = self.server(&["127.0.0.1"], GOOD);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

pub const GOOD: (i32, i32) = (2020, 4000);

/// Settings of a server whose certificate is signed by nobody else.
pub fn self_signed(is_ca: IsCa) -> (ServerConfig, String) {
    let (mut params, key) = leaf(&["127.0.0.1"], GOOD);
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).unwrap();
    (server_config(certificate.der(), &key), certificate.pem())
}

fn leaf(names: &[&str], (from, to): (i32, i32)) -> (CertificateParams, KeyPair) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    (params, KeyPair::generate().unwrap())
}

fn server_config(certificate: &CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap()
}
