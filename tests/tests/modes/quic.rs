//! QUIC connections that move: the client's address changes, and the connection goes on with its server, which the connection
//! IDs name (draft-ietf-quic-load-balancers, plaintext).

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::UdpSocket,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime,
    rustls::{
        RootCertStore,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};
use tokio::runtime::Runtime;
use xlb_tests::{Host, Lab, lab::Mode, preflight};

use crate::{lanes::Lane, stage::Stage};

const PORT: u16 = 443;
const NAME: &str = "quic.test";
/// Of the connection IDs: the three high bits of their first byte.
const CONFIG_ID: u8 = 2;
const BACKENDS: u8 = 4;
/// Each finds another server by luck with a chance of three in four: all of them by the hash alone, once in 4096.
const MOVES: usize = 6;

/// Two bytes that name a backend: `000b` for `b1`.
fn server_id(index: usize) -> [u8; 2] {
    [0, u8::try_from(index).unwrap_or_default() + 11]
}

fn services(lab: &Lab, lane: &Lane) -> String {
    let quic = format!("[service.quic]\nconfig_id = {CONFIG_ID}\nserver_id_length = 2\n");
    let mut service = lane.service(lab, ("quic", PORT, &["udp"]), &quic, &lab.backends);
    for (index, backend) in lab.backends.iter().enumerate() {
        let name = format!("name = \"{}\"\n", backend.name);
        let [a, b] = server_id(index);
        service = service.replace(&name, &format!("{name}server_id = \"{a:02x}{b:02x}\"\n"));
    }
    service
}

/// Connection IDs that say whose they are.
struct Named([u8; 2]);

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = RandomState::new().build_hasher().finish().to_be_bytes();
        ConnectionId::new(&[&[CONFIG_ID << 5], &self.0[..], &nonce[..6]].concat())
    }

    fn cid_len(&self) -> usize {
        9
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A server on a backend that says its name on every stream.
fn serve(backend: &Host, id: [u8; 2], config: ServerConfig) -> Result<Endpoint> {
    let socket = backend.ns.run(|| UdpSocket::bind(("::", PORT)))??;
    let mut endpoint = EndpointConfig::default();
    endpoint.cid_generator(move || Box::new(Named(id)));
    let endpoint = Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime))?;
    let (accepts, name) = (endpoint.clone(), backend.name.clone());
    tokio::spawn(async move {
        while let Some(incoming) = accepts.accept().await {
            let name = name.clone();
            // Whatever goes wrong, the client sees it.
            tokio::spawn(async move {
                let connection = incoming.await?;
                loop {
                    let (mut send, mut receive) = connection.accept_bi().await?;
                    receive.read_to_end(64).await?;
                    send.write_all(name.as_bytes()).await?;
                    send.finish()?;
                }
                #[expect(unreachable_code, reason = "names the type of the errors above")]
                anyhow::Ok(())
            });
        }
    });
    Ok(endpoint)
}

/// Asks for the server's name on a stream of its own.
async fn ask(connection: &Connection) -> Result<String> {
    let asked = async {
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(b"who?").await?;
        send.finish()?;
        anyhow::Ok(receive.read_to_end(64).await?)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    Ok(String::from_utf8(answer.context("no answer")??)?)
}

fn client_socket(lab: &Lab, lane: &Lane) -> Result<UdpSocket> {
    let any = if lane.vip_is_v4 { "0.0.0.0:0" } else { "[::]:0" };
    Ok(lab.client.ns.run(|| UdpSocket::bind(any))??)
}

/// Connects, and moves from socket to socket.
async fn wander(lab: &Lab, lane: &Lane, certificate: CertificateDer<'static>) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    let socket = client_socket(lab, lane)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
    let connecting = endpoint.connect_with(config, lane.at(lab, PORT), NAME)?;
    let connection = tokio::time::timeout(Duration::from_secs(5), connecting)
        .await
        .context("no handshake")??;
    let server = ask(&connection).await?;
    for number in 1..=MOVES {
        endpoint.rebind(client_socket(lab, lane)?)?;
        let answer = ask(&connection).await;
        let answer = answer.with_context(|| format!("after move {number}"))?;
        ensure!(
            answer == server,
            "{answer} instead of {server} after move {number}"
        );
    }
    connection.close(0_u8.into(), b"");
    Ok(())
}

#[test]
fn a_connection_that_moves_stays_with_its_server() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let config = || {
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        ServerConfig::with_single_cert(vec![certificate.clone()], key.into())
    };
    let runtime = Runtime::new()?;
    for mode in [Mode::Nat, Mode::Gue] {
        let stage = Stage::new(mode, Lab::new().backends(BACKENDS), services)?;
        let lab = &stage.lab;
        runtime.block_on(async {
            let servers = lab.backends.iter().enumerate();
            let servers = servers.map(|(index, backend)| serve(backend, server_id(index), config()?));
            let servers = servers.collect::<Result<Vec<_>>>()?;
            for lane in Lane::all(mode).iter().filter(|lane| lane.port(PORT) == PORT) {
                let wandered = wander(lab, lane, certificate.clone()).await;
                wandered.with_context(|| format!("{lane:?}"))?;
            }
            servers.iter().for_each(|server| server.close(0_u8.into(), b""));
            anyhow::Ok(())
        })?;
    }
    Ok(())
}
