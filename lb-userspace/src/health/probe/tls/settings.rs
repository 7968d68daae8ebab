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
    crypto::{CryptoProvider, ring},
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
    /// It cannot be read any more, and that is in the log.
    is_lost: bool,
}

impl Kept {
    /// Takes in that the file cannot be read now; whether that is new.
    fn lose(&mut self) -> bool {
        !std::mem::replace(&mut self.is_lost, true)
    }
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
    if let Some(kept) = settings.get_mut(&key)
        && (key.ca.is_none() || stamp.is_some() && stamp == kept.read)
    {
        kept.is_lost = false;
        return Ok(Arc::clone(&kept.config));
    }
    let config = match (make(spec, version), settings.get_mut(&key)) {
        (Ok(config), _) => Arc::new(config),
        // A file that is being replaced, or has gone, takes nothing away from those that were read from it.
        (Err(error), Some(kept)) => {
            // Once, and not at each probe.
            if kept.lose() {
                log::warn!("{error}: those authorities that were read before are trusted");
            }
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
        is_lost: false,
    };
    settings.insert(key, kept);
    Ok(config)
}

fn make(spec: &TlsSpec, version: HttpVersion) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(ring::default_provider());
    let any = AnyCertificate::known_to(&provider);
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

/// Any certificate will do, also one that cannot be read here: X.509 v1, or with a key that is too short for anybody's trust. So nothing
/// is made of what is signed with its key either: who could be anybody needs no proof.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl AnyCertificate {
    fn known_to(provider: &CryptoProvider) -> Self {
        let mut schemes = provider.signature_verification_algorithms.supported_schemes();
        // A server whose key is of these has nothing else to offer, and they need not be understood here.
        schemes.extend([SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448]);
        Self(schemes)
    }
}

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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    fn is_lost(key: &Key) -> bool {
        SETTINGS.lock().unwrap().get(key).unwrap().is_lost
    }

    #[test]
    fn that_a_file_is_lost_is_said_once_until_it_can_be_read_again() {
        let mut file = NamedTempFile::new().unwrap();
        let certificate = rcgen::generate_simple_self_signed([]).unwrap().cert;
        file.write_all(certificate.pem().as_bytes()).unwrap();
        let spec = TlsSpec {
            ca: Some(file.path().to_owned()),
            ..TlsSpec::default()
        };
        let key = Key {
            ca: spec.ca.clone(),
            verify: true,
            is_http2: false,
        };
        let read = || client_config(&spec, HttpVersion::Http1).unwrap();
        read();
        assert!(!is_lost(&key));
        let elsewhere = file.path().with_extension("gone");
        for _ in 0..2 {
            fs::rename(file.path(), &elsewhere).unwrap();
            read();
            assert!(is_lost(&key));
            let mut settings = SETTINGS.lock().unwrap();
            assert!(!settings.get_mut(&key).unwrap().lose());
            drop(settings);
            fs::rename(&elsewhere, file.path()).unwrap();
            read();
            assert!(!is_lost(&key));
        }
    }
}
