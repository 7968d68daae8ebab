//! Backends of the tests: real sockets on loopback, each with a way of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Answer, Course, Permit, ProbeError, Question, Who, probe};
use crate::config::CheckKind;

/// A port of loopback that is free.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Enough for anything that comes at all, also on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);
/// For what never comes. Long enough that what does come has come by then.
pub const SHORT: Duration = Duration::from_millis(1500);

pub async fn ask(kind: &CheckKind, target: SocketAddr) -> Result<Answer, ProbeError> {
    ask_for(kind, target, LONG).await
}

pub async fn ask_for(kind: &CheckKind, target: SocketAddr, timeout: Duration) -> Result<Answer, ProbeError> {
    let who = Who {
        service: "web".into(),
        backend: "b1".into(),
    };
    let question = Question {
        kind,
        target,
        timeout,
        who: &who,
        course: &Course::Direct,
    };
    probe(question, Permit::of(kind).await).await
}

/// The reason of a failure, which is one line.
pub fn reason(result: Result<Answer, ProbeError>) -> String {
    let reason = result.unwrap_err().to_string();
    assert!(!reason.contains('\n'), "{reason}");
    reason
}

/// A server that does the same with every connection.
pub struct Tcp {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Tcp {
    pub async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at(ANY_PORT, each).await
    }

    pub async fn at<F>(address: SocketAddr, each: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (address, task) = accept(address, each).await;
        Self { address, task }
    }
}

/// Does the same with every connection, as long as the task lives.
pub async fn accept<F>(
    address: SocketAddr,
    each: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    (address, task)
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port that is taken, so that nobody else gets it, and that refuses.
pub struct Refusing {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    /// Bound, but nobody listens.
    pub fn tcp() -> Self {
        Self::bound(Type::STREAM)
    }

    /// Connected elsewhere, so that it is not there for anybody else.
    pub fn udp() -> Self {
        let refusing = Self::bound(Type::DGRAM);
        let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        refusing._socket.connect(&elsewhere.into()).unwrap();
        refusing
    }

    fn bound(kind: Type) -> Self {
        let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
        socket.bind(&ANY_PORT.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            address,
            _socket: socket,
        }
    }
}

/// Says nothing for as long as the other side stays.
pub async fn hang(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}

/// Sends for as long as the other side stays.
pub async fn flood(mut stream: TcpStream) {
    while stream.write_all(&[b'.'; 4096]).await.is_ok() {}
}

pub async fn heard(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut heard = vec![0; count];
    stream.read_exact(&mut heard).await.unwrap();
    heard
}

/// The other side may have gone.
pub async fn say(stream: &mut TcpStream, text: &[u8]) {
    let _: Result<(), _> = stream.write_all(text).await;
}

/// Byte by byte, each in a segment of its own.
pub async fn slowly(stream: &mut TcpStream, text: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in text {
        say(stream, &[*byte]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the connection with a RST.
pub fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}
