//! Who sends what where. With a mode in which backends answer directly, the switch is a router as well, past the balancer.

use super::address::{BALANCER, Net, PAST, PREFIX_LEN, PREFIX_LEN6, ROUTER, vip, vip6};
use super::mode::Mode;
use super::wiring::Families;

/// Host part of the VIP that backends have in modes that need it.
pub(super) const VIP: u8 = 10;

/// What decides about routes.
pub(super) struct Routes {
    pub families: Families,
    pub mode: Mode,
    /// The longest packet on the way from a router to the clients, which then are behind it.
    pub path_mtu: Option<u16>,
    /// The net of the backends.
    pub backends_in: Net,
    /// As there are more addresses than one in the balancer's only net.
    pub one_arm: bool,
}

impl Routes {
    /// Where the clients are.
    pub fn clients_in(&self) -> Net {
        if self.path_mtu.is_some() {
            Net::Far
        } else {
            Net::Front
        }
    }

    /// Clients send everything by the router if there is one, else by the balancer.
    pub fn of_client(&self) -> Vec<String> {
        match self.path_mtu {
            Some(_) => self.default_by(Net::Far, ROUTER),
            None => self.default_by(Net::Front, BALANCER),
        }
    }

    /// Backends answer as the mode has it; with the VIP they also have its addresses.
    pub fn of_backend(&self) -> Vec<String> {
        match self.mode {
            Mode::Nat => self.default_by(self.backends_in, BALANCER),
            Mode::FullNat => Vec::new(),
            Mode::Dsr | Mode::Ipip | Mode::Gue => {
                let mut lines = self.default_by(self.backends_in, PAST);
                if self.families.v4 {
                    lines.push(format!("addr add {}/32 dev lo", vip(VIP)));
                }
                if self.families.v6 {
                    lines.push(format!("addr add {}/128 dev lo nodad", vip6(VIP)));
                }
                lines
            }
        }
    }

    /// The balancer is in all nets but that of the clients behind a router.
    pub fn of_balancer(&self) -> Vec<String> {
        self.path_mtu.map_or_else(Vec::new, |_| self.to_far())
    }

    /// The router knows VIPs and backends by the balancer. Its own address towards the clients makes no route, for that
    /// would be one without the MTU.
    pub fn of_router(&self, device: &str) -> Vec<String> {
        let mtu = self.path_mtu.unwrap_or_default();
        let mut lines = self.default_by(Net::Front, BALANCER);
        if self.families.v4 {
            lines.push(format!("route add {} dev {device} mtu {mtu}", net4(Net::Far)));
        }
        if self.families.v6 {
            lines.push(format!("route add {} dev {device} mtu {mtu}", net6(Net::Far)));
        }
        lines
    }

    /// The addresses and routes of the switch, where it is the way past the balancer.
    pub fn of_switch(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let back = if self.one_arm { "br-front" } else { "br-back" };
        for (net, device) in [(Net::Front, "br-front"), (Net::Back, back)] {
            if self.families.v4 {
                lines.push(format!("addr add {}/{PREFIX_LEN} dev {device}", net.v4(PAST)));
            }
            if self.families.v6 {
                lines.push(format!(
                    "addr add {}/{PREFIX_LEN6} dev {device} nodad",
                    net.v6(PAST)
                ));
            }
        }
        if self.path_mtu.is_some() {
            lines.extend(self.to_far());
        }
        lines
    }

    fn to_far(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.families.v4 {
            lines.push(format!(
                "route add {} via {}",
                net4(Net::Far),
                Net::Front.v4(ROUTER)
            ));
        }
        if self.families.v6 {
            lines.push(format!(
                "route add {} via {}",
                net6(Net::Far),
                Net::Front.v6(ROUTER)
            ));
        }
        lines
    }

    fn default_by(&self, net: Net, number: u8) -> Vec<String> {
        let mut lines = Vec::new();
        if self.families.v4 {
            lines.push(format!("route add default via {}", net.v4(number)));
        }
        if self.families.v6 {
            lines.push(format!("route add ::/0 via {}", net.v6(number)));
        }
        lines
    }
}

fn net4(net: Net) -> String {
    format!("{}/{PREFIX_LEN}", net.v4(0))
}

fn net6(net: Net) -> String {
    format!("{}/{PREFIX_LEN6}", net.v6(0))
}
