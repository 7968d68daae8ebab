//! What becomes of flows: slots from one change to the next, backends that leave, counters that are put right.

use lb_common::{
    service::{Picker, Service, service_flags},
    slot::{Slot, SlotBits},
};

use super::*;
use crate::{
    config::{Algorithm, Mode, ServiceChange},
    control::clock,
    datapath::{Datapath as _, SlotTable, sweep::Census, written_table::Places},
};

fn table(controller: &Controller<MemoryDatapath>) -> &SlotTable {
    &controller.datapath.tables[&0]
}

fn entry(controller: &Controller<MemoryDatapath>) -> Service {
    *controller.datapath.snapshot.services.values().next().unwrap()
}

pub(super) fn remove(name: &str) -> Change {
    Change::RemoveBackend {
        service: "web".into(),
        backend: name.into(),
    }
}

fn add(number: u8) -> Change {
    Change::AddBackend {
        service: "web".into(),
        backend: backend(number),
    }
}

fn set(change: ServiceChange) -> Change {
    Change::SetService {
        service: "web".into(),
        set: change,
    }
}

fn choose(algorithm: Algorithm) -> Change {
    set(ServiceChange {
        algorithm: Some(algorithm),
        ..ServiceChange::default()
    })
}

pub(super) fn pass(controller: &mut Controller<MemoryDatapath>, seconds: u64) {
    clock::advance(Duration::from_secs(seconds));
    controller.settle().unwrap();
}

/// A census that has found these flows, each by a hash of its slot and its backend.
pub(super) fn count(controller: &mut Controller<MemoryDatapath>, flows: &[(u64, u32)]) {
    let mut census = Census::empty(clock::now());
    for (_, backend) in flows {
        *census.written.flows.entry(*backend).or_default() += 1;
        *census.written.active.entry(*backend).or_default() += 1;
        *census.written.active_of_services.entry(0).or_default() += 1;
    }
    let places: Places = flows.iter().copied().collect();
    census.written.places.insert(0, places);
    controller.counted(census).unwrap();
    controller.settle().unwrap();
}

pub(super) fn all(controller: &Controller<MemoryDatapath>, is: impl Fn(Slot) -> bool) -> bool {
    table(controller).slots().iter().all(|slot| is(*slot))
}

/// A hash of a slot.
fn hash_of(slot: usize) -> u64 {
    (slot as u64) << (64 - SlotBits::MIN.bits())
}

/// In a mode without translation, where nothing is known of flows that are not written down.
pub(super) fn dsr(backends: u8) -> ServiceSpec {
    let mut spec = service("web", 1, backends);
    spec.mode = Mode::Dsr;
    spec.backends.iter_mut().for_each(|backend| backend.port = None);
    spec
}

#[tokio::test]
async fn a_change_goes_through_all_states_of_a_slot() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    assert!(all(&controller, Slot::is_settled));
    controller.change(drain("b2")).unwrap();
    let moved = |controller: &_, slot: Slot| all(controller, |one| one.owner() == 1) && slot.home() == 2;
    let at = table(&controller)
        .slots()
        .iter()
        .position(|slot| slot.previous() == 2)
        .unwrap();
    let slot = |controller: &Controller<_>| table(controller).slots()[at];
    assert!(moved(&controller, slot(&controller)) && slot(&controller).is_young());
    pass(&mut controller, 61);
    assert!(moved(&controller, slot(&controller)) && !slot(&controller).is_young());
    // A census says nothing as long as there are flows that are not written down.
    count(&mut controller, &[]);
    count(&mut controller, &[]);
    assert_eq!(slot(&controller).previous(), 2);
    pass(&mut controller, 7200);
    assert_eq!(
        slot(&controller),
        Slot::settled(1, SlotBits::MIN)
            .passed_to(2, false)
            .passed_to(1, false)
    );
    // Somebody is elsewhere, then at home, and two censuses have to say so.
    count(&mut controller, &[(hash_of(at), 2)]);
    count(&mut controller, &[(hash_of(at), 1)]);
    assert!(slot(&controller).is_written());
    let written = (
        controller.datapath.tables_written,
        controller.datapath.words.clone(),
    );
    count(&mut controller, &[(hash_of(at), 1)]);
    assert!(all(&controller, Slot::is_settled));
    assert_eq!(
        written,
        (
            controller.datapath.tables_written,
            controller.datapath.words.clone()
        )
    );
}

#[tokio::test]
async fn two_changes_keep_the_first_owner_and_a_restart_in_the_middle_keeps_all() {
    let rig = Rig::new();
    let file = [service("web", 1, 2)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let owners_before = owners(&controller, 0);
    for change in [add(3), add(4)] {
        controller.change(change).unwrap();
    }
    for number in 3..=4 {
        controller
            .resolved(backend(number).address, Ok(way()), None)
            .unwrap();
    }
    controller.settle().unwrap();
    let homes: Vec<_> = table(&controller)
        .slots()
        .iter()
        .map(|slot| slot.home())
        .collect();
    assert_eq!(homes, owners_before);
    pass(&mut controller, 3000);
    let before = controller.datapath.clone();
    let mut controller = rig.start(controller.datapath, &file);
    assert_eq!(controller.datapath.tables, before.tables);
    assert_eq!(controller.datapath.tables_written, before.tables_written);
    // Its times begin anew.
    pass(&mut controller, 7199);
    assert!(all(&controller, |slot| slot.home() != 3));
    pass(&mut controller, 2);
    assert!(all(&controller, |slot| slot.previous() == 0));
}

#[tokio::test]
async fn a_table_grows_with_its_pool_and_every_hash_keeps_its_home() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    let before = table(&controller).clone();
    for number in 3..=12 {
        controller.change(add(number)).unwrap();
    }
    let grown = table(&controller);
    assert_eq!((before.bits().slots(), grown.bits().slots()), (1024, 2048));
    assert_eq!(entry(&controller).slot_bits, 11);
    for slot in 0..2048_u64 {
        let hash = slot << 53;
        assert_eq!(grown.slot(hash).home(), before.slot(hash).owner());
    }
    for number in 3..=12 {
        controller.change(remove(&format!("b{number}"))).unwrap();
    }
    // It never shrinks: the slots of a smaller one are repeated.
    assert_eq!(table(&controller).bits().slots(), 2048);
    let owners = owners(&controller, 0);
    assert!(owners.chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        owners.iter().step_by(2).copied().collect::<Vec<_>>(),
        before.slots().iter().map(|slot| slot.owner()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_backend_that_was_down_is_scattered_until_nobody_is_elsewhere() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    count(&mut controller, &[]);
    assert!(word(&controller, 2).is_scattered(), "one census is not enough");
    count(&mut controller, &[]);
    assert!((1..=3).all(|id| word(&controller, id).is_plain()));
    let tables = controller.datapath.tables.clone();
    for passed in [false, false, false, true, true] {
        controller.observe(&seen((2, 1), passed)).unwrap();
    }
    assert_eq!(controller.datapath.tables, tables);
    assert!(word(&controller, 2).is_scattered() && word(&controller, 2).takes_new_flows());
    // Over a restart, too.
    let mut controller = rig.start(controller.datapath, &[checked(service("web", 1, 3))]);
    let at = owners(&controller, 0)
        .iter()
        .position(|&owner| owner == 2)
        .unwrap();
    count(&mut controller, &[]);
    count(&mut controller, &[(hash_of(at), 1)]);
    count(&mut controller, &[(hash_of(at), 2)]);
    assert!(word(&controller, 2).is_scattered());
    count(&mut controller, &[(hash_of(at), 2)]);
    assert!(word(&controller, 2).is_plain());
}

#[tokio::test]
async fn another_algorithm_leaves_flows_their_home_for_as_long_as_any_can_live() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    controller.change(choose(Algorithm::Source)).unwrap();
    let found = entry(&controller);
    assert_eq!(
        (found.picker, found.home),
        (Picker::Source.wire(), Picker::Maglev.wire())
    );
    assert_ne!(found.flags & service_flags::UNSETTLED, 0);
    assert!(all(&controller, |slot| slot.previous() == slot.owner()
        && slot.is_young()));
    pass(&mut controller, 7199);
    assert_eq!(entry(&controller).home, Picker::Maglev.wire());
    pass(&mut controller, 2);
    assert_eq!(entry(&controller).home, Picker::Source.wire());
    assert_eq!(entry(&controller).flags & service_flags::UNSETTLED, 0);
    assert!(all(&controller, Slot::is_written), "by the home before");
    // Wherever the slots of their new home are: as long as any is left, all are looked up.
    let here = owners(&controller, 0)[7];
    count(&mut controller, &[(hash_of(7), here)]);
    count(&mut controller, &[(hash_of(7), here)]);
    assert!(all(&controller, Slot::is_written));
    let mut controller = rig.start(controller.datapath, &[service("web", 1, 2)]);
    count(&mut controller, &[(hash_of(7), here)]);
    count(&mut controller, &[(hash_of(7), here)]);
    assert!(all(&controller, Slot::is_written));
    for _ in 0..3 {
        count(&mut controller, &[]);
    }
    assert!(all(&controller, |slot| slot.previous() != 0 || slot.is_settled()));
}

#[tokio::test]
async fn a_service_that_has_translated_looks_back() {
    let rig = Rig::new();
    let first = rig.start(MemoryDatapath::default(), &[service("web", 1, 2)]);
    assert_eq!(entry(&first).flags & service_flags::LOOKS_BACK, 0);
    let mut file = service("web", 1, 2);
    file.mode = Mode::Ipip;
    let file = [file];
    let second = rig.start(first.datapath, &file);
    assert_ne!(entry(&second).flags & service_flags::LOOKS_BACK, 0);
    let third = rig.start(second.datapath, &file);
    assert_ne!(entry(&third).flags & service_flags::LOOKS_BACK, 0);
}

#[tokio::test]
async fn counters_are_put_right_and_a_new_owner_of_an_id_starts_from_nothing() {
    let rig = Rig::new();
    let mut file = dsr(2);
    file.algorithm = Algorithm::LeastConn;
    let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&file));
    controller.datapath.loads = [(1, 7), (2, -2)].into();
    controller.datapath.service_loads = [(0, 5)].into();
    let mut census = Census::empty(clock::now());
    census.backend_loads.before = vec![0, 7, -2];
    census.backend_loads.after = vec![0, 7, -2];
    census.service_loads.before = vec![5];
    census.service_loads.after = vec![5];
    census.written.active = [(1, 4), (2, 1)].into();
    census.written.active_of_services = [(0, 5)].into();
    controller.counted(census).unwrap();
    assert_eq!(controller.datapath.loads, [(1, 4), (2, 1)].into());
    assert_eq!(controller.datapath.service_loads, [(0, 5)].into());
    assert_eq!(controller.drift, [(1, -3), (2, 3)].into());
    controller.change(remove("b2")).unwrap();
    pass(&mut controller, 601);
    for number in [3, 4] {
        let mut backend = backend(number);
        backend.port = None;
        controller
            .change(Change::AddBackend {
                service: "web".into(),
                backend,
            })
            .unwrap();
    }
    assert_eq!(controller.datapath.backend_load(3), 0);
}
