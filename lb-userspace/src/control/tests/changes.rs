//! Changes at run time, ways and what goes wrong with them.

use std::collections::BTreeSet;

use lb_common::addr::Addr;

use super::*;

#[tokio::test]
async fn changes_at_run_time_hold_over_a_restart() {
    let rig = Rig::new();
    let file = [service("web", 1, 2)];
    let mut first = rig.start(MemoryDatapath::default(), &file);
    first.change(drain("b1")).unwrap();
    first
        .change(Change::AddBackend {
            service: "web".into(),
            backend: backend(3),
        })
        .unwrap();
    assert_eq!(states(&first)[2], BackendState::Drain, "nobody knows the way yet");
    first.resolved(backend(3).address, Ok(way()), None).unwrap();
    first.settle().unwrap();
    let words = first.datapath.words.clone();
    let second = rig.start(first.datapath, &file);
    assert_eq!(second.datapath.words, words);
    assert_eq!(
        states(&second),
        [BackendState::Drain, BackendState::Up, BackendState::Up]
    );
}

#[tokio::test]
async fn a_change_that_is_taken_back_is_forgotten() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    let set = |admin, weight| Change::SetBackend {
        service: "web".into(),
        backend: "b1".into(),
        set: BackendChange {
            admin,
            weight,
            ..BackendChange::default()
        },
    };
    controller.change(drain("b1")).unwrap();
    controller.change(set(None, Some(7))).unwrap();
    controller.change(set(Some(Admin::Ready), None)).unwrap();
    assert_eq!(controller.overrides.len(), 1, "the weight");
    controller.change(set(None, Some(100))).unwrap();
    assert!(controller.overrides.is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_changes_nothing() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    let before = controller.datapath.clone();
    let mut same_vip = service("api", 1, 0);
    same_vip.backends.push(backend(7));
    controller
        .change(Change::AddService { service: same_vip })
        .unwrap_err();
    controller.datapath.out_of_memory = true;
    let refusal = controller
        .change(Change::AddService {
            service: service("new", 9, 1),
        })
        .unwrap_err();
    assert!(format!("{refusal:#}").contains("out of memory"), "{refusal:#}");
    controller.datapath.out_of_memory = false;
    assert_eq!(controller.datapath.snapshot.services, before.snapshot.services);
    let in_use = |datapath: &MemoryDatapath| {
        datapath
            .words
            .values()
            .filter(|word| word.state() == BackendState::Up)
            .count()
    };
    assert_eq!(in_use(&controller.datapath), in_use(&before));
    assert_eq!(controller.setup.services, [service("web", 1, 2)]);
    let restarted = rig.start(controller.datapath, &[service("web", 1, 2)]);
    assert_eq!(restarted.setup.services, [service("web", 1, 2)]);
}

#[tokio::test]
async fn a_next_hop_is_there_before_a_word_names_it() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    let hop = way();
    controller.resolved(backend(1).address, Ok(hop), None).unwrap();
    controller.settle().unwrap();
    let index = word(&controller, 1).next_hop();
    assert_eq!(controller.datapath.snapshot.next_hops[&index], hop);
    assert_eq!(word(&controller, 2).next_hop(), 0);
    // A restart keeps sending there until it has heard better.
    let second = rig.start(controller.datapath, &[service("web", 1, 2)]);
    assert_eq!(word(&second, 1).next_hop(), index);
}

#[tokio::test]
async fn what_failed_is_tried_again() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    controller.datapath.out_of_memory = true;
    for _ in 0..3 {
        controller.observe(&seen((2, 1), false)).unwrap();
    }
    let failures: Vec<_> = (0..3)
        .map(|_| controller.observe(&seen((3, 1), false)).is_err())
        .collect();
    assert_eq!(failures, [false, false, true]);
    assert!(controller.settle().is_err());
    controller.datapath.out_of_memory = false;
    controller.settle().unwrap();
    assert!(owners(&controller, 0).iter().all(|&id| id == 1));
}

#[tokio::test]
async fn vlan_devices_come_and_go_and_are_looked_at_only_while_there_are_any() {
    let device = |id| VlanDevice {
        ifindex: 2,
        vlans: Vlans::of(&[(0x8100, id)]),
        ..VlanDevice::default()
    };
    let looked_at = |controller: &Controller<MemoryDatapath>| {
        controller.datapath.snapshot.switches & switches::VLAN_DEVICES != 0
    };
    let (rig, file) = (Rig::new(), [service("web", 1, 1)]);
    let mut first = rig.start(MemoryDatapath::default(), &file);
    first.learn_vlan_devices([(4, device(10)), (5, device(20))].into());
    first.settle().unwrap();
    assert!(looked_at(&first));
    let mut second = rig.start(first.datapath, &file);
    second.learn_vlan_devices([(5, device(30))].into());
    second.settle().unwrap();
    assert_eq!(second.datapath.snapshot.vlan_devices, [(5, device(30))].into());
    assert!(looked_at(&second));
    second.learn_vlan_devices([].into());
    second.settle().unwrap();
    assert!(second.datapath.snapshot.vlan_devices.is_empty());
    assert!(!looked_at(&second));
}

#[tokio::test]
async fn addresses_of_this_host_come_and_go_and_outlive_the_agent() {
    let ours = |last: u8| IpAddr::from([10, 0, 9, last]);
    let table = |ips: &[IpAddr]| ips.iter().copied().map(Addr::from).collect::<BTreeSet<_>>();
    let (rig, file) = (Rig::new(), [service("web", 1, 1)]);
    let mut first = rig.start(MemoryDatapath::default(), &file);
    assert!(first.learn_addresses([ours(1), ours(2)].into()));
    assert!(!first.learn_addresses([ours(1), ours(2)].into()));
    first.settle().unwrap();
    // Until the next agent has looked itself, what the one before has seen holds.
    let mut second = rig.start(first.datapath, &file);
    assert_eq!(second.datapath.snapshot.locals, table(&[ours(1), ours(2)]));
    assert!(second.learn_addresses([ours(2), ours(3)].into()));
    second.settle().unwrap();
    assert_eq!(second.datapath.snapshot.locals, table(&[ours(2), ours(3)]));
}

#[tokio::test]
async fn a_way_over_a_router_is_a_way_in_nat() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 1)]);
    let gateway = Some(IpAddr::from([10, 0, 0, 254]));
    controller
        .resolved(backend(1).address, Ok(way()), gateway)
        .unwrap();
    controller.settle().unwrap();
    assert_eq!(states(&controller), [BackendState::Up]);
}

#[tokio::test]
async fn a_setting_of_health_has_to_fit_those_that_stay() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    let flaps = |hold, hold_max| {
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let flaps = FlapsChange {
            hold: seconds(hold),
            hold_max: seconds(hold_max),
            ..FlapsChange::default()
        };
        Change::SetService {
            service: "web".into(),
            set: ServiceChange {
                health: HealthChange {
                    flaps,
                    ..HealthChange::default()
                },
                ..ServiceChange::default()
            },
        }
    };
    let refused = controller.change(flaps(Some(120), None)).unwrap_err().to_string();
    assert!(
        refused.contains("hold_max: 1m is below 2m: use 2m to 1day"),
        "{refused}"
    );
    controller.change(flaps(None, Some(180))).unwrap();
    controller.change(flaps(Some(120), None)).unwrap();
    let health = controller.known("web", None).unwrap().health;
    assert_eq!(
        (health.flaps.hold, health.flaps.hold_max),
        (Duration::from_secs(120), Duration::from_secs(180))
    );
}
