//! `xlb status`: everything on one screen.

mod remembered;

use anyhow::Result;
use lb_common::outcome::{Fate, Outcome};

use crate::{
    api::protocol::{OutcomeCount, Service, Status},
    commands::{Code, Reply, Session},
    output::{
        self,
        Column::{Number, Text},
    },
};

/// # Errors
/// When no agent answers.
pub async fn execute(session: &Session, verbose: bool) -> Result<Reply> {
    let status = session.client.status().await?;
    let ready = status.services.iter().all(|service| service.usable)
        && status.interfaces.iter().all(|interface| interface.attached);
    let code = if ready { Code::Done } else { Code::NotReady };
    Ok(Reply::new(session.output, &status, || screen(&status, verbose))?.with_code(code))
}

fn screen(status: &Status, verbose: bool) -> String {
    let Status {
        version,
        pid,
        uptime_seconds,
        packets_seen,
        flows,
        ..
    } = status;
    let head = format!(
        "xlb {version}, pid {pid}, up {}\n",
        output::duration(*uptime_seconds)
    );
    let seen = format!(
        "packets seen: {}, flows: {}\n",
        output::count(*packets_seen),
        output::count(*flows)
    );
    let details = if verbose {
        remembered::details(status)
    } else {
        Vec::new()
    };
    let parts = [
        Some(head),
        some(&status.interfaces, |_| interfaces(status)),
        some(&status.services, services),
        Some(seen + &outcomes(&status.outcomes)),
    ];
    let parts = parts.into_iter().flatten().chain(details).chain(notes(status));
    parts.collect::<Vec<_>>().join("\n")
}

fn some<T>(list: &[T], show: impl FnOnce(&[T]) -> String) -> Option<String> {
    (!list.is_empty()).then(|| show(list))
}

fn interfaces(status: &Status) -> String {
    let rows = status.interfaces.iter().map(|interface| {
        let attached = if interface.attached { "yes" } else { "no" };
        [
            interface.name.clone(),
            interface.mode.name().to_owned(),
            attached.into(),
        ]
    });
    output::table(&[Text("INTERFACE"), Text("MODE"), Text("ATTACHED")], rows)
}

/// The table of `xlb service list` too.
pub(super) fn services(services: &[Service]) -> String {
    let columns = [
        Text("SERVICE"),
        Text("VIP"),
        Text("MODE"),
        Number("BACKENDS UP"),
        Number("PACKETS IN"),
        Number("BYTES IN"),
        Number("PACKETS OUT"),
        Number("BYTES OUT"),
        Number("FLOWS"),
    ];
    let rows = services.iter().map(|service| {
        let vips: Vec<_> = service.vips.iter().map(ToString::to_string).collect();
        [
            service.name.clone(),
            vips.join("\n"),
            service.mode.name().into(),
            format!("{}/{}", service.backends_up(), service.backends.len()),
            output::count(service.counters.packets_in),
            output::bytes(service.counters.bytes_in),
            output::count(service.counters.packets_out),
            output::bytes(service.counters.bytes_out),
            output::count(service.flows()),
        ]
    });
    output::table(&columns, rows)
}

/// The outcomes that happened, and what they mean.
fn outcomes(outcomes: &[OutcomeCount]) -> String {
    let happened: Vec<_> = outcomes.iter().filter(|outcome| outcome.packets > 0).collect();
    if happened.is_empty() {
        return String::new();
    }
    let columns = [
        Text("OUTCOME"),
        Number("PACKETS"),
        Number("BYTES"),
        Text("WHAT HAPPENED"),
    ];
    let rows = happened.into_iter().map(|outcome| {
        let known = Outcome::ALL.iter().find(|known| known.name() == outcome.name);
        [
            outcome.name.clone(),
            output::count(outcome.packets),
            output::bytes(outcome.bytes),
            known.map_or(output::NONE.into(), |known| meaning(*known)),
        ]
    });
    output::table(&columns, rows)
}

fn meaning(outcome: Outcome) -> String {
    let why = match outcome {
        Outcome::Forwarded => "sent on to a backend",
        Outcome::Returned => "reply, sent on to its client",
        Outcome::NotOurs => "for no service",
        Outcome::NotIp => "no unicast IP packet",
        Outcome::Malformed => "lengths contradict each other",
        Outcome::Fragment => "a fragment whose first one is not known",
        Outcome::TtlExpired => "the TTL ended here",
        Outcome::NoBackend => "no usable backend",
        Outcome::FlowCollision => "client's port already in use at every backend tried",
        Outcome::FlowTableFull => "flow table full: raise limits.flows",
        Outcome::NoRoute => "no route to the next hop",
        Outcome::NoNeighbour => "next hop has no known Ethernet address",
        Outcome::BadConfig => "service unknown to this program version",
        Outcome::StaleReply => "reply of a backend that its flow has left",
        Outcome::BadChecksum => "wrong IPv4 header checksum",
        Outcome::BadSource => "from an address that no client can have",
        Outcome::BadPort => "from or to port 0",
        Outcome::HeaderChain => "too many or misplaced IPv6 extension headers",
        Outcome::ErrorForwarded => "ICMP error, sent on to its flow's backend",
        Outcome::ErrorReturned => "ICMP error, sent on to its flow's client",
        Outcome::ErrorUnknown => "ICMP error about no flow of ours",
        Outcome::EchoAnswered => "ping of a VIP, answered",
        Outcome::EchoLimited => "ping beyond node.answers_per_second",
        Outcome::TtlAnswered => "the TTL ended here, sender told",
        Outcome::TooBig => "longer than the way to the backend takes",
        Outcome::TooBigAnswered => "longer than the way takes, sender told what fits",
        Outcome::Unserved => "for a VIP, but no service of it",
        Outcome::UnservedPassed => "for a VIP, but no service of it",
        Outcome::UnservedReset => "for a VIP, but no service of it: refused",
        Outcome::NoSourcePort => "no free source port: more node.sources or node.source_ports",
        Outcome::NoHeadroom => "driver leaves no room for an outer header",
        Outcome::PartialChecksum => "unfinished checksum in a frame too long to finish it",
        Outcome::Full => "every backend has as many flows as it may",
        Outcome::FullReset => "every backend has as many flows as it may: refused",
        Outcome::FlowLimited => "new flow beyond the service's new_flows",
        Outcome::SourceLimited => "new flow beyond the service's new_flows_per_source",
        Outcome::DownReset => "no usable backend: refused",
        Outcome::DownPassed => "no usable backend",
        Outcome::ProbeSent => "probe, sent on to its backend",
        Outcome::ProbeAnswered => "answer to a probe, sent on to it",
        Outcome::ProbeOver => "of a probe that is over",
    };
    match outcome.fate() {
        Fate::Send => why.into(),
        Fate::Pass => format!("left to the kernel: {why}"),
        Fate::Drop => format!("dropped: {why}"),
    }
}

/// Why the exit code is 2, and what the agent warns of.
fn notes(status: &Status) -> Option<String> {
    let unusable = status.services.iter().filter(|service| !service.usable);
    let not_ready =
        unusable.map(|service| format!("not ready: service {} has no usable backend\n", service.name));
    let warnings = status
        .warnings
        .iter()
        .map(|warning| format!("warning: {}\n", output::one_line(warning)));
    let lines: String = not_ready.chain(warnings).collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::Output,
    };

    #[tokio::test]
    async fn one_screen() {
        let reply = execute(
            &CannedAgent::new(200, canned::status()).session(Output::Table),
            false,
        )
        .await
        .unwrap();
        assert_eq!(reply.code, Code::Done);
        assert_eq!(
            reply.text,
            "\
xlb 0.1.0, pid 4711, up 2days 3h

INTERFACE  MODE    ATTACHED
eth0       native  yes

SERVICE  VIP                 MODE  BACKENDS UP  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT  FLOWS
web      192.0.2.10:80/tcp   nat           1/2       1.2 M   3.4 GiB         9876  512.0 KiB     14
         192.0.2.10:443/tcp

packets seen: 1.3 M, flows: 14
OUTCOME     PACKETS    BYTES  WHAT HAPPENED
forwarded     1.2 M  3.4 GiB  sent on to a backend
no_backend       12    720 B  dropped: no usable backend
of_2030           1     64 B  -

warning: eth0: driver drops frames
"
        );
    }

    #[tokio::test]
    async fn verbose_shows_what_is_remembered() {
        let mut status = canned::status();
        let mut leaving = canned::backend("b9");
        leaving["active"] = json!(5);
        leaving["drift"] = json!(-2);
        leaving["state"] = json!("drain");
        leaving["drain_ends_seconds"] = json!(95);
        status["services"][0]["leaving"] = json!([leaving]);
        let agent = CannedAgent::new(200, status);
        let reply = execute(&agent.session(Output::Table), true).await.unwrap();
        let details = reply.text.split("\n\n").skip(4).collect::<Vec<_>>().join("\n\n");
        assert_eq!(
            details,
            "\
BACKEND            STATE  FLOWS  ACTIVE  MAX  DRIFT  DRAINS FOR
web/b1             up         7       -    -      -  -
web/10.0.0.3:8080  down       7       -  500      -  -
web/b9 (removed)   drain      7       5    -     -2  1m 35s

WRITTEN FLOWS   ROOM  OPENED  CONFIRMED  CLOSING  CLIENTS  INSERTED  DISPLACED  REFUSED
324            1.0 M      20        300        4        0     5.0 M          7        1

TAKEN OUT     MIN     P50     P90    P99    MAX
       12  20.0µs  45.1µs  81.9µs  1.2ms  1.2ms

MAP      MEMORY
FLOWS  50.0 MiB
SLOTS  12.0 KiB
all    50.0 MiB

warning: eth0: driver drops frames
"
        );
    }

    #[tokio::test]
    async fn a_service_without_a_usable_backend_is_not_ready() {
        let mut status = canned::status();
        status["services"][0]["usable"] = json!(false);
        let agent = CannedAgent::new(200, status.clone());
        let reply = execute(&agent.session(Output::Table), false).await.unwrap();
        assert_eq!(reply.code, Code::NotReady, "{status}");
        assert!(
            reply
                .text
                .contains("not ready: service web has no usable backend\n"),
            "{}",
            reply.text
        );
        let reply = execute(&agent.session(Output::Json), false).await.unwrap();
        assert_eq!(reply.code, Code::NotReady);
        assert_eq!(serde_json::from_str::<Value>(&reply.text).unwrap(), status);
    }

    #[tokio::test]
    async fn an_idle_agent_without_services_is_ready() {
        let mut status = canned::status();
        for list in ["services", "outcomes", "warnings"] {
            status[list] = json!([]);
        }
        let reply = execute(&CannedAgent::new(200, status).session(Output::Table), false)
            .await
            .unwrap();
        assert_eq!(reply.code, Code::Done);
        assert!(
            reply.text.ends_with("\npackets seen: 1.3 M, flows: 14\n"),
            "{}",
            reply.text
        );
    }
}
