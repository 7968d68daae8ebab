//! The DNS check: asks a question and judges the answer.
//!
//! Here what is sent and awaited; `message` is what question and answer are.

mod message;

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, time::sleep};

use super::{Answer, ProbeError, Target, socket};
use crate::config::DnsCheck;
use message::{Judged, encode, judge, question};

/// As in `udp`.
const PAUSE: Duration = Duration::from_millis(1);

/// Asks over UDP, and over TCP what does not fit there.
pub async fn probe(
    target: Target<'_>,
    check: &DnsCheck,
    so_far: &mut Option<ProbeError>,
) -> Result<Answer, ProbeError> {
    let question = question(check)?;
    let bytes = encode(&question)?;
    let socket = socket::datagrams(target).await?;
    let sent = socket.send(&bytes).await;
    sent.map_err(|error| ProbeError::io("send", &error))?;
    loop {
        let answer = socket::receive(&socket).await?;
        match judge(&answer, &question, check) {
            Judged::Good => return Ok(Answer::default()),
            Judged::Bad(problem) => return Err(ProbeError::answer(problem)),
            Judged::Truncated => break,
            Judged::Stranger => {
                *so_far = Some(ProbeError::answer("what came was no answer to the question"));
                sleep(PAUSE).await;
            }
        }
    }
    // The backend does answer; only over TCP it may not.
    *so_far = Some(ProbeError::answer("truncated, and no answer over TCP in time"));
    by_tcp(target, check).await.map_err(|error| match error {
        ours if ours.is_ours() => ours,
        error => ProbeError::answer(format!("truncated, and over TCP: {error}")),
    })
}

/// RFC 1035 §4.2.2: each message has its length in front.
async fn by_tcp(target: Target<'_>, check: &DnsCheck) -> Result<Answer, ProbeError> {
    let question = question(check)?;
    let bytes = encode(&question)?;
    let length = u16::try_from(bytes.len()).map_err(|_| ProbeError::ours("the question is too long"))?;
    let mut stream = socket::connect(target).await?;
    let sent = stream.write_all(&[&length.to_be_bytes(), &*bytes].concat()).await;
    sent.map_err(|error| ProbeError::io("send", &error))?;
    let mut answer = Vec::new();
    let message = loop {
        if let Some((length, message)) = answer.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if let Some(message) = message.get(..length) {
                break message;
            }
        }
        if !socket::read(&stream, &mut answer, 2 + usize::from(u16::MAX)).await? {
            let problem = format!("closed after {} bytes of an answer", answer.len());
            return Err(ProbeError::answer(problem));
        }
    };
    match judge(message, &question, check) {
        Judged::Good => Ok(Answer::default()),
        Judged::Bad(problem) => Err(ProbeError::answer(problem)),
        Judged::Truncated => Err(ProbeError::answer("truncated")),
        Judged::Stranger => Err(ProbeError::answer("no answer to the question")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use std::str::FromStr as _;

    use hickory_proto::{
        op::{Message, ResponseCode},
        rr::{Name, RData, Record, rdata},
    };
    use tokio::net::UdpSocket;

    use super::{super::backend::*, *};
    use crate::config::CheckKind;

    fn check(rcode: &str, answer: Option<&str>) -> DnsCheck {
        DnsCheck {
            query: "www.example.com".into(),
            record: "A".into(),
            rcode: rcode.into(),
            answer: answer.map(|address| address.parse().unwrap()),
        }
    }

    fn kind(rcode: &str, answer: Option<&str>) -> CheckKind {
        CheckKind::Dns(check(rcode, answer))
    }

    /// The good answer: two addresses.
    fn answered(question: &[u8]) -> Message {
        let mut answer = Message::from_vec(question).unwrap().into_response();
        let name = answer.queries[0].name.clone();
        for last in [1, 2] {
            let data = RData::A(rdata::A::new(192, 0, 2, last));
            answer.add_answer(Record::from_rdata(name.clone(), 60, data));
        }
        answer
    }

    fn coded(question: &[u8], code: ResponseCode) -> Vec<u8> {
        let mut answer = answered(question);
        answer.metadata.response_code = code;
        answer.to_vec().unwrap()
    }

    fn truncated(question: &[u8], code: ResponseCode) -> Vec<u8> {
        let mut answer = Message::from_vec(question).unwrap().into_response();
        answer.metadata.truncation = true;
        answer.metadata.response_code = code;
        answer.to_vec().unwrap()
    }

    /// Answers each question with these datagrams.
    async fn by_udp(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut heard = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut heard).await {
                for answer in answers(&heard[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn codes_and_addresses_are_judged() {
        let good = by_udp(|question| vec![coded(question, ResponseCode::NoError)]).await;
        ask(&kind("NOERROR", None), good).await.unwrap();
        ask(&kind("NOERROR", Some("192.0.2.2")), good).await.unwrap();
        let error = ask(&kind("NOERROR", Some("192.0.2.3")), good).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer has 192.0.2.3");
        let error = ask(&kind("NXDOMAIN", None), good).await.unwrap_err();
        assert_eq!(error.to_string(), "NOERROR, not NXDOMAIN");

        let without = by_udp(|question| vec![coded(question, ResponseCode::NXDomain)]).await;
        ask(&kind("NXDOMAIN", None), without).await.unwrap();
        let error = ask(&kind("NOERROR", None), without).await.unwrap_err();
        assert_eq!(error.to_string(), "NXDOMAIN, not NOERROR");
    }

    #[tokio::test]
    async fn answers_to_other_questions_are_passed_over() {
        fn strangers(question: &[u8]) -> Vec<Vec<u8>> {
            let mut other_id = answered(question);
            other_id.metadata.id ^= 1;
            let mut other_name = answered(question);
            other_name.queries[0].name = Name::from_str("www.example.net.").unwrap();
            let mut no_name = answered(question);
            no_name.queries.clear();
            let messages = [other_id, other_name, no_name].map(|message| message.to_vec().unwrap());
            [
                vec![question.to_vec(), Vec::new(), question[..5].to_vec()],
                messages.to_vec(),
            ]
            .concat()
        }
        let late = by_udp(|question| {
            let good = coded(question, ResponseCode::NoError);
            [strangers(question), vec![good]].concat()
        })
        .await;
        ask(&kind("NOERROR", None), late).await.unwrap();
        let never = by_udp(strangers).await;
        let error = ask_for(&kind("NOERROR", None), never, SHORT).await.unwrap_err();
        assert_eq!(error.to_string(), "what came was no answer to the question");
    }

    #[tokio::test]
    async fn a_server_that_refuses_or_is_silent_or_has_no_words() {
        let refusing = Refusing::udp();
        let error = ask(&kind("NOERROR", None), refusing.address).await.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        let silent = by_udp(|_| Vec::new()).await;
        let error = ask_for(&kind("NOERROR", None), silent, SHORT).await.unwrap_err();
        assert_eq!(error, ProbeError::timeout(SHORT));
        let curt = by_udp(|question| {
            let mut answer = Message::from_vec(question).unwrap().into_response();
            answer.queries.clear();
            answer.metadata.response_code = ResponseCode::FormErr;
            vec![answer.to_vec().unwrap()]
        })
        .await;
        let error = ask(&kind("NOERROR", None), curt).await.unwrap_err();
        assert_eq!(error.to_string(), "FORMERR, not NOERROR");
    }

    /// Truncates over UDP; over TCP `each` has the question and the connection.
    async fn truncating<F>(
        code: ResponseCode,
        each: impl Fn(tokio::net::TcpStream, Vec<u8>) -> F + Clone + Send + Sync + 'static,
    ) -> (Tcp, SocketAddr)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let address = by_udp(move |question| vec![truncated(question, code)]).await;
            if std::net::TcpListener::bind(address).is_err() {
                continue;
            }
            let each = each.clone();
            let tcp = Tcp::at(address, move |mut stream| {
                let each = each.clone();
                async move {
                    let length = heard(&mut stream, 2).await;
                    let length = u16::from_be_bytes([length[0], length[1]]);
                    let question = heard(&mut stream, length.into()).await;
                    each(stream, question).await;
                }
            })
            .await;
            return (tcp, address);
        }
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u16::try_from(message.len()).unwrap();
        [&length.to_be_bytes(), message].concat()
    }

    #[tokio::test]
    async fn what_is_truncated_is_asked_for_over_tcp_only_if_it_matters() {
        let (_tcp, target) = truncating(ResponseCode::NoError, |mut stream, question| async move {
            slowly(&mut stream, &framed(&coded(&question, ResponseCode::NoError))).await;
            hang(stream).await;
        })
        .await;
        ask(&kind("NOERROR", Some("192.0.2.2")), target).await.unwrap();
        let error = ask(&kind("NOERROR", Some("192.0.2.3")), target)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "truncated, and over TCP: no answer has 192.0.2.3"
        );

        let only_udp = by_udp(|question| vec![truncated(question, ResponseCode::NoError)]).await;
        ask(&kind("NOERROR", None), only_udp).await.unwrap();
        let error = ask(&kind("NOERROR", Some("192.0.2.2")), only_udp)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "truncated, and over TCP: connect: connection refused"
        );
        assert!(!error.is_refusal(), "it does answer");
    }

    #[tokio::test]
    async fn what_goes_wrong_over_tcp_is_said() {
        let wanted = kind("NOERROR", Some("192.0.2.2"));
        let (_tcp, closing) = truncating(ResponseCode::NoError, |mut stream, question| async move {
            let answer = framed(&coded(&question, ResponseCode::NoError));
            say(&mut stream, &answer[..20]).await;
        })
        .await;
        let error = ask(&wanted, closing).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "truncated, and over TCP: closed after 20 bytes of an answer"
        );
        let (_tcp, hanging) = truncating(
            ResponseCode::NoError,
            |stream, _| async move { hang(stream).await },
        )
        .await;
        let error = ask_for(&wanted, hanging, SHORT).await.unwrap_err();
        assert_eq!(error.to_string(), "truncated, and no answer over TCP in time");
        let (_tcp, other) = truncating(ResponseCode::ServFail, |mut stream, _| async move {
            say(&mut stream, &framed(b"what?")).await;
            flood(stream).await;
        })
        .await;
        let error = ask(&wanted, other).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "truncated, and over TCP: no answer to the question"
        );
    }
}
