//! The ICMP check: sends an echo request and waits for its reply.
//!
//! Reading order: here the one question, `socket` (who hears the answers), `packet` (what requests and answers look like).

mod packet;
mod socket;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

use super::{Answer, ProbeError};
use packet::Echo;

/// Sends one request.
pub async fn probe(target: IpAddr) -> Result<Answer, ProbeError> {
    let socket =
        socket::of(target).map_err(|error| ProbeError::ours(format!("make a raw socket: {error}")))?;
    let (waiting, told) = socket.expect(target, random_echo)?;
    socket.send(target, waiting.echo())?;
    let result = told.await;
    drop(waiting);
    result.unwrap_or_else(|_| Err(ProbeError::ours("nobody hears answers any more")))
}

/// What nobody who has not seen the request can guess.
fn random_echo() -> Echo {
    // Keyed at random, so that hashes of anything are random numbers.
    let random = RandomState::new();
    let [a, b, c, d, ..] = random.hash_one(0).to_ne_bytes();
    let mut token = [0; 16];
    token[..8].copy_from_slice(&random.hash_one(1).to_ne_bytes());
    token[8..].copy_from_slice(&random.hash_one(2).to_ne_bytes());
    Echo {
        id: u16::from_ne_bytes([a, b]),
        sequence: u16::from_ne_bytes([c, d]),
        token,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::task::JoinSet;

    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    /// None where raw sockets are not ours to make.
    async fn ping(address: &str, timeout: Duration) -> Option<Result<Answer, ProbeError>> {
        let target = (address.parse::<IpAddr>().unwrap(), 0).into();
        let result = ask_for(&CheckKind::Icmp, target, timeout).await;
        if result
            .as_ref()
            .is_err_and(|error| error.to_string().contains("not permitted"))
        {
            println!("skipped: raw sockets need CAP_NET_RAW");
            return None;
        }
        Some(result)
    }

    #[tokio::test]
    async fn this_host_answers_over_both_families() {
        for address in ["127.0.0.1", "127.1.2.3", "::1"] {
            let Some(result) = ping(address, LONG).await else {
                return;
            };
            assert_eq!(result, Ok(Answer::default()), "{address}");
        }
    }

    #[tokio::test]
    async fn many_at_once_each_have_their_own_answer() {
        let mut pings = JoinSet::new();
        let start = Instant::now();
        for last in 1..=250 {
            pings.spawn(async move { ping(&format!("127.0.7.{last}"), LONG).await });
        }
        while let Some(result) = pings.join_next().await {
            assert!(
                result
                    .unwrap()
                    .is_none_or(|result| result == Ok(Answer::default()))
            );
        }
        println!("{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_cannot_be_reached_fails() {
        // No echo request is answered that goes to a broadcast address (icmp_echo_ignore_broadcasts); to send one is not even allowed.
        let Some(result) = ping("255.255.255.255", SHORT).await else {
            return;
        };
        let error = result.unwrap_err();
        assert!(error.is_ours() || error.is_silence(), "{error}");
    }

    #[test]
    fn echoes_are_random() {
        let echoes: std::collections::HashSet<_> = (0..1000).map(|_| random_echo().token).collect();
        assert_eq!(echoes.len(), 1000);
    }
}
