//! Checks over TLS against servers with good and bad certificates.

use std::{net::SocketAddr, sync::Mutex};

use rcgen::{BasicConstraints, IsCa};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::{CheckKind, HttpCheck};
use crate::health::probe::{
    Answer,
    backend::{Refusing, ask, ask_for, reason},
    serve::{Authority, GOOD, answer_with, pieces, self_signed, server},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn https(spec: TlsSpec) -> HttpCheck {
    HttpCheck {
        tls: Some(spec),
        ..HttpCheck::default()
    }
}

async fn probe(check: HttpCheck, target: SocketAddr) -> Result<Answer, ProbeError> {
    ask(&CheckKind::Http(Box::new(check)), target).await
}

async fn serving(config: rustls::ServerConfig) -> SocketAddr {
    server(Some(config), |stream| answer_with(stream, OK.to_vec())).await
}

#[tokio::test]
async fn a_certificate_of_the_own_authority_is_good() {
    let authority = Authority::new();
    let target = serving(authority.good_server(&[])).await;
    assert_eq!(
        probe(https(authority.spec()), target).await,
        Ok(Answer::said("status 200"))
    );
    // The system does not know the authority.
    let unknown = probe(https(TlsSpec::default()), target).await.unwrap_err();
    if !unknown.is_ours() {
        assert_eq!(unknown.to_string(), "certificate's authority is not trusted");
    }
    let other = Authority::named("another");
    assert_eq!(
        reason(probe(https(other.spec()), target).await),
        "certificate's authority is not trusted"
    );
    let renewed = Authority::new();
    assert_eq!(
        reason(probe(https(renewed.spec()), target).await),
        "certificate's signature is wrong (by another authority of the same name, or by an RSA key below 2048 bits?)"
    );
}

#[tokio::test]
async fn a_bad_certificate_is_told_in_plain_words() {
    let authority = Authority::new();
    let cases = [
        (
            authority.server(&["127.0.0.1"], (2001, 2002)),
            "certificate expired on 2002-01-01T00:00:00Z",
        ),
        (
            authority.server(&["127.0.0.1"], (3000, 3001)),
            "certificate is not valid before 3000-01-01T00:00:00Z",
        ),
        (
            authority.server(&["a.example", "*.b.example", "192.0.2.1"], GOOD),
            "certificate is for other names than 127.0.0.1: a.example, *.b.example, 192.0.2.1",
        ),
        (
            authority.server(&[], GOOD),
            "certificate is for other names than 127.0.0.1: it has none",
        ),
    ];
    for (config, words) in cases {
        let target = serving(config).await;
        assert_eq!(reason(probe(https(authority.spec()), target).await), words);
        let any = TlsSpec {
            verify: false,
            ..TlsSpec::default()
        };
        assert_eq!(
            probe(https(any), target).await,
            Ok(Answer::said("status 200")),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_good_if_it_is_the_authority() {
    let authority = Authority::new();
    let (config, pem) = self_signed(IsCa::NoCa);
    let target = serving(config).await;
    assert_eq!(
        reason(probe(https(authority.spec()), target).await),
        "certificate's authority is not trusted"
    );
    authority.write(&pem);
    assert!(probe(https(authority.spec()), target).await.is_ok());

    let (config, pem) = self_signed(IsCa::Ca(BasicConstraints::Unconstrained));
    let target = serving(config).await;
    authority.write(&pem);
    assert_eq!(
        reason(probe(https(authority.spec()), target).await),
        "certificate is an authority's own: give the server one that is issued to it"
    );
}

#[tokio::test]
async fn the_authorities_are_read_again_when_their_file_changes() {
    let (old, new) = (Authority::new(), Authority::new());
    let target = serving(new.good_server(&[])).await;
    let check = https(old.spec());
    assert!(probe(check.clone(), target).await.is_err());
    old.replace_by(&new);
    assert!(probe(check.clone(), target).await.is_ok());

    // One that is being replaced, or has gone, takes nothing away from what was read from it.
    old.write("nothing");
    assert!(probe(check.clone(), target).await.is_ok());
    drop(old);
    assert!(probe(check, target).await.is_ok());

    let unread = Authority::new();
    unread.write("nothing");
    let check = https(unread.spec());
    let error = probe(check.clone(), target).await.unwrap_err();
    assert!(
        error.is_ours() && error.to_string().contains("has no certificate"),
        "{error}"
    );
    let name = unread.spec().ca.unwrap();
    drop(unread);
    // Nobody listens there either, but it does not come to that.
    let error = probe(check, Refusing::tcp().address).await.unwrap_err();
    assert!(error.is_ours(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("ca {name:?} cannot be read")),
        "{error}"
    );
}

#[test]
fn settings_are_made_once_for_each_kind() {
    let authority = Authority::new();
    let spec = authority.spec();
    let first = settings::client_config(&spec, HttpVersion::Http1).unwrap();
    let named = TlsSpec {
        server_name: Some("a.example".into()),
        ..spec.clone()
    };
    let again = settings::client_config(&named, HttpVersion::Http1).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let http2 = settings::client_config(&spec, HttpVersion::Http2).unwrap();
    assert!(!Arc::ptr_eq(&first, &http2));
    let any = TlsSpec {
        verify: false,
        ..TlsSpec::default()
    };
    let any = settings::client_config(&any, HttpVersion::Http1).unwrap();
    assert!(!Arc::ptr_eq(&first, &any));
}

/// Notes which name was asked for.
#[derive(Debug)]
struct Noting(Arc<Mutex<Vec<Option<String>>>>, Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(ToOwned::to_owned);
        self.0.lock().unwrap().push(name);
        self.1.resolve(hello)
    }
}

#[tokio::test]
async fn the_name_asked_for_is_the_servers_the_hosts_or_none() {
    let authority = Authority::new();
    let names = Arc::new(Mutex::new(Vec::new()));
    let mut config = authority.server(&["a.example", "b.example", "127.0.0.1"], GOOD);
    config.cert_resolver = Arc::new(Noting(Arc::clone(&names), config.cert_resolver));
    let target = serving(config).await;
    let check = |server_name: Option<&str>, host: Option<&str>| HttpCheck {
        host: host.map(Into::into),
        ..https(TlsSpec {
            server_name: server_name.map(Into::into),
            ..authority.spec()
        })
    };
    for (server_name, host) in [
        (Some("a.example"), Some("c.example")),
        (None, Some("b.example:8443")),
        (None, Some("127.0.0.1:443")),
        (None, None),
    ] {
        probe(check(server_name, host), target).await.unwrap();
    }
    let (a, b) = (Some("a.example".to_owned()), Some("b.example".to_owned()));
    assert_eq!(*names.lock().unwrap(), [a, b, None, None]);

    let unnamed = probe(check(None, Some("a..b")), target).await.unwrap_err();
    assert!(unnamed.is_ours(), "{unnamed}");
}

#[test]
fn a_host_is_a_name_without_its_port() {
    for (host, name) in [
        ("a.example", "a.example"),
        ("a.example:8443", "a.example"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(host_name(host), name);
        assert!(ServerName::try_from(name).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn the_protocol_must_be_the_one_asked_for() {
    let authority = Authority::new();
    let http2 = HttpCheck {
        version: HttpVersion::Http2,
        ..https(authority.spec())
    };
    for alpn in [&["http/1.1"][..], &[]] {
        let target = serving(authority.good_server(alpn)).await;
        assert_eq!(
            reason(probe(http2.clone(), target).await),
            "the server does not speak HTTP/2 (ALPN)"
        );
        assert!(probe(https(authority.spec()), target).await.is_ok());
    }
    let target = serving(authority.good_server(&["h2"])).await;
    assert_eq!(
        reason(probe(https(authority.spec()), target).await),
        "the server does not speak HTTP/1.1 (ALPN)"
    );
}

#[tokio::test]
async fn what_is_no_tls_is_told() {
    let authority = Authority::new();
    let check = https(authority.spec());
    for text in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail ESMTP\r\n",
    ] {
        let target = server(None, |stream| answer_with(stream, text.into())).await;
        assert_eq!(
            reason(probe(check.clone(), target).await),
            "not TLS: the server has answered something else"
        );
    }
    let target = server(None, |stream| answer_with(stream, Vec::new())).await;
    assert_eq!(
        reason(probe(check.clone(), target).await),
        "TLS: the server closed the connection in the handshake"
    );
    let refused = probe(check.clone(), Refusing::tcp().address).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    let (target, _server) = pieces(vec![Vec::new(); 100]).await;
    let kind = CheckKind::Http(Box::new(check));
    let silent = ask_for(&kind, target, std::time::Duration::from_millis(60)).await;
    assert_eq!(reason(silent), "timeout after 60ms");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_the_client_is_told() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    let pem = crate::config::authorities(&authority.spec().ca.unwrap()).unwrap();
    roots.add_parsable_certificates(pem);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let plain = authority.good_server(&[]);
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(plain.cert_resolver);
    let target = serving(config).await;
    assert_eq!(
        reason(probe(https(authority.spec()), target).await),
        "TLS: the server wants a client's certificate, which a probe does not have"
    );
}

/// A body without a length ends with the connection: that must be told by TLS, or anybody could cut it off.
#[tokio::test]
async fn a_connection_that_just_ends_is_no_end_of_a_body() {
    let authority = Authority::new();
    let text = b"HTTP/1.1 200 OK\r\n\r\nok";
    let target = server(Some(authority.good_server(&[])), |stream| {
        answer_with(stream, text.to_vec())
    })
    .await;
    assert!(probe(https(authority.spec()), target).await.is_ok());
    let target = server(Some(authority.good_server(&[])), move |mut stream| async move {
        let _ = stream.write_all(text).await;
        let _ = stream.flush().await;
    })
    .await;
    let cut = reason(probe(https(authority.spec()), target).await);
    assert!(cut.starts_with("response: "), "{cut}");
}

/// X.509 of version 1, as `openssl x509 -req` writes it without extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBGDCBvwIUU7gXo+GRDkistfxfSbrIa2N29rgwCgYIKoZIzj0EAwIwDjEMMAoG\n\
A1UEAwwDb2xkMCAXDTI2MTEzMDAzMDMyMFoYDzIxMjYxMTA2MDMwMzIwWjAOMQww\n\
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQSW9jRlWD6gG12\n\
GcS4KqOihrSfOQSu3StK1vh3QhWep4+DUcFKw5NrUrYOPexuNu4MfpTNXssUGPSq\n\
IY2I3ujAMAoGCCqGSM49BAMCA0gAMEUCIQDJRw2Lh50fgzAs2SzBLX5t3qahKeAK\n\
336noJOJ4Osz6wIgA/oartcdCoEJy9bm3Bqn2C6P9ZsCke34CLrZY2tP01s=\n\
-----END CERTIFICATE-----\n";

/// With an RSA key of 1024 bits.
const SHORT_KEY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIICDDCCAXWgAwIBAgIUESgOSnSs5SKWVGUe1u8x3Eg83OcwDQYJKoZIhvcNAQEL\n\
BQAwEDEOMAwGA1UEAwwFc2hvcnQwIBcNMjYxMTMwMDMwNDA5WhgPMjEyNjExMDYw\n\
MzA0MDlaMBAxDjAMBgNVBAMMBXNob3J0MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB\n\
iQKBgQD2/CkKGd3QukdiZXutmZ02nzqxn2Q6zNKQBRHbR9tQ/p+2r9MsUKX6H+m9\n\
ME1L3gGqmny2RH1gLanlatEqKOhRm3NvVBIZqIb9JXsCRRYHbBADot9hXGw9diSH\n\
JE6Nv/PptNJqHR1NfncBgWDes3g7U6RtbBkXiJSd6tZoK7+DTwIDAQABo2EwXzAd\n\
BgNVHQ4EFgQUWEd80F2O62y62SjzixIgs7nSKc8wHwYDVR0jBBgwFoAUWEd80F2O\n\
62y62SjzixIgs7nSKc8wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMBAf8EAjAAMA0G\n\
CSqGSIb3DQEBCwUAA4GBABhuhoviAhJrhn0ltfL8n1PDMzOUJrgPf/UVbVEtzq1p\n\
9bLX3oVWWyrvshvSMuo6E2DgxSu9x5x7Z+jKWIH5G5CuTQyIDGXvJMvGzPa0drbo\n\
a+9LL4NdkvwmsUdgx+abvp1DYBAs1jJ0q7vT4UK3+khL7grSmMF4NjtHGL/F0cWh\n\
-----END CERTIFICATE-----\n";

/// A server with a certificate that is not read here; its key is another.
async fn with_certificate(pem: &str, version: &'static rustls::SupportedProtocolVersion) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = Authority::new().keyed(&[]).key;
    let key = CertifiedKey::new(vec![certificate], key);
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    serving(config).await
}

#[tokio::test]
async fn without_verification_any_certificate_will_do() {
    let any = TlsSpec {
        verify: false,
        ..TlsSpec::default()
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for pem in [VERSION_1, SHORT_KEY] {
            let target = with_certificate(pem, version).await;
            let result = probe(https(any.clone()), target).await;
            assert_eq!(result, Ok(Answer::said("status 200")), "{version:?}: {pem}");
        }
    }
    let target = with_certificate(VERSION_1, &rustls::version::TLS13).await;
    assert_eq!(
        reason(probe(https(Authority::new().spec()), target).await),
        "certificate is of an old version of X.509, not 3: issue another, or set verify = false"
    );
}

#[tokio::test]
async fn a_server_without_the_certificates_key_is_refused() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (mine, stolen) = (authority.keyed(&["127.0.0.1"]), authority.keyed(&["127.0.0.1"]));
        for (key, is_good) in [(&stolen, true), (&mine, false)] {
            let key = Arc::new(CertifiedKey::new(stolen.cert.clone(), Arc::clone(&key.key)));
            let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(key))));
            let target = serving(config).await;
            let result = probe(https(authority.spec()), target).await;
            assert_eq!(result.is_ok(), is_good, "{version:?}: {result:?}");
        }
    }
}

/// A resumed session would show no certificate.
#[tokio::test]
async fn every_probe_sees_the_certificate() {
    let authority = Authority::new();
    let target = serving(authority.good_server(&[])).await;
    for _ in 0..3 {
        let client = Client::new(&authority.spec(), None, target, HttpVersion::Http1).unwrap();
        let stream = TcpStream::connect(target).await.unwrap();
        let mut stream = client.handshake(stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, OK);
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}
