//! The question, and what an answer to it comes to.

use std::str::FromStr as _;

use hickory_proto::{
    op::{Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use super::super::ProbeError;
use crate::config::{DnsCheck, rcode, record_type};

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is not an answer to this question.
    Stranger,
    Good,
    Bad(String),
    /// What is wanted may be in what was left out.
    Truncated,
}

/// The question, with an id that nobody can guess.
pub fn question(check: &DnsCheck) -> Result<Message, ProbeError> {
    let wrong = |what: &str| ProbeError::ours(format!("{what:?} cannot be asked for"));
    let mut name = Name::from_str(&check.query).map_err(|_| wrong(&check.query))?;
    name.set_fqdn(true);
    let record = record_type(&check.record).ok_or_else(|| wrong(&check.record))?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record));
    Ok(message)
}

pub fn encode(question: &Message) -> Result<Vec<u8>, ProbeError> {
    let bytes = question.to_vec();
    bytes.map_err(|error| ProbeError::ours(format!("the question cannot be written: {error}")))
}

/// Judges what came. The records are looked at only if one of them is wanted: what some other record has in it is not what is asked.
pub fn judge(answer: &[u8], question: &Message, check: &DnsCheck) -> Judged {
    let mut decoder = BinDecoder::new(answer);
    let Ok(header) = Header::read(&mut decoder) else {
        return Judged::Stranger;
    };
    let (head, counts) = (header.metadata, header.counts);
    if head.id != question.metadata.id
        || head.message_type != MessageType::Response
        || head.op_code != OpCode::Query
    {
        return Judged::Stranger;
    }
    let is_asked = match counts.queries {
        // A server that cannot read a question, or does not want to, need not repeat it.
        0 => head.response_code != ResponseCode::NoError,
        1 => Query::read(&mut decoder).is_ok_and(|query| question.queries.first() == Some(&query)),
        _ => false,
    };
    if !is_asked {
        return Judged::Stranger;
    }
    let is_right = rcode(&check.rcode) == Some(head.response_code.into());
    match (is_right, head.truncation, check.answer) {
        (true, _, None) => Judged::Good,
        (_, true, _) => Judged::Truncated,
        (false, false, _) => Judged::Bad(format!("{}, not {}", name(head.response_code), check.rcode)),
        (true, false, Some(wanted)) => match Message::from_vec(answer) {
            Ok(message) => {
                let has = message.answers.iter().any(|record| match &record.data {
                    RData::A(address) => wanted == address.0,
                    RData::AAAA(address) => wanted == address.0,
                    _ => false,
                });
                if has {
                    Judged::Good
                } else {
                    Judged::Bad(format!("no answer has {wanted}"))
                }
            }
            Err(error) => Judged::Bad(format!("answer cannot be read: {error}")),
        },
    }
}

/// `NXDOMAIN`, as everybody but the library writes it.
fn name(code: ResponseCode) -> String {
    format!("{code:?}").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> DnsCheck {
        DnsCheck {
            query: "www.example.com".into(),
            record: "A".into(),
            rcode: "NOERROR".into(),
            answer: Some([192, 0, 2, 1].into()),
        }
    }

    #[test]
    fn a_question_is_what_it_should_be() {
        let ids: std::collections::HashSet<_> = (0..100)
            .map(|_| question(&check()).unwrap().metadata.id)
            .collect();
        assert!(ids.len() > 90, "{}", ids.len());
        let question = question(&check()).unwrap();
        let bytes = question.to_vec().unwrap();
        assert_eq!(bytes[2..4], [1, 0], "recursion desired and nothing else");
        assert_eq!(bytes[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[12..], b"\x03www\x07example\x03com\x00\x00\x01\x00\x01");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>, id: bool) {
            let check = check();
            let question = question(&check).unwrap();
            let mut answer = question.to_vec().unwrap();
            answer[2] |= 0x80;
            answer[7] = 1;
            let cut = if id { answer.len() } else { bytes.len() % answer.len() };
            answer.truncate(cut);
            answer.extend(bytes);
            judge(&answer, &question, &check);
        }
    }
}
