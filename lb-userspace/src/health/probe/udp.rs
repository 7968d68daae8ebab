//! The UDP check: sends a datagram and waits for the answer.

use std::time::Duration;

use tokio::time::sleep;

use super::{Answer, ProbeError, Target, socket};
use crate::{
    config::{Pattern, Payload},
    output,
};

/// Between two datagrams of which the first was not it: a flood of them does not take a CPU.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends once and waits for a datagram that contains the pattern; others are passed over.
pub async fn probe(
    target: Target<'_>,
    send: &Payload,
    expect: Option<&Pattern>,
    so_far: &mut Option<ProbeError>,
) -> Result<Answer, ProbeError> {
    let socket = socket::datagrams(target).await?;
    let sent = socket.send(send.bytes()).await;
    sent.map_err(|error| ProbeError::io("send", &error))?;
    loop {
        let answer = socket::receive(&socket).await?;
        let Some(pattern) = expect.filter(|pattern| !pattern.is_in(&answer)) else {
            return Ok(Answer::default());
        };
        let problem = format!(
            "answer does not contain {pattern}: {:?}",
            output::first_line(&answer)
        );
        *so_far = Some(ProbeError::answer(problem));
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::UdpSocket;

    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    fn kind(expect: Option<&str>) -> CheckKind {
        CheckKind::Udp {
            send: Payload::Text("ping".into()),
            expect: expect.map(|text| Pattern::Text(text.into())),
        }
    }

    /// Answers each datagram with these.
    async fn answering(address: &str, answers: &'static [&'static [u8]]) -> SocketAddr {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut heard = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut heard).await {
                assert_eq!(&heard[..length], b"ping");
                for answer in answers {
                    socket.send_to(answer, from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn the_answer_may_come_after_others_and_over_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let target = answering(address, &[b"what?", b"", b"pong"]).await;
            ask(&kind(Some("pong")), target).await.unwrap();
            ask(&kind(None), target).await.unwrap();
        }
        let target = answering("127.0.0.1:0", &[b""]).await;
        ask(&kind(None), target).await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_answer_is_shown_when_the_time_is_over() {
        let target = answering("127.0.0.1:0", &[b"what?", b"\x1b[2Jis down"]).await;
        let error = ask_for(&kind(Some("up")), target, SHORT).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"answer does not contain "up": "\\u{1b}[2Jis down""#
        );
        assert!(!error.is_silence());
    }

    #[tokio::test]
    async fn silence_and_refusals_are_told_apart() {
        let silent = answering("127.0.0.1:0", &[]).await;
        let error = ask_for(&kind(None), silent, SHORT).await.unwrap_err();
        assert_eq!(error, ProbeError::timeout(SHORT));
        let refusing = Refusing::udp();
        let error = ask(&kind(None), refusing.address).await.unwrap_err();
        assert_eq!(error.to_string(), "receive: connection refused");
        assert!(error.is_refusal());
    }

    #[tokio::test]
    async fn somebody_else_cannot_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        tokio::spawn(async move {
            let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut heard = [0; 64];
            let (_, from) = server.recv_from(&mut heard).await.unwrap();
            stranger.send_to(b"pong", from).await.unwrap();
            server.recv_from(&mut heard).await.unwrap();
        });
        let error = ask_for(&kind(Some("pong")), target, SHORT).await.unwrap_err();
        assert_eq!(error, ProbeError::timeout(SHORT));
    }

    #[tokio::test]
    async fn the_longest_answer_is_read_whole() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        tokio::spawn(async move {
            let (_, from) = server.recv_from(&mut [0; 64]).await.unwrap();
            let mut answer = vec![b'.'; 65_507];
            answer.splice(65_503.., *b"pong");
            server.send_to(&answer, from).await.unwrap();
        });
        ask(&kind(Some("pong")), target).await.unwrap();
    }
}
