//! What grows, and what packets meet there.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use lb_common::{flow::Protocol, limits, service::ForwardMode};
use xlb::datapath::load::Capacity;

use crate::{
    balancer::{Ports, Remembered, Served},
    frame::{self, Frame},
};

/// Something that grows, for flows of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Curve {
    what: What,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Services,
    Backends,
    Flows,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ipip,
    Nat,
    /// Tunnels again, with each flow written down.
    Written,
}

#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub curve: Curve,
    pub count: u32,
}

/// What a balancer is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    services: u32,
    backends: u32,
    flows: u32,
    written: u32,
}

const PORT: u16 = 80;
/// Where the number of a service stands in a frame's IPv4 header: the end of its destination.
const DESTINATION: i16 = 14 + 18;
/// Of each of many services.
const FEW_BACKENDS: u32 = 4;
/// Of one service.
const SOME_BACKENDS: u32 = 64;
const MANY_FLOWS: u32 = 100_000;

impl What {
    const fn counts(self) -> &'static [u32] {
        match self {
            Self::Services => &[1, 10, 100, 1_000, 10_000],
            Self::Backends => &[10, 100, 1_000, 10_000],
            Self::Flows => &[1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        }
    }
}

impl Curve {
    pub fn all() -> Vec<Self> {
        let kinds: [(What, &[Kind]); 3] = [
            (What::Services, &[Kind::Ipip, Kind::Nat]),
            (What::Backends, &[Kind::Ipip, Kind::Nat]),
            (What::Flows, &[Kind::Ipip, Kind::Nat, Kind::Written]),
        ];
        let curves = kinds
            .iter()
            .flat_map(|&(what, kinds)| kinds.iter().map(move |&kind| Self { what, kind }));
        curves.collect()
    }

    /// Whether the memory of the maps is of interest: with services and backends it is the same in each mode.
    pub fn shows_memory(self) -> bool {
        match self.what {
            What::Services | What::Backends => self.kind == Kind::Ipip,
            What::Flows => self.kind != Kind::Ipip,
        }
    }
}

impl Shape {
    pub const fn capacity(self) -> Capacity {
        Capacity {
            flows: self.flows,
            backends: self.backends,
            services: self.services,
            written: self.written,
        }
    }
}

impl Point {
    /// All points of these curves. What grows alike follows each other.
    pub fn of(curves: &[Curve]) -> impl Iterator<Item = Self> {
        [What::Services, What::Backends, What::Flows]
            .into_iter()
            .flat_map(|what| what.counts().iter().map(move |&count| (what, count)))
            .flat_map(|(what, count)| {
                let grows = curves.iter().filter(move |curve| curve.what == what);
                grows.map(move |&curve| Self { curve, count })
            })
    }

    pub const fn services(&self) -> u32 {
        match self.curve.what {
            What::Services => self.count,
            What::Backends | What::Flows => 1,
        }
    }

    const fn backends(&self) -> u32 {
        match self.curve.what {
            What::Services => FEW_BACKENDS,
            What::Backends => self.count,
            What::Flows => SOME_BACKENDS,
        }
    }

    pub const fn flows(&self) -> u32 {
        match self.curve.what {
            What::Services | What::Flows => self.count,
            What::Backends => MANY_FLOWS,
        }
    }

    /// One that is served under this id.
    pub fn served(&self, id: u32) -> Served {
        Served {
            vip: vip(id),
            protocol: Protocol::Tcp,
            ports: Ports::One(PORT),
            mode: match self.curve.kind {
                Kind::Ipip | Kind::Written => ForwardMode::Ipip,
                Kind::Nat => ForwardMode::Nat,
            },
            flows: match self.curve.kind {
                Kind::Ipip | Kind::Nat => Remembered::Settled,
                Kind::Written => Remembered::Written,
            },
            backends: self.backends(),
        }
    }

    /// With room for what there is, and for more flows: LRU tables take old entries before they are full, buckets of eight are full
    /// before all are.
    pub fn shape(&self) -> Shape {
        let flows = match (self.curve.what, self.curve.kind) {
            // Of services, for both modes the same.
            (What::Services, _) | (_, Kind::Nat) => self.flows(),
            (What::Backends | What::Flows, Kind::Ipip | Kind::Written) => 1,
        };
        let written = if self.curve.kind == Kind::Written {
            self.flows()
        } else {
            1
        };
        Shape {
            services: self.services().max(16),
            backends: (self.services() * self.backends()).max(16),
            flows: (flows + flows / 4).clamp(limits::FLOWS / 64, 1 << 24),
            written: (written * 2)
                .next_power_of_two()
                .clamp(limits::WRITTEN / 64, 1 << 24),
        }
    }

    /// A packet of flow 0. Where there are services, flows are those to each.
    pub fn frame(&self) -> Frame {
        let frame = frame::tcp((vip(0), PORT), frame::ACK, 0);
        match self.curve.what {
            What::Services => Frame {
                client: DESTINATION,
                ..frame
            },
            What::Backends | What::Flows => frame,
        }
    }
}

/// A wrapper writes the number of a service as it has it in a register: the low byte first.
fn vip(service: u32) -> IpAddr {
    let [low, high, ..] = service.to_le_bytes();
    Ipv4Addr::new(10, 64, low, high).into()
}

/// `nat/flows`.
impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Ipip => "ipip",
            Kind::Nat => "nat",
            Kind::Written => "written",
        };
        let what = match self.what {
            What::Services => "services",
            What::Backends => "backends",
            What::Flows => "flows",
        };
        write!(f, "{kind}/{what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_fits_what_the_agent_takes() {
        for point in Point::of(&Curve::all()) {
            let Capacity {
                services,
                backends,
                flows,
                written,
            } = point.shape().capacity();
            assert!(services <= 16_384 && backends <= 65_535, "{point:?}");
            assert!(flows <= 1 << 24 && written <= 1 << 24, "{point:?}");
            assert!(written.is_power_of_two());
            let room = match point.curve.kind {
                Kind::Ipip => u32::MAX,
                Kind::Nat => flows,
                Kind::Written => written,
            };
            assert!(room >= point.flows(), "{point:?}");
        }
    }

    #[test]
    fn the_modes_of_many_services_share_a_balancer() {
        let points: Vec<Point> = Point::of(&Curve::all()).collect();
        assert_eq!(
            (points[0].curve.to_string(), points[0].count),
            ("ipip/services".to_owned(), 1)
        );
        assert_eq!(
            (points[1].curve.to_string(), points[1].count),
            ("nat/services".to_owned(), 1)
        );
        assert!(points[0].shape() == points[1].shape());
        let written = points.last().unwrap();
        assert!(written.shape() != points[points.len() - 2].shape());
    }

    #[test]
    fn the_packets_of_many_services_go_to_each_in_turn() {
        let curve = Curve::all()[0];
        let frame = Point { curve, count: 10_000 }.frame();
        let at = usize::try_from(frame.client).unwrap();
        let mut bytes = frame.bytes;
        bytes[at..at + 2].copy_from_slice(&9_999_u16.to_ne_bytes());
        assert_eq!(
            IpAddr::from([bytes[30], bytes[31], bytes[32], bytes[33]]),
            vip(9_999)
        );
    }
}
