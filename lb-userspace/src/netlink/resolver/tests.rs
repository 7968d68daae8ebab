//! Which neighbours are asked for, and when.

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const NEIGHBOUR: NeighbourKey = (2, ADDRESS);

/// A task that has told this of `ADDRESS`.
fn task(told: Option<Result<NextHop, String>>) -> Task {
    let (_, targets) = watch::channel(BTreeSet::new());
    let (_, suspects) = mpsc::channel(1);
    let (out, _) = mpsc::channel(1);
    Task {
        targets,
        suspects,
        out,
        told: told.map(|told| (ADDRESS, told)).into_iter().collect(),
        neighbours: BTreeMap::new(),
    }
}

fn asks(task: &mut Task, way: &Way, due: bool, known: Option<Neighbour>) -> bool {
    let known = known.map(|known| (NEIGHBOUR, known)).into_iter().collect();
    task.wanted(ADDRESS, way, due, &known) == Some(NEIGHBOUR)
}

fn failed() -> Way {
    Way::No {
        reason: "nobody answers".into(),
        neighbour: Some(NEIGHBOUR),
    }
}

#[test]
fn one_that_fails_is_asked_for_at_once_and_then_from_time_to_time() {
    let neighbour = Some(Neighbour::Failed);
    for told in [None, Some(Ok(NextHop::default()))] {
        assert!(asks(&mut task(told), &failed(), false, neighbour));
    }
    let mut told = task(Some(Err("nobody answers".into())));
    assert!(!asks(&mut told, &failed(), false, neighbour));
    assert!(asks(&mut told, &failed(), true, neighbour));
    assert_eq!(told.pause(), UNANSWERED);
}

#[test]
fn one_that_is_known_is_asked_for_only_in_doubt() {
    let found = |fresh| Way::Found {
        hop: NextHop::default(),
        neighbour: NEIGHBOUR,
        fresh,
    };
    let mut task = task(Some(Ok(NextHop::default())));
    for (fresh, due, wanted) in [(true, true, false), (false, false, false), (false, true, true)] {
        assert_eq!(asks(&mut task, &found(fresh), due, None), wanted, "{fresh} {due}");
    }
    assert_eq!(task.pause(), PERIOD);
}

#[test]
fn one_that_is_unknown_is_asked_for_once() {
    let way = Way::Unknown { neighbour: NEIGHBOUR };
    assert!(asks(&mut task(None), &way, false, None));
    assert!(!asks(&mut task(None), &way, false, Some(Neighbour::Asked)));
}

#[test]
fn a_way_that_names_no_neighbour_is_not_waited_for() {
    let mut task = task(Some(Err("no route".into())));
    task.neighbours.insert(ADDRESS, NEIGHBOUR);
    let no = Way::No {
        reason: "no route".into(),
        neighbour: None,
    };
    assert!(!asks(&mut task, &no, true, None));
    assert_eq!(task.pause(), PERIOD);
}
