//! Lanes: a family of clients and VIP, and one of backends. Tunnels join families, the other modes do not.

use std::net::{IpAddr, SocketAddr};

use xlb_tests::{Host, Lab, lab::Mode};

/// A lane of a mode; services of different lanes have different ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub mode: Mode,
    pub vip_is_v4: bool,
    pub backend_is_v4: bool,
}

impl Lane {
    /// All lanes of a mode.
    pub fn all(mode: Mode) -> Vec<Self> {
        let both = [true, false];
        let pairs = both
            .into_iter()
            .flat_map(|vip| both.map(|backend| (vip, backend)));
        let pairs = pairs.filter(|(vip, backend)| vip == backend || mode.encapsulates());
        pairs
            .map(|(vip_is_v4, backend_is_v4)| Self {
                mode,
                vip_is_v4,
                backend_is_v4,
            })
            .collect()
    }

    /// `4in6` and so on: what backends get, and in what.
    pub fn name(&self) -> String {
        let digit = |is_v4| if is_v4 { 4 } else { 6 };
        format!("{}in{}", digit(self.vip_is_v4), digit(self.backend_is_v4))
    }

    /// This lane's port of a service whose first lane has `first`: ports are rewritten nowhere.
    pub fn port(&self, first: u16) -> u16 {
        first + u16::from(self.vip_is_v4 != self.backend_is_v4)
    }

    pub fn vip(&self, lab: &Lab) -> IpAddr {
        if self.vip_is_v4 {
            lab.vip().into()
        } else {
            lab.vip6().into()
        }
    }

    /// Where clients find the service whose first lane has port `first`.
    pub fn at(&self, lab: &Lab, first: u16) -> SocketAddr {
        SocketAddr::new(self.vip(lab), self.port(first))
    }

    /// Where a server must listen that is to answer from the address that it was asked on.
    pub fn server(&self, lab: &Lab, backend: &Host, first: u16) -> SocketAddr {
        let ip = if self.mode.answers_directly() {
            self.vip(lab)
        } else {
            self.address(backend)
        };
        SocketAddr::new(ip, self.port(first))
    }

    /// A service of this lane on a port, with more lines before its backends.
    pub fn service(
        &self,
        lab: &Lab,
        (name, first, protocols): (&str, u16, &[&str]),
        more: &str,
        backends: &[Host],
    ) -> String {
        let at = self.at(lab, first);
        let vips: Vec<String> = protocols
            .iter()
            .map(|protocol| format!("\"{at}/{protocol}\""))
            .collect();
        let backends: String = backends
            .iter()
            .map(|host| {
                let address = self.address(host);
                format!(
                    "[[service.backend]]\nname = \"{}\"\naddress = \"{address}\"\n",
                    host.name
                )
            })
            .collect();
        format!(
            "[[service]]\nname = \"{name}-{}\"\nvip = [{}]\nmode = \"{}\"\n{more}{backends}\n",
            self.name(),
            vips.join(", "),
            self.mode.name()
        )
    }

    fn address(&self, backend: &Host) -> IpAddr {
        if self.backend_is_v4 {
            backend.addr.into()
        } else {
            backend.addr6.into()
        }
    }
}
