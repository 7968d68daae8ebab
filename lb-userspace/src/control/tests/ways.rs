//! Ways to backends that are found and lost.

use super::*;

/// What has been told of ways so far, about whom and why.
fn told(controller: &Controller<MemoryDatapath>) -> Vec<(What, String, String)> {
    let events = controller.journal.recent(&Filter::default(), None);
    let of_ways = events
        .iter()
        .filter(|event| matches!(event.event, What::Unreachable | What::Reachable));
    of_ways
        .map(|event| (event.event, event.whom().unwrap(), event.reason.clone()))
        .collect()
}

fn resolve(controller: &mut Controller<MemoryDatapath>, hop: Result<Egress, &str>, gateway: Option<IpAddr>) {
    let hop = hop.map_err(str::to_owned);
    controller.resolved(backend(1).address, hop, gateway).unwrap();
    controller.settle().unwrap();
}

#[tokio::test]
async fn a_way_that_is_lost_and_found_is_an_event_of_each_backend_behind_it() {
    let rig = Rig::new();
    let mut controller = rig.start(
        MemoryDatapath::default(),
        &[service("web", 1, 2), service("dns", 2, 1)],
    );
    let found = "there is a way to it again";
    let each =
        |what, reason: &str| ["web/b1", "dns/b1"].map(|whom| (what, whom.to_owned(), reason.to_owned()));
    resolve(&mut controller, Ok(way()), None);
    assert_eq!(told(&controller), []);
    resolve(&mut controller, Err("nobody answers"), None);
    assert_eq!(told(&controller), each(What::Unreachable, "nobody answers"));
    assert_eq!(states(&controller)[0], BackendState::Drain);
    resolve(&mut controller, Err("nobody answers"), None);
    assert_eq!(told(&controller).len(), 2, "once");
    resolve(&mut controller, Err("no route"), None);
    assert_eq!(told(&controller)[2..], each(What::Unreachable, "no route"));
    resolve(&mut controller, Ok(way()), None);
    assert_eq!(told(&controller)[4..], each(What::Reachable, found));
    resolve(&mut controller, Ok(way()), None);
    assert_eq!(told(&controller).len(), 6);
}

#[tokio::test]
async fn who_is_new_behind_a_way_that_is_lost_is_told_of_too() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 1)]);
    resolve(&mut controller, Err("nobody answers"), None);
    let added = Change::AddService {
        service: service("dns", 2, 1),
    };
    controller.change(added).unwrap();
    let whom: Vec<_> = told(&controller).into_iter().map(|(_, whom, _)| whom).collect();
    assert_eq!(whom, ["web/b1", "dns/b1"]);
}

#[tokio::test]
async fn a_router_is_no_way_for_direct_return() {
    let rig = Rig::new();
    let mut direct = service("web", 1, 1);
    direct.mode = crate::config::Mode::Dsr;
    let mut controller = rig.start(MemoryDatapath::default(), &[direct]);
    resolve(&mut controller, Ok(way()), Some(IpAddr::from([10, 0, 0, 1])));
    let events = told(&controller);
    assert!(
        matches!(&events[..], [(What::Unreachable, _, reason)] if reason.contains("behind router 10.0.0.1")),
        "{events:?}"
    );
}
