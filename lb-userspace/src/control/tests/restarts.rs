//! What an agent does that finds the data plane of an earlier one.

use super::*;

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
        [BackendState::Up, BackendState::Drain, BackendState::Free],
        "the backend of a service that is there drains first"
    );
    assert_eq!(second.datapath.snapshot.services.len(), 1);
    assert_eq!(second.datapath.tables.len(), 1);
}
