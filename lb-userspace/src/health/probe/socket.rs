//! The sockets of probes.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream, UdpSocket},
};

use super::{ProbeError, Target};

/// Read at once. On the stack: ten thousand probes that wait hold no buffer.
const PIECE: usize = 16 * 1024;

/// Connects. When dropped, the connection is reset: this host keeps no socket in TIME-WAIT, of which ten thousand probes a second
/// would leave 600,000.
pub async fn connect(target: Target<'_>) -> Result<TcpStream, ProbeError> {
    connect_with(target, |_| Ok(())).await
}

/// Connects a socket that `set` has seen first.
pub async fn connect_with(
    target: Target<'_>,
    set: impl FnOnce(&TcpSocket) -> io::Result<()>,
) -> Result<TcpStream, ProbeError> {
    let socket = target.tcp().await?;
    let settings = || {
        socket.set_zero_linger()?;
        socket.set_nodelay(true)?;
        set(&socket)
    };
    settings().map_err(|error| ProbeError::io("make a socket", &error))?;
    socket
        .connect(target.address)
        .await
        .map_err(|error| ProbeError::io("connect", &error))
}

/// Waits until something has come and adds it to `answer`, which is at most `limit` bytes then. False when the other side has closed,
/// or when there is no room.
///
/// One piece at a time: a reset that follows what has come is said once, and must be the result of a call of its own.
pub async fn read(stream: &TcpStream, answer: &mut Vec<u8>, limit: usize) -> Result<bool, ProbeError> {
    let failed = |error: &io::Error| ProbeError::io("read", error);
    loop {
        stream.readable().await.map_err(|error| failed(&error))?;
        let mut piece = [0; PIECE];
        let room = limit.saturating_sub(answer.len()).min(PIECE);
        match stream.try_read(&mut piece[..room]) {
            Ok(count) => {
                answer.extend_from_slice(&piece[..count]);
                return Ok(count > 0);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

/// A UDP socket that hears `target` alone, and the errors that come from there.
pub async fn datagrams(target: Target<'_>) -> Result<UdpSocket, ProbeError> {
    let any = if target.address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = match target.udp().await? {
        Some(socket) => socket,
        None => UdpSocket::bind(any)
            .await
            .map_err(|error| ProbeError::io("make a socket", &error))?,
    };
    socket
        .connect(target.address)
        .await
        .map_err(|error| ProbeError::io("connect", &error))?;
    Ok(socket)
}

/// The next datagram, or the error that came instead of one.
pub async fn receive(socket: &UdpSocket) -> Result<Vec<u8>, ProbeError> {
    // An ICMP error makes a UDP socket not readable but erroneous, and nothing else would be woken by it.
    let interest = Interest::READABLE | Interest::ERROR;
    let received = socket.async_io(interest, || {
        // Only now, so that those that wait hold no buffer.
        let mut datagram = vec![0; usize::from(u16::MAX)];
        let length = (&*SockRef::from(socket)).read(&mut datagram)?;
        datagram.truncate(length);
        Ok(datagram)
    });
    received.await.map_err(|error| ProbeError::io("receive", &error))
}
