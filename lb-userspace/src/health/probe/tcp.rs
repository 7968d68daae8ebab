//! The TCP check: a backend that accepts a connection is fit, or one that also answers as it should.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, time::sleep};

use super::{Answer, ProbeError, Target, socket};
use crate::config::{Pattern, Payload};

/// How much of an answer is looked at.
const LIMIT: usize = 64 * 1024;
/// An expression is looked for in the whole of what has come, with each piece that comes. From this size on, pieces are let come
/// together for a moment first, so that a long answer in small ones does not take a CPU.
const LONG: usize = 4 * 1024;
const MOMENT: Duration = Duration::from_millis(5);

/// Connects; sends; waits for what is expected.
pub async fn probe(
    target: Target<'_>,
    send: Option<&Payload>,
    expect: Option<&Pattern>,
    so_far: &mut Option<ProbeError>,
) -> Result<Answer, ProbeError> {
    let mut stream = socket::connect(target).await?;
    if let Some(send) = send {
        let sent = stream.write_all(send.bytes()).await;
        sent.map_err(|error| ProbeError::io("send", &error))?;
    }
    let Some(pattern) = expect else {
        return Ok(Answer::default());
    };
    let mut answer = Vec::new();
    loop {
        let looked_at = answer.len();
        if !socket::read(&stream, &mut answer, LIMIT).await? {
            // Now this is the whole answer, and what looks at the end of it can be judged.
            return if pattern.is_in(&answer) {
                Ok(Answer::default())
            } else {
                let problem = format!("closed after {} bytes without {pattern}", answer.len());
                Err(ProbeError::answer(problem))
            };
        }
        if is_in_whatever_follows(pattern, &mut answer, looked_at) {
            return Ok(Answer::default());
        }
        if answer.len() >= LIMIT {
            let problem = format!("answer does not contain {pattern} in its first 64 KiB");
            return Err(ProbeError::answer(problem));
        }
        *so_far = Some(ProbeError::answer(format!(
            "no more than {} bytes came in time, without {pattern}",
            answer.len()
        )));
        if answer.len() > LONG && matches!(pattern, Pattern::Regex(_)) {
            sleep(MOMENT).await;
        }
    }
}

/// Whether the pattern is in an answer that may go on, of which `looked_at` bytes have been looked at before.
///
/// An expression may look at the end of the text (`$`, `\b`), and what comes next may undo such a match: `^load: [0-9]+$` is in
/// `load: 1`, but not in `load: 12 of 8`. So it has to be there with anything behind: with a character that continues a word, a line, or
/// neither.
fn is_in_whatever_follows(pattern: &Pattern, answer: &mut Vec<u8>, looked_at: usize) -> bool {
    match pattern {
        // It may have begun in what was looked at.
        Pattern::Text(text) => pattern.is_in(&answer[looked_at.saturating_sub(text.len())..]),
        Pattern::Regex(_) => {
            pattern.is_in(answer)
                && [b'x', b' ', b'\n', b'\0'].into_iter().all(|next| {
                    answer.push(next);
                    let is_in = pattern.is_in(answer);
                    answer.pop();
                    is_in
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    fn kind(send: &str, expect: &str) -> CheckKind {
        CheckKind::Tcp {
            send: (!send.is_empty()).then(|| Payload::Text(send.into())),
            expect: Some(Pattern::Text(expect.into())),
        }
    }

    fn matching(regex: &str) -> CheckKind {
        CheckKind::Tcp {
            send: None,
            expect: Some(Pattern::regex(regex).unwrap()),
        }
    }

    #[tokio::test]
    async fn a_connection_is_enough_unless_more_is_asked_for() {
        let server = Tcp::serve(hang).await;
        assert_eq!(ask(&CheckKind::TCP, server.address).await, Ok(Answer::default()));
        let refusing = Refusing::tcp();
        let error = ask(&CheckKind::TCP, refusing.address).await.unwrap_err();
        assert_eq!(error.to_string(), "connect: connection refused");
        assert!(error.is_refusal());
    }

    #[tokio::test]
    async fn answers_and_banners_are_expected() {
        let server = Tcp::serve(|mut stream| async move {
            assert_eq!(heard(&mut stream, 6).await, b"PING\r\n");
            slowly(&mut stream, b"+PONG\r\n").await;
            hang(stream).await;
        })
        .await;
        ask(&kind("PING\r\n", "+PONG"), server.address).await.unwrap();

        let banner = Tcp::serve(|mut stream| async move {
            say(&mut stream, b"SSH-2.0-x\r\n").await;
            hang(stream).await;
        })
        .await;
        ask(&kind("", "SSH-2"), banner.address).await.unwrap();
        ask(&matching("(?m)^SSH-[0-9.]+-.*$"), banner.address)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_hanging_backend_has_its_time_and_no_more() {
        let server = Tcp::serve(hang).await;
        let error = ask_for(&kind("", "up"), server.address, SHORT).await.unwrap_err();
        assert_eq!(error, ProbeError::timeout(SHORT));
        assert!(error.is_silence());

        let half = Tcp::serve(|mut stream| async move {
            say(&mut stream, b"is u").await;
            hang(stream).await;
        })
        .await;
        let error = ask_for(&kind("", "up"), half.address, SHORT).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no more than 4 bytes came in time, without \"up\""
        );
        assert!(!error.is_silence());
    }

    #[tokio::test]
    async fn wrong_answers_say_how_they_ended() {
        let closing = Tcp::serve(|mut stream| async move { say(&mut stream, b"is down\n").await }).await;
        let error = ask(&kind("", "up"), closing.address).await.unwrap_err();
        assert_eq!(error.to_string(), "closed after 8 bytes without \"up\"");

        let resetting = Tcp::serve(|mut stream| async move {
            say(&mut stream, b"is u").await;
            reset(stream);
        })
        .await;
        let error = ask(&kind("", "up"), resetting.address).await.unwrap_err();
        assert_eq!(error.to_string(), "read: connection reset");
        assert!(error.is_refusal());

        let endless = Tcp::serve(flood).await;
        for kind in [kind("", "up"), matching("up$")] {
            let error = ask(&kind, endless.address).await.unwrap_err().to_string();
            assert!(error.starts_with("answer does not contain "), "{error}");
            assert!(error.ends_with(" in its first 64 KiB"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_end_is_judged_at_the_end() {
        let saying = |pieces: &'static [&'static [u8]]| {
            Tcp::serve(move |mut stream| async move {
                for piece in pieces {
                    slowly(&mut stream, piece).await;
                }
            })
        };
        let server = saying(&[b"load: 1", b"2 of 8"]).await;
        let error = ask(&matching("^load: [0-9]+$"), server.address)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "closed after 13 bytes without /^load: [0-9]+$/"
        );
        let server = saying(&[b"load: 1", b"2"]).await;
        ask(&matching("^load: [0-9]+$"), server.address).await.unwrap();
    }

    #[test]
    fn what_looks_at_the_end_needs_it() {
        let is_in = |regex: &str, answer: &[u8]| {
            let mut answer = answer.to_vec();
            is_in_whatever_follows(&Pattern::regex(regex).unwrap(), &mut answer, 0)
        };
        for (regex, answer) in [
            ("up$", "is up"),
            ("up\\b", "is up"),
            ("^[a-z0-9]+$", "ok"),
            ("(?m)^[a-z]+$", "ok"),
            ("(?m)up$", "up"),
            ("-\\B", "a -"),
        ] {
            assert!(!is_in(regex, answer.as_bytes()), "{regex}");
        }
        for (regex, answer) in [
            ("up", "is up"),
            ("\\bup\\b", "is up "),
            ("(?m)^[+]PONG\\r$", "+PONG\r\n"),
            ("^", ""),
            ("(?s)^.*$", "a"),
        ] {
            assert!(is_in(regex, answer.as_bytes()), "{regex}");
        }
    }

    #[test]
    fn a_text_is_found_across_pieces() {
        let pattern = Pattern::Text("needle".into());
        for cut in 0..=b"hay needle".len() {
            let mut answer = b"hay needle".to_vec();
            assert!(is_in_whatever_follows(&pattern, &mut answer, cut.min(9)), "{cut}");
        }
    }
}
