//! `xlb lookup`

use anyhow::Result;
use lb_common::outcome::Outcome;

use super::{Code, Reply, Session, backend};
use crate::{
    api::protocol::{By, Lookup, LookupSlot, Match, Remembered, SlotState, Table},
    cli::lookup::Arguments,
    config::{Algorithm, Unserved},
    output,
};

/// # Errors
/// When there can be no such packet, or the agent does not answer.
pub async fn execute(session: &Session, arguments: &Arguments) -> Result<Reply> {
    let told = session.client.lookup(&arguments.probe()).await?;
    let code = code(&told);
    Ok(Reply::new(session.output, &told, || page(&told))?.with_code(code))
}

fn code(told: &Lookup) -> Code {
    if told.outcome == Outcome::Forwarded.name() {
        Code::Done
    } else if told.service.is_some() && told.outcome != Outcome::BadSource.name() {
        Code::NotReady
    } else {
        Code::Error
    }
}

fn page(told: &Lookup) -> String {
    let service = told.service.as_ref().map(|service| {
        let matched = match service.matched {
            Match::Exact => "exactly",
            Match::Range => "by a range of ports",
            Match::Network => "by a network",
        };
        let (mode, algorithm) = (service.mode.name(), service.algorithm.name());
        format!("{}, {matched}; {mode}, {algorithm}", service.name)
    });
    let address = told.backend.as_ref().map(|one| {
        let state = one.state.name();
        format!("{} {}, {state}", one.name, backend::address(one))
    });
    let hop = told.backend.as_ref().map(|one| match &one.next_hop {
        Some(hop) => format!("{} {}", hop.interface, hop.mac),
        None => "not resolved: the kernel's routes say it packet by packet".into(),
    });
    let facts = [
        (
            "Packet",
            Some(format!("{} -> {}, {}", told.from, told.to, told.packet.name())),
        ),
        ("Service", service),
        ("Hash", told.slot.as_ref().map(hash)),
        ("Slot", told.slot.as_ref().map(slot)),
        (
            "Known",
            told.slot.is_some().then(|| known(told.remembered.as_ref())),
        ),
        ("Backend", address),
        ("One of", one_of(told)),
        ("Next hop", hop),
        ("Why", Some(why(told))),
    ];
    output::facts(facts.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn hash(slot: &LookupSlot) -> String {
    let LookupSlot {
        hash,
        index,
        slots,
        new_hash,
        ..
    } = slot;
    let new = new_hash.as_ref().map(|hash| format!("; of a new flow {hash}"));
    format!("{hash}: slot {index} of {slots}{}", new.unwrap_or_default())
}

fn slot(slot: &LookupSlot) -> String {
    let owner = slot.owner.as_deref().unwrap_or("nobody");
    let previous = slot.previous.as_ref().map(|name| format!(", before {name}"));
    format!(
        "{}, of {owner}{}",
        slot.state.name(),
        previous.unwrap_or_default()
    )
}

fn known(remembered: Option<&Remembered>) -> String {
    let Some(Remembered {
        table,
        state,
        age_seconds,
        backend,
    }) = remembered
    else {
        return "no flow is remembered or written down".into();
    };
    let how = match table {
        Table::Flows => "remembered",
        Table::Written => "written down",
    };
    let backend = backend.as_deref().unwrap_or("a backend that is gone");
    let age = output::duration(*age_seconds);
    format!("{how} for {backend}, {state}, last packet {age} ago")
}

fn one_of(told: &Lookup) -> Option<String> {
    (!told.candidates.is_empty()).then(|| told.candidates.join(", "))
}

/// Why the packet gets its backend, or none.
fn why(told: &Lookup) -> String {
    let Some(by) = told.by else {
        return why_not(told);
    };
    let is_settled = told
        .slot
        .as_ref()
        .is_some_and(|slot| slot.state == SlotState::Settled);
    match by {
        By::Flow => "its flow is remembered".into(),
        By::Entry => "its flow is written down".into(),
        By::Owner if is_settled => "the slot's owner".into(),
        By::Owner => "the slot's owner gets its new flows".into(),
        By::Previous => "it may be of a flow of the owner before".into(),
        By::Affinity => "its client's last flow went there".into(),
        By::Algorithm => "the algorithm wants it, and it takes new flows".into(),
        By::Replica => "the replica that the port asks for".into(),
        By::NextHash => format!(
            "the owner of the next hash, at try {}: those before take no new flows",
            told.tries
        ),
        By::Room => {
            "its flow cannot be written down: the table has no room for it, and it stays at home".into()
        }
        By::Chance => chance(told.service.as_ref().map(|service| service.algorithm)).into(),
    }
}

/// What it depends on where it cannot be foretold.
const fn chance(algorithm: Option<Algorithm>) -> &'static str {
    match algorithm {
        Some(Algorithm::RoundRobin) => {
            "the next in turn on the CPU that the packet comes to; each CPU has its own turn"
        }
        Some(Algorithm::TwoChoices) => "the less loaded of two that are drawn for each flow",
        Some(Algorithm::LeastConn) => {
            "the least loaded; of equals, or of a pool of more than 16, as is drawn"
        }
        _ => "drawn for each flow, by weight",
    }
}

fn why_not(told: &Lookup) -> String {
    let is = |outcome: Outcome| told.outcome == outcome.name();
    let text = if is(Outcome::NotOurs) {
        "not for a VIP: the packet is left to the kernel"
    } else if is(Outcome::Unserved) {
        return unserved(told.unserved);
    } else if is(Outcome::BadSource) {
        "dropped: no client can have that source"
    } else if is(Outcome::NoBackend) {
        "dropped: no backend takes it"
    } else if is(Outcome::DownReset) {
        "refused: no backend takes it"
    } else if is(Outcome::DownPassed) {
        "left to the kernel: no backend takes it"
    } else if is(Outcome::Full) {
        "dropped: all backends are full"
    } else if is(Outcome::FullReset) {
        "refused: all backends are full"
    } else if is(Outcome::FlowCollision) {
        "dropped: every backend that was tried has a flow of the same client port by another VIP"
    } else if is(Outcome::FlowLimited) {
        "dropped: the service has had all its new flows for now"
    } else if is(Outcome::SourceLimited) {
        "dropped: its source has had all its new flows for now"
    } else {
        return format!("dropped: {}", told.outcome);
    };
    text.into()
}

fn unserved(policy: Option<Unserved>) -> String {
    let becomes = match policy {
        Some(Unserved::Pass) => "left to the kernel",
        Some(Unserved::Reset) => "refused",
        Some(Unserved::Drop) => "dropped",
        Some(Unserved::Auto) | None => "left to the kernel if that would keep it, else dropped",
    };
    format!("for no service of its VIP: {becomes}")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::{Cli, Command, Output},
    };

    fn arguments(line: &str) -> Arguments {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Lookup(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    fn told(by: &str) -> Value {
        json!({
            "from": "198.51.100.7:4000", "to": "192.0.2.10:80/tcp", "packet": "syn", "outcome": "forwarded",
            "unserved": null,
            "service": {"name": "web", "match": "exact", "mode": "nat", "algorithm": "maglev"},
            "slot": {
                "hash": "04b5000000000000", "index": 18, "slots": 1024, "state": "young",
                "owner": "b1", "previous": "b2", "new_hash": null,
            },
            "remembered": {"in": "written", "state": "confirmed", "age_seconds": 64, "backend": "b2"},
            "by": by, "tries": 3, "backend": canned::backend("b1"), "candidates": [],
        })
    }

    async fn asked(answer: Value, line: &str) -> (Reply, Vec<(String, Value)>) {
        let agent = CannedAgent::new(200, answer);
        let reply = execute(&agent.session(Output::Table), &arguments(line))
            .await
            .unwrap();
        (reply, agent.requests())
    }

    const LINE: &str = "xlb lookup --from 198.51.100.7:4000 --to 192.0.2.10:80";

    #[tokio::test]
    async fn a_page_says_who_and_why() {
        let (reply, requests) = asked(told("next-hash"), LINE).await;
        assert_eq!(
            reply.text,
            "\
Packet     198.51.100.7:4000 -> 192.0.2.10:80/tcp, syn
Service    web, exactly; nat, maglev
Hash       04b5000000000000: slot 18 of 1024
Slot       young, of b1, before b2
Known      written down for b2, confirmed, last packet 1m 4s ago
Backend    b1 10.0.0.2:8080, up
Next hop   eth0 02:00:00:00:00:01
Why        the owner of the next hash, at try 3: those before take no new flows
"
        );
        assert_eq!(reply.code, Code::Done);
        let path = "GET /v1/lookup?from=198.51.100.7%3A4000&to=192.0.2.10%3A80%2Ftcp";
        assert_eq!(requests, [(path.into(), json!(null))]);
        let (_, requests) = asked(told("owner"), &format!("{LINE}/udp --packet datagram")).await;
        assert!(requests[0].0.ends_with("%2Fudp&packet=datagram"), "{requests:?}");
    }

    #[tokio::test]
    async fn what_chance_decides_is_said() {
        let mut answer = told("chance");
        answer["service"]["algorithm"] = json!("round-robin");
        (answer["backend"], answer["candidates"]) = (json!(null), json!(["b1", "b3"]));
        let (reply, _) = asked(answer, LINE).await;
        let lines = "One of     b1, b3\nWhy        the next in turn on the CPU that the packet comes to; each CPU has its own turn\n";
        assert!(reply.text.ends_with(lines), "{}", reply.text);
    }

    #[tokio::test]
    async fn the_code_says_whether_a_backend_gets_it() {
        let mut answer = told("owner");
        (answer["by"], answer["backend"]) = (json!(null), json!(null));
        for (outcome, code) in [
            ("no_backend", Code::NotReady),
            ("down_reset", Code::NotReady),
            ("down_passed", Code::NotReady),
            ("full", Code::NotReady),
            ("bad_source", Code::Error),
        ] {
            answer["outcome"] = json!(outcome);
            assert_eq!(asked(answer.clone(), LINE).await.0.code, code, "{outcome}");
        }
        for key in ["service", "slot", "remembered"] {
            answer[key] = json!(null);
        }
        answer["outcome"] = json!("not_ours");
        let (reply, _) = asked(answer.clone(), LINE).await;
        let page = "Packet     198.51.100.7:4000 -> 192.0.2.10:80/tcp, syn\nWhy        not for a VIP: the packet is left to the kernel\n";
        assert_eq!((reply.text.as_str(), reply.code), (page, Code::Error));
        (answer["outcome"], answer["unserved"]) = (json!("unserved"), json!("reset"));
        let (reply, _) = asked(answer, LINE).await;
        assert!(
            reply.text.ends_with("for no service of its VIP: refused\n"),
            "{}",
            reply.text
        );
        assert_eq!(reply.code, Code::Error);
    }
}
