//! VIPs that are more than one port of one address, and what they do beside their services.

use lb_common::{
    maps::switches,
    service::{Unserved, vip_flags},
};

use super::*;
use crate::config::{self, Mode};

fn spec(name: &str, vips: &[&str], backends: u8) -> ServiceSpec {
    let mut spec = service(name, 1, backends);
    spec.vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
    spec
}

fn ids_of(controller: &Controller<MemoryDatapath>, names: &[&str]) -> Vec<u32> {
    names
        .iter()
        .map(|name| controller.ids.service(name).unwrap())
        .collect()
}

#[tokio::test]
async fn a_restart_knows_ranges_and_networks_again() {
    let rig = Rig::new();
    let mut file = vec![
        spec("one", &["198.51.100.0/24:8001/tcp"], 1),
        spec("range", &["198.51.100.0/24:8001-8002/tcp"], 1),
        spec("all", &["192.0.2.1:*/udp"], 1),
        spec("web", &["192.0.2.1:80/tcp"], 1),
    ];
    let names = ["one", "range", "all", "web"];
    let first = rig.start(MemoryDatapath::default(), &file);
    let (ids, before) = (ids_of(&first, &names), first.datapath.snapshot.clone());
    file.reverse();
    let second = rig.start(first.datapath, &file);
    assert_eq!(ids_of(&second, &names), ids);
    let after = &second.datapath.snapshot;
    assert_eq!(
        (&after.services, &after.ports, &after.vips, &after.networks),
        (&before.services, &before.ports, &before.vips, &before.networks)
    );
    assert_eq!(second.datapath.tables_written, 4, "tables that are right already");
}

#[tokio::test]
async fn what_a_service_took_goes_with_it_and_switches_with_their_tables() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[]);
    assert_eq!(controller.datapath.snapshot.switches, 0);
    let add = |name: &str, vip: &str, mode| {
        let mut service = spec(name, &[vip], 1);
        service.mode = mode;
        for backend in &mut service.backends {
            backend.port = backend.port.filter(|_| mode == Mode::Nat);
        }
        Change::AddService { service }
    };
    controller
        .change(add("dsr", "192.0.2.1:80/tcp", Mode::Dsr))
        .unwrap();
    assert_eq!(controller.datapath.snapshot.switches, 0);
    controller
        .change(add("nat", "198.51.100.0/24:*/tcp", Mode::Nat))
        .unwrap();
    let all = switches::NETWORKS | switches::REPLIES | switches::HAIRPINS;
    assert_eq!(controller.datapath.snapshot.switches, all);
    for service in ["nat", "dsr"] {
        let service = service.to_owned();
        controller.change(Change::RemoveService { service }).unwrap();
    }
    // Flows of it may live on.
    let left = &controller.datapath.snapshot;
    assert_eq!(left.switches, switches::REPLIES);
    assert!(left.services.is_empty() && left.ports.is_empty() && left.vips.is_empty());
    assert!(left.networks.is_empty() && left.hairpins.is_empty());
    let restarted = rig.start(controller.datapath, &[]);
    assert_eq!(restarted.datapath.snapshot.switches, switches::REPLIES);
}

#[tokio::test]
async fn a_policy_holds_over_a_restart_and_only_for_a_vip_that_there_is() {
    let rig = Rig::new();
    let file = [service("web", 1, 1)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let set = |address: &str| Change::SetVip {
        address: address.parse().unwrap(),
        unserved: Some(config::Unserved::Reset),
        ping: Some(false),
    };
    let refusal = controller.change(set("192.0.2.9")).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "vip 192.0.2.9: no service has it: 'xlb vip list' shows those that there are"
    );
    let policy = |controller: &Controller<MemoryDatapath>| {
        let vips: Vec<_> = controller.datapath.snapshot.vips.values().collect();
        (vips[0].unserved, vips[0].flags)
    };
    assert_eq!(policy(&controller), (Unserved::Auto.wire(), vip_flags::ECHO));
    controller.change(set("192.0.2.1")).unwrap();
    assert_eq!(policy(&controller), (Unserved::Reset.wire(), 0));
    let mut restarted = rig.start(controller.datapath, &file);
    assert_eq!(policy(&restarted), (Unserved::Reset.wire(), 0));
    // It waits for its VIP.
    let gone = Change::RemoveService {
        service: "web".into(),
    };
    restarted.change(gone).unwrap();
    assert!(restarted.datapath.snapshot.vips.is_empty());
    restarted
        .change(Change::AddService {
            service: service("web", 1, 1),
        })
        .unwrap();
    assert_eq!(policy(&restarted), (Unserved::Reset.wire(), 0));
}

#[tokio::test]
async fn a_source_of_translated_flows_becomes_no_vip() {
    let rig = Rig::new();
    let mut config = Config::default();
    config.node.state_dir = rig.state.path().to_owned();
    config.node.sources = vec!["192.0.2.1".parse().unwrap()];
    let (_waiting, observations) = results::channel(1);
    let datapath = MemoryDatapath::default();
    let mut controller = Controller::adopt(datapath, &config, rig.outlets, observations).unwrap();
    let refusal = controller.change(Change::AddService {
        service: service("web", 1, 1),
    });
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "node: sources: 192.0.2.1 is a VIP of service \"web\": give the VIP or the source another address"
    );
}

#[tokio::test]
async fn a_route_is_to_go_while_nobody_serves_at_its_vip() {
    let rig = Rig::new();
    let mut web = checked(spec("web", &["192.0.2.1:80/tcp", "192.0.2.2:80/tcp"], 1));
    web.withdraw = true;
    let mut dns = checked(spec("dns", &["192.0.2.2:53/tcp", "192.0.2.3:53/tcp"], 1));
    dns.backends[0].address = [10, 0, 0, 9].into();
    let mut controller = rig.start(MemoryDatapath::default(), &[web, dns]);
    let announced = |controller: &Controller<MemoryDatapath>| {
        let vips = controller.vips().into_iter();
        vips.map(|vip| vip.announce).collect::<Vec<_>>()
    };
    let key = |controller: &Controller<MemoryDatapath>, name| controller.key_of(name, "b1").unwrap();
    let (web, dns) = (key(&controller, "web"), key(&controller, "dns"));
    // Nobody has been heard of. Only where a service withdraws does that matter.
    assert_eq!(announced(&controller), [false, false, true]);
    controller.observe(&seen(dns, true)).unwrap();
    assert_eq!(announced(&controller), [false, true, true]);
    controller.observe(&seen(web, true)).unwrap();
    assert_eq!(announced(&controller), [true, true, true]);
    for _ in 0..3 {
        controller.observe(&seen(dns, false)).unwrap();
    }
    assert_eq!(announced(&controller), [true, true, true]);
    for _ in 0..3 {
        controller.observe(&seen(web, false)).unwrap();
    }
    assert_eq!(announced(&controller), [false, false, true]);
}
