//! Where the checks of a backend go: straight to it, or to the VIP by the data path.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use lb_common::flow::Protocol;

use super::{CheckKey, Controller};
use crate::{
    config::{BackendSpec, Listeners, ServiceSpec},
    datapath::Datapath,
    health::{Course, ProbeError, Way, through::Through},
};

/// Where a check's probes go.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Aim {
    To(Course),
    /// By the data path, and the way has not been looked up yet.
    Unknown,
    /// By the data path, where nothing is the service's own: why.
    Shadowed(String),
}

impl Aim {
    const fn way(&self) -> Option<&Way> {
        match self {
            Self::To(course) => course.way(),
            Self::Unknown | Self::Shadowed(_) => None,
        }
    }

    /// What is asked by the data path.
    pub(super) fn vip(&self) -> Option<SocketAddr> {
        self.way().map(|way| way.via.vip)
    }

    pub(super) const fn is_direct(&self) -> bool {
        matches!(self, Self::To(Course::Direct))
    }

    /// Where a probe goes that is made now.
    pub(super) fn course(&self) -> Course {
        match self {
            Self::To(course) => course.clone(),
            Self::Unknown => Course::Nowhere(ProbeError::ours(
                "the way to the backend has not been looked up yet: try again",
            )),
            Self::Shadowed(why) => Course::Nowhere(ProbeError::ours(why.clone())),
        }
    }

    /// Whether probes that go this way have to go by another aim. A way that is lost for a moment is no reason to stop asking, unless
    /// they would ask what is another service's by now.
    pub(super) fn gives_way_to(&self, new: &Self, asked: Option<&Result<SocketAddr, String>>) -> bool {
        let is_asked = |vip| asked.is_some_and(|asked| asked.as_ref() == Ok(&vip));
        if !self.vip().is_none_or(is_asked) {
            return true;
        }
        match (self, new) {
            (_, Self::Unknown) | (Self::To(Course::Through(_)), Self::To(Course::Nowhere(_))) => false,
            (old, new) => old != new,
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Where a check of a backend goes, of which `asked` says what it asks by the data path, if that is its way.
    pub(super) fn aim_of(
        &self,
        (id, generation): CheckKey,
        service: &ServiceSpec,
        backend: &BackendSpec,
        asked: Option<&Result<SocketAddr, String>>,
        listeners: &Listeners<'_>,
    ) -> Aim {
        let Some((vip, path)) = asked.zip(self.outlets.path.as_ref()) else {
            return Aim::To(Course::Direct);
        };
        let vip = match vip {
            Ok(vip) => *vip,
            Err(why) => return Aim::Shadowed(why.clone()),
        };
        let mode = service.mode.forward();
        let Some(service) = self.ids.service(&service.name) else {
            return Aim::Unknown;
        };
        let source = match self.source(backend, vip.ip(), listeners) {
            Ok(source) => source,
            Err(aim) => return aim,
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
        Aim::To(Course::Through(Way {
            path: path.clone(),
            via,
            mode,
        }))
    }

    /// The address of this host, of the VIP's family, that a backend answers; else the aim of its checks without one.
    /// Packets for a VIP are for services, before they could be for a probe.
    fn source(&self, backend: &BackendSpec, vip: IpAddr, listeners: &Listeners<'_>) -> Result<IpAddr, Aim> {
        let nowhere = |error| Aim::To(Course::Nowhere(error));
        let Some(way) = self.hops.get(backend.address) else {
            let lost = self.hops.lost(backend.address);
            let silence = lost.map(|reason| ProbeError::silence(format!("no way to it: {reason}")));
            return Err(silence.map_or(Aim::Unknown, nowhere));
        };
        let ours = [way.source, self.outlets.own.v4, self.outlets.own.v6];
        let mut ours = ours
            .into_iter()
            .filter(|address| !address.is_none())
            .map(IpAddr::from);
        let found = ours.find(|address| address.is_ipv4() == vip.is_ipv4() && !listeners.is_vip(*address));
        found.ok_or_else(|| {
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            nowhere(ProbeError::ours(format!(
                "this host has no {family} address of its own that the backend could answer: give it one, and start the agent anew"
            )))
        })
    }

    /// Lets go of the ports of probes that have rested: where nobody probes any more, nobody else does.
    pub(super) fn let_ports_go(&self, now: Instant) {
        if let Some(Err(error)) = self.outlets.path.as_ref().map(|path| path.let_go(now)) {
            log::warn!("ports of probes: {error:#}");
        }
    }

    /// Whether any check goes by the data path.
    pub(super) fn probes_through(&self) -> bool {
        self.watched
            .values()
            .any(|one| one.aims.iter().any(|aim| aim.way().is_some()))
    }
}
