//! The loop itself: what a turn hears before it does what it is for.

use tokio::sync::oneshot;

use super::{lookups::node, *};
use crate::{
    api::protocol,
    control::{Answer as Told, Ask, Inlets, Request, run},
};

/// Runs the loop until its requests are answered.
async fn asked(controller: &mut Controller<MemoryDatapath>, asks: Vec<Ask>) -> Vec<Told> {
    let (requests, asked) = mpsc::channel(8);
    let inlets = Inlets {
        requests: asked,
        news: mpsc::channel(1).1,
        census: mpsc::channel(1).1,
        unreachables: mpsc::channel(1).1,
        realtime: false,
    };
    let mut told = Vec::new();
    let end = async {
        for ask in asks {
            let (answer, answered) = oneshot::channel();
            requests.send(Request { ask, answer }).await.unwrap();
            told.push(answered.await.unwrap().unwrap());
        }
    };
    run(controller, &mut node(), inlets, end).await;
    told
}

fn checks(told: &Told) -> &[protocol::BackendChecks] {
    match told {
        Told::Checks(checks) => checks,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_wakes_nobody_is_heard_before_a_question_is_answered() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    for _ in 0..2 {
        waiting.send(seen((1, 1), true), false).await.unwrap();
    }
    waiting.send(seen((1, 1), false), false).await.unwrap();
    let told = asked(&mut controller, vec![Ask::Checks]).await;
    let check = &checks(&told[0])[0].checks[0];
    assert_eq!((check.health, check.streak), (protocol::Health::Up, 1));
    assert_eq!(word(&controller, 1).state(), BackendState::Up);
}

#[tokio::test]
async fn news_turn_a_backend_without_a_question() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    let inlets = Inlets {
        requests: mpsc::channel(1).1,
        news: mpsc::channel(1).1,
        census: mpsc::channel(1).1,
        unreachables: mpsc::channel(1).1,
        realtime: false,
    };
    let journal = rig.outlets.journal.clone();
    let end = async {
        let mut heard = journal.follow(Filter::default());
        waiting.send(seen((1, 1), true), true).await.unwrap();
        // What has happened is told.
        tokio::time::timeout(Duration::from_secs(10), heard.next(1))
            .await
            .unwrap();
    };
    run(&mut controller, &mut node(), inlets, end).await;
    assert_eq!(word(&controller, 1).state(), BackendState::Up);
}

#[tokio::test]
async fn a_status_is_answered_when_the_interfaces_have_been_looked_at() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 1)]);
    let told = asked(&mut controller, vec![Ask::Status, Ask::Checks]).await;
    assert!(matches!(told[0], Told::Status(_)), "{told:?}");
}

#[tokio::test]
async fn an_answer_tells_what_holds_for_the_next_packet() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 5))]);
    // While most are down, those that are up share the table alone.
    for (id, owning) in [(1, 1), (2, 2), (3, 5)] {
        for _ in 0..2 {
            let passed = controller.of_now(&seen((id, 1), true));
            waiting.send(passed, false).await.unwrap();
        }
        let told = asked(&mut controller, vec![Ask::Slots("web".into())]).await;
        let Told::Slots(slots) = &told[0] else {
            panic!("{told:?}");
        };
        let owners = slots.shares.iter().filter(|share| share.slots > 0).count();
        assert_eq!(owners, owning, "{slots:?}");
        assert_eq!(word(&controller, id).state(), BackendState::Up);
    }
}
