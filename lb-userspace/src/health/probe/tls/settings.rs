//! What is trusted: settings of TLS, kept because to make them for each probe would be slow.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::super::ProbeError;
use crate::config::{HttpVersion, TlsSpec, authorities};

/// Settings that are kept. More would be those of configurations that are gone.
const KEPT: usize = 64;

static SETTINGS: Mutex<BTreeMap<Key, Kept>> = Mutex::new(BTreeMap::new());
/// The system's authorities, as they were when the first check asked for them.
static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// What settings depend on. The server's name is not among it: that is given with each handshake.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    ca: Option<PathBuf>,
    verify: bool,
    is_http2: bool,
}

struct Kept {
    config: Arc<ClientConfig>,
    /// The file of authorities that was read.
    read: Option<Stamp>,
}

/// Tells whether a file has changed, also when another has taken its place or its time was set back.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// The settings for a check; those made before if nothing has changed.
///
/// # Errors
/// When the authorities cannot be read.
pub fn client_config(spec: &TlsSpec, version: HttpVersion) -> Result<Arc<ClientConfig>, ProbeError> {
    let key = Key {
        ca: spec.ca.clone(),
        verify: spec.verify,
        is_http2: version == HttpVersion::Http2,
    };
    // Before the file is read: a change in between is then noticed the next time.
    let stamp = spec.ca.as_deref().and_then(Stamp::of);
    let mut settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = settings.get(&key)
        && (key.ca.is_none() || stamp.is_some() && stamp == kept.read)
    {
        return Ok(Arc::clone(&kept.config));
    }
    let config = match (make(spec, version), settings.get(&key)) {
        (Ok(config), _) => Arc::new(config),
        // A file that is being replaced, or has gone, takes nothing away from those that were read from it.
        (Err(error), Some(kept)) => {
            log::warn!("{error}: those authorities that were read before are trusted");
            return Ok(Arc::clone(&kept.config));
        }
        (Err(error), None) => return Err(error),
    };
    if settings.len() >= KEPT {
        settings.clear();
    }
    let kept = Kept {
        config: Arc::clone(&config),
        read: stamp,
    };
    settings.insert(key, kept);
    Ok(config)
}

fn make(spec: &TlsSpec, version: HttpVersion) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(ring::default_provider());
    let any = AnyCertificate(provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeError::ours(format!("TLS: {error}")))?;
    let builder = match (&spec.ca, spec.verify) {
        (_, false) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(any)),
        (Some(ca), true) => builder.with_root_certificates(own(ca)?),
        (None, true) => builder.with_root_certificates(system()?),
    };
    let mut config = builder.with_no_client_auth();
    // A resumed session shows no certificate, so one that has expired since would go unnoticed.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn own(ca: &Path) -> Result<Arc<RootCertStore>, ProbeError> {
    let mut roots = RootCertStore::empty();
    let certificates = authorities(ca).map_err(|problem| ProbeError::ours(format!("ca {problem}")))?;
    let (good, _) = roots.add_parsable_certificates(certificates);
    if good == 0 {
        let problem = format!("ca {ca:?} has no certificate that can be read: name another PEM file");
        return Err(ProbeError::ours(problem));
    }
    Ok(Arc::new(roots))
}

fn system() -> Result<Arc<RootCertStore>, ProbeError> {
    if let Some(roots) = SYSTEM.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if good == 0 {
        return Err(ProbeError::ours(
            "this host trusts no authority: install ca-certificates, or name a PEM file with ca",
        ));
    }
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(roots))))
}

/// Any certificate will do; still the server has to prove that it has the key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
