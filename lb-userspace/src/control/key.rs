//! VIPs as the data plane's keys.

use lb_common::service::ServiceKey;

use crate::config::Vip;

/// The key of a VIP in the table of services.
#[must_use]
pub fn of(vip: &Vip) -> ServiceKey {
    ServiceKey {
        vip: vip.address.into(),
        port: vip.port.to_be(),
        protocol: u16::from(vip.protocol.number()),
    }
}
