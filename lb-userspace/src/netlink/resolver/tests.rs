//! Which neighbours are asked for, and when.

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const NEIGHBOUR: NeighbourKey = (2, ADDRESS);

fn resolution(hop: Result<Egress, String>) -> Resolution {
    Resolution {
        address: ADDRESS,
        hop,
        gateway: None,
        interface: None,
    }
}

/// A task that has told this of `ADDRESS`.
fn task(told: Option<Result<Egress, String>>) -> Task {
    let (_, targets) = watch::channel(BTreeSet::new());
    let (_, suspects) = mpsc::channel(1);
    let (out, _) = mpsc::channel(1);
    Task {
        targets,
        suspects,
        out,
        told: told.map(|hop| (ADDRESS, resolution(hop))).into_iter().collect(),
        told_vlans: None,
        neighbours: BTreeMap::new(),
        doubts: Doubts::default(),
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
    for told in [None, Some(Ok(Egress::default()))] {
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
        hop: Egress::default(),
        gateway: None,
        neighbour: NEIGHBOUR,
        fresh,
    };
    let mut task = task(Some(Ok(Egress::default())));
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

#[tokio::test]
async fn only_what_has_changed_is_told() {
    let (out, mut heard) = mpsc::channel(8);
    let mut task = Task { out, ..task(None) };
    let links = BTreeMap::new();
    let found = |gateway| Way::Found {
        hop: Egress::default(),
        gateway,
        neighbour: NEIGHBOUR,
        fresh: true,
    };
    let unknown = Way::Unknown { neighbour: NEIGHBOUR };
    for way in [found(None), found(None), unknown, found(Some(ADDRESS)), failed()] {
        task.tell(ADDRESS, way, &links).await.unwrap();
    }
    let device = VlanDevice::default();
    for devices in [[].into(), [].into(), [(4, device)].into()] {
        task.tell_vlans(devices).await.unwrap();
    }
    drop(task);
    let mut told = Vec::new();
    while let Some(news) = heard.recv().await {
        told.push(news);
    }
    let way = |gateway, hop| {
        News::Way(Resolution {
            gateway,
            ..resolution(hop)
        })
    };
    let expected = [
        way(None, Ok(Egress::default())),
        way(Some(ADDRESS), Ok(Egress::default())),
        way(None, Err("nobody answers".into())),
        News::VlanDevices([].into()),
        News::VlanDevices([(4, device)].into()),
    ];
    assert_eq!(told, expected);
}
