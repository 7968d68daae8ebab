//! A table of another size is swapped in before its service's entry says so.

use anyhow::Result;
use lb_common::slot::{Slot, SlotBits};
use xlb::datapath::SlotTable;
use xlb_tests::preflight;

use super::{SERVICE, Scene, connection, hash};
use crate::wire::{ACK, SYN};

/// A table in which neighbours have different owners.
fn table(bits: SlotBits) -> SlotTable {
    SlotTable::filled(bits, vec![3, 1, 2], |index| {
        Slot::settled(1 + index * 7 % 3, bits)
    })
}

#[test]
fn every_packet_finds_its_slot_in_a_table_of_any_size() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::new(3)?;
    for bits in 10..=16 {
        let table = table(SlotBits::new(bits));
        scene.rig.put_table(SERVICE, &table)?;
        for thought in 10..=16 {
            scene.tune(|entry| entry.slot_bits = thought)?;
            for port in 1..100 {
                let owner = table.slot(hash(&connection(port))).owner();
                for flags in [SYN, ACK] {
                    assert_eq!(
                        scene.segment(port, flags)?,
                        owner,
                        "port {port}: {bits} bits, thought to be {thought}"
                    );
                }
            }
        }
    }
    assert_eq!(scene.rig.written().count(), 0);
    Ok(())
}

#[test]
fn a_table_grows_without_moving_a_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::new(3)?;
    let small = table(SlotBits::MIN);
    scene.rig.put_table(SERVICE, &small)?;
    let before = (1..300).map(|port| scene.segment(port, SYN));
    let before: Vec<u32> = before.collect::<Result<_>>()?;
    for bits in 11..=16 {
        let size = SlotBits::new(bits);
        let grown = |index: u32| small.slots()[(index >> (bits - 10)) as usize].sized(size);
        let large = SlotTable::filled(size, small.members.clone(), grown);
        scene.rig.put_table(SERVICE, &large)?;
        for entry_bits in [10, u8::try_from(bits)?] {
            scene.tune(|entry| entry.slot_bits = entry_bits)?;
            for (port, &id) in (1..).zip(&before) {
                assert_eq!(scene.segment(port, ACK)?, id, "{bits} bits");
            }
        }
    }
    Ok(())
}
