//! IP in IP: RFC 2003 (4in4), RFC 2473 (4in6 and 6in6), RFC 4213 (6in4).

use lb_common::outcome::Outcome;

use crate::{forward::outer, frame::Frame, stage::Stage};

#[inline(always)]
pub fn apply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let protocol = outer::protocol(stage.packet.is_v4());
    outer::write(frame, stage, protocol, 0).map(|_| ())
}
