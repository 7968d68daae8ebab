//! What the controller says of checks when asked.

use super::{lookups::node, *};
use crate::{
    config::{Mode, Via},
    control::{change::Refusal, clock, events::What},
    health::{self, through::Path},
};

const SECOND: Duration = Duration::from_secs(1);

fn results(controller: &mut Controller<MemoryDatapath>, id: u32, results: &[bool]) {
    for &passed in results {
        let at = clock::now();
        let observation = Observation {
            at,
            ..seen((id, 1), passed)
        };
        controller.observe(&observation).unwrap();
    }
}

#[tokio::test]
async fn whoever_is_not_there_is_named() {
    let rig = Rig::new();
    let controller = rig.start(
        MemoryDatapath::default(),
        &[checked(service("web", 1, 1)), service("dns", 2, 1)],
    );
    assert_eq!(controller.known("web", None).unwrap().name, "web");
    assert!(controller.known("web", Some("b1")).is_ok());
    assert_eq!(
        controller.known("wbe", Some("b1")).unwrap_err(),
        Refusal::NoService("wbe".into())
    );
    let no_backend = Refusal::NoBackend("web".into(), "b2".into());
    assert_eq!(controller.known("web", Some("b2")).unwrap_err(), no_backend);
    assert_eq!(controller.questions("web", "b2").unwrap_err(), no_backend);
    assert_eq!(controller.questions("web", "b1").unwrap().len(), 1);
    assert_eq!(
        controller.questions("dns", "b1").unwrap_err(),
        Refusal::NoCheck("dns".into(), "b1".into())
    );
    // Only those that are probed have checks to tell of.
    let told: Vec<_> = controller
        .checks(clock::now())
        .into_iter()
        .map(|one| one.service)
        .collect();
    assert_eq!(told, ["web"]);
}

#[tokio::test]
async fn a_weight_that_grows_stands_beside_the_one_that_is_set() {
    let rig = Rig::new();
    let mut web = checked(service("web", 1, 2));
    web.health.slow_start = 100 * SECOND;
    let set = web.backends[0].weight;
    let mut controller = rig.start(MemoryDatapath::default(), &[web]);
    for id in [1, 2] {
        results(&mut controller, id, &[true]);
    }
    results(&mut controller, 1, &[false, false, false, true, true]);
    let weights = |controller: &Controller<MemoryDatapath>| {
        let one = &controller.checks(clock::now())[0];
        let described = controller.service(&node(), "web").unwrap().unwrap();
        let backend = &described.backends[0];
        assert_eq!((backend.weight, backend.weight_now), (one.weight, one.weight_now));
        (one.weight, one.weight_now)
    };
    assert_eq!(weights(&controller), (set, set / 10));
    clock::advance(101 * SECOND);
    controller.catch_up().unwrap();
    clock::advance(SECOND);
    controller.catch_up().unwrap();
    assert_eq!(weights(&controller), (set, set));
}

/// The warnings that are about this.
fn warned(controller: &Controller<MemoryDatapath>, of: &str) -> Vec<String> {
    let status = controller.status(&node()).unwrap();
    status
        .warnings
        .into_iter()
        .filter(|line| line.contains(of))
        .collect()
}

#[tokio::test]
async fn holds_and_panic_are_warned_of_for_as_long_as_they_last() {
    let rig = Rig::new();
    let mut web = checked(service("web", 1, 2));
    web.health.flaps.allowed = 0;
    web.health.flaps.hold = 30 * SECOND;
    web.health.panic = 60;
    let mut controller = rig.start(MemoryDatapath::default(), &[web]);
    for id in [1, 2] {
        results(&mut controller, id, &[true]);
    }
    assert!(warned(&controller, "panic").is_empty() && warned(&controller, "held").is_empty());
    results(&mut controller, 1, &[false, false, false]);
    let panic = warned(&controller, "panic");
    assert_eq!(panic.len(), 1, "{panic:?}");
    assert!(
        panic[0].starts_with("service web is in panic: ") && panic[0].contains("1 backend is kept"),
        "{panic:?}"
    );
    let held = warned(&controller, "held");
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(
        held[0].starts_with("backend web/b1 is held down for "),
        "{held:?}"
    );
    results(&mut controller, 1, &[true, true]);
    clock::advance(31 * SECOND);
    controller.catch_up().unwrap();
    assert!(warned(&controller, "panic").is_empty() && warned(&controller, "held").is_empty());
    let journal = rig.outlets.journal.recent(&Default::default(), None);
    let happened: Vec<_> = journal.iter().map(|event| event.event).collect();
    for what in [What::Up, What::Down, What::Held, What::Panic, What::Calm] {
        assert!(happened.contains(&what), "{what:?}: {happened:?}");
    }
}

/// One backend that is probed through the data path, and the way to it not looked up yet.
fn probed_through() -> (Rig, Controller<MemoryDatapath>) {
    let mut rig = Rig::new();
    rig.outlets.path = Some(Path::expecting().0);
    let mut web = checked(service("web", 1, 1));
    web.mode = Mode::Dsr;
    web.backends[0].port = None;
    let controller = rig.start(MemoryDatapath::default(), &[web]);
    (rig, controller)
}

/// What a probe finds that is made because somebody asks.
async fn run(controller: &Controller<MemoryDatapath>) -> Result<Answer, ProbeError> {
    let question = controller.questions("web", "b1").unwrap().remove(0);
    let asked = health::Question {
        kind: &question.spec.kind,
        target: question.target,
        timeout: question.spec.timeout,
        who: &question.who,
        course: &question.course,
    };
    health::probe(asked, health::Permit::of(asked.kind).await).await
}

#[tokio::test]
async fn the_vip_is_told_that_is_asked_by_the_data_path() {
    let (_rig, controller) = probed_through();
    let told = controller.checks(clock::now()).remove(0).checks.remove(0);
    assert_eq!((told.target.as_str(), told.via), ("192.0.2.1:80", Via::Dataplane));
    assert!(told.how.ends_with(", through the data path"), "{}", told.how);
    let question = controller.questions("web", "b1").unwrap().remove(0);
    assert_eq!(question.asks, Some("192.0.2.1:80".parse().unwrap()));
    assert_eq!(question.target, "10.0.0.1:80".parse().unwrap());
}

#[tokio::test]
async fn nobody_is_asked_another_way_while_the_data_paths_is_not_known() {
    let (_rig, controller) = probed_through();
    let error = run(&controller).await.unwrap_err();
    assert!(error.is_ours(), "{error}");
    assert!(
        error.to_string().contains("has not been looked up yet"),
        "{error}"
    );
}

#[tokio::test]
async fn whom_there_is_no_way_to_is_silent() {
    let (_rig, mut controller) = probed_through();
    let address = backend(1).address;
    controller
        .resolved(address, Err("nobody answers".into()), None)
        .unwrap();
    controller.settle().unwrap();
    let error = run(&controller).await.unwrap_err();
    assert!(error.is_silence(), "{error}");
    assert_eq!(error.to_string(), "no way to it: nobody answers");
    // With a way there has to be an address of ours to go by, whose want is nobody else's failure.
    controller.resolved(address, Ok(way()), None).unwrap();
    controller.settle().unwrap();
    let error = run(&controller).await.unwrap_err();
    assert!(error.is_ours(), "{error}");
    assert!(
        error
            .to_string()
            .contains("no IPv4 address of its own that the backend could answer"),
        "{error}"
    );
    let with_source = Egress {
        source: IpAddr::from([10, 0, 0, 254]).into(),
        ..way()
    };
    controller.resolved(address, Ok(with_source), None).unwrap();
    controller.settle().unwrap();
    let course = controller.questions("web", "b1").unwrap().remove(0).course;
    let through = course.way().unwrap().via;
    assert_eq!(
        (through.vip.to_string(), through.source),
        ("192.0.2.1:80".to_owned(), IpAddr::from([10, 0, 0, 254]))
    );
    // A way that is lost later on is still tried.
    controller
        .resolved(address, Err("nobody answers".into()), None)
        .unwrap();
    controller.settle().unwrap();
    let course = controller.questions("web", "b1").unwrap().remove(0).course;
    assert!(course.way().is_some(), "{course:?}");
}

#[tokio::test]
async fn a_check_that_cannot_be_made_is_told_of_and_changes_nothing() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    for id in [1, 2] {
        results(&mut controller, id, &[true]);
    }
    let missed = |id, why: &str| Observation {
        result: Err(ProbeError::ours(why)),
        at: clock::now(),
        ..seen((id, 1), false)
    };
    clock::advance(5 * SECOND);
    for id in [1, 2, 1, 2, 1, 2, 1, 2] {
        controller.observe(&missed(id, "no descriptor")).unwrap();
    }
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Up]);
    let told = controller.checks(clock::now()).remove(0).checks.remove(0);
    let unprobed = told.unprobed.unwrap();
    assert_eq!((unprobed.seconds, unprobed.reason.as_str()), (5, "no descriptor"));
    assert!(told.last.unwrap().passed);
    let unprobed = "backend web/b1 and 1 more are not probed by tcp, and stay as they are: no descriptor";
    assert_eq!(warned(&controller, "not probed"), [unprobed]);

    results(&mut controller, 1, &[true]);
    results(&mut controller, 2, &[true]);
    assert!(warned(&controller, "not probed").is_empty());
    let journal = rig.outlets.journal.recent(&Default::default(), None);
    let told = journal.iter().rev().take(2);
    assert!(told.into_iter().all(|event| event.event == What::Probed));
    let unprobed = journal.iter().find(|event| event.event == What::Unprobed);
    let unprobed = unprobed.unwrap();
    assert_eq!(
        (unprobed.check.as_deref(), unprobed.reason.as_str()),
        (Some("tcp"), "it stays as it is: no descriptor")
    );
}
