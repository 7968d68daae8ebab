//! The controller on a data plane in memory: what a restart, a failure and a change do to it.

mod vips;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::{
    backend::{BackendState, BackendWord},
    maps::switches,
    next_hop::{Egress, NextHop, VlanDevice, Vlans},
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{
    change::{
        Change,
        tests::{backend, service},
    },
    controller::{CheckKey, Controller, Outlets},
};
use crate::{
    config::{Admin, CheckKind, CheckSpec, Config, Limits, ServiceSpec},
    datapath::memory::MemoryDatapath,
    health::{Observation, ProbeError},
};

fn way() -> Egress {
    let hop = NextHop {
        ifindex: 3,
        destination_mac: [2; 6],
        source_mac: [4; 6],
        ..NextHop::default()
    };
    Egress {
        hop,
        ..Egress::default()
    }
}

struct Rig {
    state: TempDir,
    outlets: Outlets,
    suspects: mpsc::Receiver<IpAddr>,
    limits: Limits,
}

impl Rig {
    fn new() -> Self {
        let (observations, _) = mpsc::channel(1);
        let (targets, _) = watch::channel(BTreeSet::new());
        let (suspected, suspects) = mpsc::channel(8);
        Self {
            state: tempfile::tempdir().unwrap(),
            outlets: Outlets {
                observations,
                targets,
                suspects: suspected,
            },
            suspects,
            limits: Limits::default(),
        }
    }

    fn start(&self, datapath: MemoryDatapath, file: &[ServiceSpec]) -> Controller<MemoryDatapath> {
        self.start_hearing(datapath, file).0
    }

    /// A controller, and where results that wait for it are put.
    fn start_hearing(
        &self,
        datapath: MemoryDatapath,
        file: &[ServiceSpec],
    ) -> (Controller<MemoryDatapath>, mpsc::Sender<Observation<CheckKey>>) {
        let (waiting, observations) = mpsc::channel(8);
        let mut config = Config {
            limits: self.limits.clone(),
            services: file.to_vec(),
            ..Config::default()
        };
        config.node.state_dir = self.state.path().to_owned();
        let controller = Controller::adopt(datapath, &config, self.outlets.clone(), observations);
        (controller.unwrap(), waiting)
    }
}

fn word(controller: &Controller<MemoryDatapath>, id: u32) -> BackendWord {
    controller.datapath.words.get(&id).copied().unwrap_or_default()
}

fn states(controller: &Controller<MemoryDatapath>) -> Vec<BackendState> {
    controller
        .datapath
        .words
        .values()
        .map(|word| word.state())
        .collect()
}

fn checked(mut service: ServiceSpec) -> ServiceSpec {
    let mut check = CheckSpec::new(CheckKind::Tcp);
    // No probe of these tests ever runs.
    check.interval = Duration::from_secs(3600);
    (check.rise, check.fall) = (2, 3);
    service.check = Some(check);
    service
}

fn seen(key: CheckKey, passed: bool) -> Observation<CheckKey> {
    let result = if passed {
        Ok(())
    } else {
        Err(ProbeError::new("connection refused"))
    };
    Observation {
        key,
        result,
        took: Duration::ZERO,
        at: Instant::now(),
    }
}

fn drain(name: &str) -> Change {
    Change::SetBackend {
        service: "web".into(),
        backend: name.into(),
        admin: Some(Admin::Drain),
        weight: None,
    }
}

#[tokio::test]
async fn a_restart_writes_no_word_and_keeps_every_id() {
    let rig = Rig::new();
    let file = [service("web", 1, 3), service("api", 2, 2)];
    let first = rig.start(MemoryDatapath::default(), &file);
    let (words, services) = (
        first.datapath.words.clone(),
        first.datapath.snapshot.services.clone(),
    );
    // The other way round in the file, and one backend first instead of last.
    let mut file = [file[1].clone(), file[0].clone()];
    file[1].backends.rotate_right(1);
    let second = rig.start(first.datapath, &file);
    assert_eq!(second.datapath.words, words);
    assert_eq!(second.datapath.snapshot.services, services);
    assert_eq!(second.datapath.tables_written, 2, "tables that are right already");
}

#[tokio::test]
async fn a_service_in_place_of_another_does_not_get_its_id() {
    let rig = Rig::new();
    let first = rig.start(MemoryDatapath::default(), &[service("web", 1, 1)]);
    let second = rig.start(first.datapath, &[service("api", 2, 1)]);
    let ids: Vec<_> = second
        .datapath
        .snapshot
        .services
        .values()
        .map(|service| service.id)
        .collect();
    assert_eq!(ids, [1]);
    assert_eq!(second.datapath.tables.keys().collect::<Vec<_>>(), [&1]);
}

#[tokio::test]
async fn a_start_fits_where_old_and_new_together_would_not() {
    let mut rig = Rig::new();
    (rig.limits.backends, rig.limits.services) = (4, 1);
    let first = rig.start(MemoryDatapath::default(), &[service("web", 1, 3)]);
    let mut file = service("web", 1, 1);
    file.backends.extend([backend(7), backend(8), backend(9)]);
    let second = rig.start(first.datapath, std::slice::from_ref(&file));
    assert_eq!(states(&second), [BackendState::Up; 4]);
    // And where not even a service has room beside the one that goes.
    let third = rig.start(second.datapath, &[service("api", 2, 4)]);
    assert_eq!(states(&third), [BackendState::Up; 4]);
    assert_eq!(third.datapath.snapshot.services.len(), 1);
}

#[tokio::test]
async fn a_restart_finishes_what_the_file_has_dropped() {
    let rig = Rig::new();
    let first = rig.start(
        MemoryDatapath::default(),
        &[service("web", 1, 2), service("api", 2, 1)],
    );
    let second = rig.start(first.datapath, &[service("web", 1, 1)]);
    assert_eq!(
        states(&second),
        [BackendState::Up, BackendState::Free, BackendState::Free]
    );
    assert_eq!(second.datapath.snapshot.services.len(), 1);
    assert_eq!(second.datapath.tables.len(), 1);
}

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
        admin,
        weight,
    };
    controller.change(drain("b1")).unwrap();
    controller.change(set(None, Some(7))).unwrap();
    controller.change(set(Some(Admin::Ready), None)).unwrap();
    assert_eq!(controller.overrides.len(), 1, "the weight");
    controller.change(set(None, Some(100))).unwrap();
    assert!(controller.overrides.is_empty());
}

#[tokio::test]
async fn a_checked_backend_serves_from_its_first_pass_on() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    assert_eq!(states(&controller), [BackendState::Down, BackendState::Down]);
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Down]);
    // A restart does not ask the first question again: what served goes on, what did not has to rise.
    let mut second = rig.start(controller.datapath, &[checked(service("web", 1, 2))]);
    assert_eq!(states(&second), [BackendState::Up, BackendState::Down]);
    second.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&second), [BackendState::Up, BackendState::Down]);
    second.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&second), [BackendState::Up, BackendState::Up]);
}

#[tokio::test]
async fn a_health_flip_writes_one_word_and_no_table() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let (tables, before) = (
        controller.datapath.tables_written,
        controller.datapath.words.clone(),
    );
    for _ in 0..3 {
        controller.observe(&seen((2, 1), false)).unwrap();
    }
    assert_eq!(controller.datapath.tables_written, tables);
    let changed: Vec<_> = before
        .iter()
        .filter(|&(id, word)| controller.datapath.words[id] != *word)
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(word(&controller, 2).state(), BackendState::Down);
    // With two of three down the table is left to the third.
    for _ in 0..3 {
        controller.observe(&seen((3, 1), false)).unwrap();
    }
    assert!(controller.datapath.tables[&0].iter().all(|&id| id == 1));
}

#[tokio::test]
async fn backends_that_fail_together_are_out_before_any_table_is_filled() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in [2, 3] {
        for _ in 0..3 {
            waiting.send(seen((id, 1), false)).await.unwrap();
        }
    }
    let tables = controller.datapath.tables_written;
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Up, BackendState::Down, BackendState::Down]
    );
    assert_eq!(controller.datapath.tables_written, tables + 1);
}

#[tokio::test]
async fn only_silence_casts_doubt_on_the_way_and_once() {
    let mut rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    controller.observe(&seen((1, 1), false)).unwrap();
    assert!(rig.suspects.try_recv().is_err(), "a refusal is an answer");
    let silent = || Observation {
        result: Err(ProbeError::timeout(Duration::from_secs(1))),
        ..seen((1, 1), false)
    };
    controller.observe(&silent()).unwrap();
    controller.observe(&silent()).unwrap();
    assert_eq!(rig.suspects.try_recv(), Ok(backend(1).address));
    assert!(rig.suspects.try_recv().is_err());
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&silent()).unwrap();
    assert_eq!(rig.suspects.try_recv(), Ok(backend(1).address));
}

#[tokio::test]
async fn a_late_result_is_not_the_next_ones() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    controller.observe(&seen((1, 1), true)).unwrap();
    controller
        .change(Change::RemoveBackend {
            service: "web".into(),
            backend: "b1".into(),
        })
        .unwrap();
    controller
        .change(Change::AddBackend {
            service: "web".into(),
            backend: backend(1),
        })
        .unwrap();
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&controller), [BackendState::Free, BackendState::Down]);
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
    assert!(controller.datapath.tables[&0].iter().all(|&id| id == 1));
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
