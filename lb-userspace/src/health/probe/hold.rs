//! A kept connection: its end is noticed at once, not at the next interval.

use std::{
    io,
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::sleep};

use super::{ProbeError, Target, socket};

/// A kept connection that has lived for so long is made again at once when it ends; a shorter one at the next interval.
pub const SHORT_LIFE: Duration = Duration::from_millis(100);
/// What a backend that talks may have waiting here. The kernel doubles it, and would let it grow to megabytes of its own accord.
const WAITING: u32 = 16 * 1024;
/// Between two looks at what a backend sends: at most twenty a second, whatever it sends.
const PAUSE: Duration = Duration::from_millis(50);
/// TCP counts keepalive times in seconds.
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
/// The most that Linux takes (`MAX_TCP_KEEPIDLE`).
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// A connection that is kept.
#[derive(Debug)]
pub struct Held {
    stream: TcpStream,
    since: Instant,
}

impl Held {
    /// Connects. A host that vanishes later without a word is noticed after about three times `timeout`, but not before two seconds.
    ///
    /// # Errors
    /// When that fails; the time it may take is the caller's to bound.
    pub async fn connect(target: Target<'_>, timeout: Duration) -> Result<Self, ProbeError> {
        let set = |socket: &tokio::net::TcpSocket| {
            // Before the connection is there: it is what is announced as the window.
            socket.set_recv_buffer_size(WAITING)?;
            keep_alive(&SockRef::from(socket), timeout)
        };
        let stream = socket::connect_with(target, set).await?;
        let since = Instant::now();
        Ok(Self { stream, since })
    }

    /// The same, within `limit`.
    ///
    /// # Errors
    /// When that fails, or takes longer.
    pub async fn in_time(target: Target<'_>, limit: Duration) -> Result<Self, ProbeError> {
        tokio::time::timeout(limit, Self::connect(target, limit))
            .await
            .unwrap_or_else(|_| Err(ProbeError::timeout(limit)))
    }

    /// Connects within `limit`, and stays for `life`: a server that dies still takes connections until the last of its processes has
    /// ended.
    ///
    /// # Errors
    /// When the connection is not made, or has ended by then.
    pub async fn lives(target: Target<'_>, limit: Duration, life: Duration) -> Result<(), ProbeError> {
        let mut connection = Self::in_time(target, limit).await?;
        let ended = tokio::time::timeout(life, connection.ended()).await;
        ended.map_or(Ok(()), Err)
    }

    /// Waits for the connection's end, and says what it was.
    pub async fn ended(&mut self) -> ProbeError {
        loop {
            let count = match self.stream.readable().await {
                Ok(()) => self.throw_away(),
                Err(error) => Err(error),
            };
            match count {
                Ok(0) => return ProbeError::answer(format!("closed by the backend after {}", self.age())),
                Ok(_) => sleep(PAUSE).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return self.broken(&error),
            }
        }
    }

    /// Reads all that may be waiting, once.
    fn throw_away(&self) -> io::Result<usize> {
        let mut sink = [0; 2 * WAITING as usize];
        self.stream.try_read(&mut sink)
    }

    fn broken(&self, error: &io::Error) -> ProbeError {
        let age = self.age();
        match error.kind() {
            io::ErrorKind::ConnectionReset => ProbeError::refusal(format!("connection reset after {age}")),
            io::ErrorKind::TimedOut => ProbeError::silence(format!("no answer to keepalive after {age}")),
            // It may be for want of something here, whose words are the same each time: others would be news.
            _ => ProbeError::io("connection lost", error),
        }
    }

    fn age(&self) -> String {
        format!("{:.1}s", self.since.elapsed().as_secs_f64())
    }
}

/// An idle connection is asked after `timeout` and again after each further one. It is over when nothing has come for three of them: that
/// is what TCP_USER_TIMEOUT is for keepalive too (tcp(7)), and it ends the count of unanswered ones.
fn keep_alive(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
    let each = timeout.clamp(KEEPALIVE_MIN, KEEPALIVE_MAX);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(each).with_interval(each))?;
    socket.set_tcp_user_timeout(Some(timeout * 3))
}

#[cfg(test)]
mod tests {
    use socket2::SockFilter;
    use tokio::time::timeout;

    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    async fn held(server: &Tcp) -> Held {
        Held::connect(server.address.into(), Duration::from_millis(500))
            .await
            .unwrap()
    }

    async fn end(held: &mut Held) -> ProbeError {
        timeout(LONG, held.ended()).await.unwrap()
    }

    #[tokio::test]
    async fn a_close_and_a_reset_are_told_apart() {
        let closing = Tcp::serve(|stream| async move {
            sleep(Duration::from_millis(100)).await;
            drop(stream);
        })
        .await;
        let error = end(&mut held(&closing).await).await;
        assert!(
            error.to_string().starts_with("closed by the backend after "),
            "{error}"
        );
        assert!(!error.is_refusal() && !error.is_silence());

        let resetting = Tcp::serve(|stream| async move { reset(stream) }).await;
        let error = end(&mut held(&resetting).await).await;
        assert!(
            error.to_string().starts_with("connection reset after "),
            "{error}"
        );
        assert!(error.is_refusal());

        let refusing = Refusing::tcp();
        let error = Held::connect(refusing.address.into(), LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "connect: connection refused");
    }

    #[tokio::test]
    async fn asked_once_it_has_to_live_for_a_while() {
        let server = Tcp::serve(hang).await;
        let asked = ask(&CheckKind::TcpHold, server.address);
        asked.await.unwrap();
        // That does not count for what the connection may take.
        let asked = ask_for(&CheckKind::TcpHold, server.address, SHORT_LIFE / 2);
        asked.await.unwrap();

        let closing = Tcp::serve(|stream| async move { drop(stream) }).await;
        let error = reason(ask(&CheckKind::TcpHold, closing.address).await);
        assert!(error.starts_with("closed by the backend after "), "{error}");
    }

    #[tokio::test]
    async fn a_connection_lasts_while_nothing_happens_to_it() {
        let server = Tcp::serve(|mut stream| async move {
            slowly(&mut stream, b"hello").await;
            hang(stream).await;
        })
        .await;
        let mut held = held(&server).await;
        timeout(SHORT, held.ended()).await.unwrap_err();
        // Also across keepalives that are answered, and also when waited for anew.
        timeout(Duration::from_secs(3), held.ended()).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_comes_is_thrown_away_in_bounds_and_the_end_is_seen_behind_it() {
        let (tx, rx) = std::sync::mpsc::channel();
        let server = Tcp::serve(move |mut stream| {
            let tx = tx.clone();
            async move {
                let mut sent = 0_u64;
                let until = Instant::now() + SHORT;
                while Instant::now() < until {
                    let piece = timeout(Duration::from_millis(10), stream.writable()).await;
                    if piece.is_ok() {
                        sent += stream.try_write(&[b'.'; 4096]).unwrap_or(0) as u64;
                    }
                    tokio::task::yield_now().await;
                }
                tx.send(sent).unwrap();
                say(&mut stream, b"bye").await;
            }
        })
        .await;
        let error = end(&mut held(&server).await).await;
        assert!(error.to_string().starts_with("closed by the backend"), "{error}");
        // It was read on and on, and slowly: twenty times 32 KiB a second, and what the other side's buffers hold.
        let sent = rx.recv().unwrap();
        assert!((20_000..8_000_000).contains(&sent), "{sent}");
    }

    #[tokio::test]
    async fn a_host_that_vanishes_is_noticed() {
        let server = Tcp::serve(|stream| async move {
            // Its kernel hears nothing more of this connection.
            let nothing = [SockFilter::new(0x06, 0, 0, 0)];
            SockRef::from(&stream).attach_filter(&nothing).unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let start = Instant::now();
        let error = end(&mut held(&server).await).await;
        assert!(
            error.to_string().starts_with("no answer to keepalive after "),
            "{error}"
        );
        assert!(error.is_silence());
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }
}
