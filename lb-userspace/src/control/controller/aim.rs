//! Where the checks of a backend go: straight to it, or to the VIP by the data path.

use std::net::{IpAddr, SocketAddr};

use lb_common::flow::Protocol;

use super::{CheckKey, Controller};
use crate::{
    config::{BackendSpec, CheckSpec, Network, ServiceSpec},
    datapath::Datapath,
    health::{Way, through::Through},
};

/// Where a check's probes go.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    Direct,
    Through(Way),
    /// By the data path, and this host has no address yet that the backend could answer.
    Unknown,
}

impl Aim {
    pub(super) const fn way(&self) -> Option<&Way> {
        match self {
            Self::Through(way) => Some(way),
            Self::Direct | Self::Unknown => None,
        }
    }
}

impl PartialEq for Aim {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Direct, Self::Direct) | (Self::Unknown, Self::Unknown) => true,
            (Self::Through(one), Self::Through(other)) => one.is_same(other),
            _ => false,
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Where a check of a backend goes.
    pub(super) fn aim_of(
        &self,
        (id, generation): CheckKey,
        service: &ServiceSpec,
        backend: &BackendSpec,
        check: &CheckSpec,
    ) -> Aim {
        let vip = service.check_vip(check);
        let Some((vip, path)) = vip.zip(self.outlets.path.as_ref()) else {
            return Aim::Direct;
        };
        let mode = service.mode.forward();
        let found = self
            .source(backend, vip.ip())
            .zip(self.ids.service(&service.name));
        let Some((source, service)) = found else {
            return Aim::Unknown;
        };
        let server = if mode.translates() {
            SocketAddr::new(backend.address, backend.port.unwrap_or(vip.port()))
        } else {
            vip
        };
        let via = Through {
            backend: id,
            generation,
            service,
            protocol: Protocol::Tcp,
            vip,
            server,
            source,
        };
        Aim::Through(Way {
            path: path.clone(),
            via,
            mode,
        })
    }

    /// The address of this host, of the VIP's family, that a backend answers.
    fn source(&self, backend: &BackendSpec, vip: IpAddr) -> Option<IpAddr> {
        let way = self.hops.get(backend.address)?;
        let ours = [way.source, self.outlets.own.v4, self.outlets.own.v6];
        let mut ours = ours
            .into_iter()
            .filter(|address| !address.is_none())
            .map(IpAddr::from);
        ours.find(|address| address.is_ipv4() == vip.is_ipv4() && !self.is_vip(*address))
    }

    /// Whether packets for an address are for services, before they could be for a probe.
    fn is_vip(&self, address: IpAddr) -> bool {
        let address = Network::new(address, u8::MAX);
        let mut services = self.served.services.iter();
        services.any(|service| service.vips.iter().any(|vip| vip.network.contains(address)))
    }

    /// Whether any check goes by the data path.
    pub(super) fn probes_through(&self) -> bool {
        self.watched
            .values()
            .any(|one| one.aims.iter().any(|aim| aim.way().is_some()))
    }
}
