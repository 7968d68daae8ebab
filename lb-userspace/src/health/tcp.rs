//! The TCP check: a backend that accepts a connection is fit.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::ProbeError;

/// Connects and closes.
///
/// The connection is closed in order, by FIN. A reset (linger 0) would spare this host the socket in TIME-WAIT, but
/// servers log resets, and many treat one that comes before `accept` as an error of their own. TIME-WAIT is bounded here:
/// 60 s over the interval for each backend, 6,000 at the shortest interval, fewer than the ports that connections to one
/// target have; beyond `net.ipv4.tcp_max_tw_buckets` the kernel keeps none.
pub async fn probe(target: SocketAddr) -> Result<(), ProbeError> {
    TcpStream::connect(target)
        .await
        .map(drop)
        .map_err(|error| ProbeError::connect(&error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpSocket},
    };

    use super::super::{ProbeError, probe};
    use crate::config::CheckKind;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_open_port_passes_and_sees_an_orderly_close() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        probe(&CheckKind::Tcp, target, TIMEOUT).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let error = probe(&CheckKind::Tcp, target, TIMEOUT).await.unwrap_err();
        assert_eq!(error.to_string(), "connect: connection refused");
    }

    #[tokio::test]
    async fn a_server_that_accepts_no_more_times_out() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let target = listener.local_addr().unwrap();
        // The backlog takes a few connections that nobody accepts; after that the kernel drops the SYNs.
        let timeout = Duration::from_millis(100);
        let mut last = Ok(());
        for _ in 0..5 {
            last = probe(&CheckKind::Tcp, target, timeout).await;
        }
        assert_eq!(last, Err(ProbeError::timeout(timeout)));
        assert_eq!(last.unwrap_err().to_string(), "timeout after 100ms");
    }
}
