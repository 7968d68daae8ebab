//! Slots and times, without a data plane.

use super::*;

const TIMES: Times = Times {
    udp: Duration::from_secs(60),
    settle: Duration::from_secs(7200),
};
const QUIETLY: Turn = Turn {
    all_written: false,
    reopened: false,
    unsettled: false,
    scattered: false,
};

fn table(owner: u32) -> SlotTable {
    SlotTable::settled(&[owner; 1024], vec![owner])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The table after `owners`, and its settling from `now` on.
fn changed(old: &SlotTable, owners: &[u32], now: Instant) -> (SlotTable, Settling) {
    let new = passed(old, owners, Vec::new(), QUIETLY);
    let mut settling = Settling::adopt(old, now);
    settling.passed(old, &new, false, now);
    (new, settling)
}

#[test]
fn a_smaller_pool_repeats_its_slots_and_a_larger_one_splits_them() {
    let mut owners = vec![1; 1024];
    owners[1023] = 2;
    let grown = passed(&table(1), &[3; 4096], vec![], QUIETLY);
    assert_eq!(grown.bits().slots(), 4096);
    assert!(
        grown
            .slots()
            .iter()
            .all(|slot| slot.home() == 1 && slot.size() == grown.bits())
    );
    let repeated = passed(&grown, &owners, vec![1, 2], QUIETLY);
    assert_eq!(repeated.bits(), grown.bits());
    let second: Vec<_> = (0..4096)
        .filter(|&slot| repeated.slots()[slot].owner() == 2)
        .collect();
    assert_eq!(second, [4092, 4093, 4094, 4095]);
}

#[test]
fn what_is_as_it_was_stays_word_for_word() {
    let now = Instant::now();
    let (new, _) = changed(&table(1), &[2; 1024], now);
    assert_eq!(passed(&new, &[2; 1024], vec![], QUIETLY), new);
}

#[test]
fn a_further_change_begins_the_times_anew_and_the_same_again_does_not() {
    let start = Instant::now();
    let (first, mut settling) = changed(&table(1), &[2; 1024], start);
    settling.passed(
        &first,
        &passed(&first, &[2; 1024], vec![7], QUIETLY),
        false,
        start + seconds(50),
    );
    assert!(settling.is_due(start + seconds(60), TIMES));
    let second = passed(&first, &[3; 1024], vec![], QUIETLY);
    settling.passed(&first, &second, false, start + seconds(50));
    assert!(!settling.is_due(start + seconds(109), TIMES));
    let aged = settling.by_time(&second, start + seconds(110), TIMES);
    assert!(
        aged.len() == 1024
            && aged
                .iter()
                .all(|(_, slot)| slot.previous() == 1 && !slot.is_young())
    );
    let over = settling.by_time(&second, start + seconds(50 + 7200), TIMES);
    assert!(
        over.iter()
            .all(|(_, slot)| slot.previous() == 0 && slot.is_written())
    );
}

#[test]
fn a_census_that_began_too_early_says_nothing() {
    let start = Instant::now();
    let (mut table, mut settling) = changed(&table(1), &[2; 1024], start);
    let dropped = settling.by_time(&table, start + seconds(7200), TIMES);
    table.store(&dropped);
    settling.stored(&table, start + seconds(7200));
    let nowhere = Elsewhere::of(&table, &Places::default());
    let mut stores = |began| settling.by_census(&table, &nowhere, start + seconds(began)).len();
    assert_eq!([stores(7199), stores(7200), stores(7201)], [0, 0, 1024]);
}

#[test]
fn who_is_elsewhere_holds_only_its_own_slot() {
    let start = Instant::now();
    let written = passed(
        &passed(&table(1), &[2; 1024], vec![], QUIETLY),
        &[1; 1024],
        vec![],
        QUIETLY,
    );
    assert!(
        written
            .slots()
            .iter()
            .all(|slot| slot.is_written() && slot.previous() == 0)
    );
    let mut settling = Settling::adopt(&table(1), start);
    settling.passed(&table(1), &written, false, start);
    let places: Places = [(5 << 54, 2), (6 << 54, 1)].into_iter().collect();
    let found = Elsewhere::of(&written, &places);
    assert_eq!(found.owners, [1].into());
    assert!(settling.by_census(&written, &found, start).is_empty());
    let stores = settling.by_census(&written, &found, start);
    assert!(
        stores.len() == 1023
            && stores
                .iter()
                .all(|(index, slot)| *index != 5 && slot.is_settled())
    );
}

#[test]
fn an_owner_before_that_is_gone_is_let_go() {
    let (changed, _) = changed(&table(1), &[2; 1024], Instant::now());
    assert!(Settling::by_end_of(&changed, 9, false).is_empty());
    let stores = Settling::by_end_of(&changed, 1, false);
    assert!(stores.len() == 1024 && stores.iter().all(|(_, slot)| slot.previous() == 0));
    // While flows have another home than new ones, whatever comes must be written down.
    let stores = Settling::by_end_of(&changed, 1, true);
    assert!(stores.iter().all(|(_, slot)| slot.previous() == 2));
}
