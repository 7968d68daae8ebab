//! The agent check: the backend says itself what it wishes.

use tokio::io::AsyncWriteExt as _;

use super::{Answer, ProbeError, Target, Wish, socket};
use crate::{config::Payload, output};

/// Longest line.
const LIMIT: usize = 1024;

/// Reads one line, which ends with a newline or with the connection. A backend that says `down` has answered well: what follows from it
/// is not decided here.
pub async fn probe(target: Target<'_>, send: Option<&Payload>) -> Result<Answer, ProbeError> {
    let mut stream = socket::connect(target).await?;
    if let Some(send) = send {
        let sent = stream.write_all(send.bytes()).await;
        sent.map_err(|error| ProbeError::io("send", &error))?;
    }
    let mut line = Vec::new();
    loop {
        let goes_on = socket::read(&stream, &mut line, LIMIT + 1).await?;
        let end = line.iter().position(|&byte| byte == b'\n');
        match end {
            Some(end) => line.truncate(end),
            None if line.len() > LIMIT => {
                return Err(ProbeError::answer("its line is longer than 1 KiB"));
            }
            None if goes_on => continue,
            None if line.is_empty() => return Err(ProbeError::answer("closed without a word")),
            None => {}
        }
        let wish: Wish = String::from_utf8_lossy(&line)
            .parse()
            .map_err(ProbeError::answer)?;
        return Ok(Answer {
            said: Some(output::first_line(&line)),
            wish: Some(wish),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Stand, backend::*},
        *,
    };
    use crate::config::{Admin, CheckKind};

    const READS: CheckKind = CheckKind::Agent { send: None };

    async fn saying(text: &'static [u8]) -> Tcp {
        Tcp::serve(move |mut stream| async move {
            say(&mut stream, text).await;
        })
        .await
    }

    async fn error(server: &Tcp) -> ProbeError {
        ask(&READS, server.address).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_line_ends_with_a_newline_or_the_connection() {
        for server in [saying(b"up 50%").await, saying(b"up 50%\r\ngarbage").await] {
            let answer = ask(&READS, server.address).await.unwrap();
            assert_eq!(answer.said.as_deref(), Some("up 50%"));
            let wish = answer.wish.unwrap();
            assert_eq!((wish.stand, wish.weight), (Some(Stand::Up), Some(50)));
        }
        let slow = Tcp::serve(|mut stream| async move {
            slowly(&mut stream, b"drain\n").await;
            hang(stream).await;
        })
        .await;
        let wish = ask(&READS, slow.address).await.unwrap().wish.unwrap();
        assert_eq!(wish.admin, Some(Admin::Drain));
    }

    #[tokio::test]
    async fn a_backend_that_is_down_has_answered() {
        let asked = Tcp::serve(|mut stream| async move {
            assert_eq!(heard(&mut stream, 5).await, b"web1\n");
            say(&mut stream, b"down#disk full\n").await;
        })
        .await;
        let asks = CheckKind::Agent {
            send: Some(Payload::Text("web1\n".into())),
        };
        let wish = ask(&asks, asked.address).await.unwrap().wish.unwrap();
        assert_eq!(wish.stand, Some(Stand::Down));
        assert_eq!(wish.reason.as_deref(), Some("disk full"));
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        let refusing = Refusing::tcp();
        let refused = ask(&READS, refusing.address).await.unwrap_err();
        assert!(refused.is_refusal(), "{refused}");
        let hanging = Tcp::serve(hang).await;
        let silent = ask_for(&READS, hanging.address, SHORT).await.unwrap_err();
        assert_eq!(silent, ProbeError::timeout(SHORT));
        assert_eq!(
            error(&saying(b"").await).await.to_string(),
            "closed without a word"
        );
        let resetting = Tcp::serve(|mut stream| async move {
            say(&mut stream, b"u").await;
            reset(stream);
        })
        .await;
        assert!(error(&resetting).await.is_refusal());
        let unknown = error(&saying(b"up sideways\n").await).await;
        assert!(unknown.to_string().contains("\"sideways\""), "{unknown}");
        let endless = Tcp::serve(flood).await;
        assert_eq!(error(&endless).await.to_string(), "its line is longer than 1 KiB");
    }
}
