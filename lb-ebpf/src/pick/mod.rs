//! A backend for a packet: that of its flow, or one for a flow that has none.

mod choose;
mod home;
mod pool;
mod quic;

pub use choose::Walk;
pub use home::{hash_of, hash_of_answered, hash_of_flow};

use lb_common::{limits, outcome::Outcome, pick::Opens};

use crate::{
    admit, backend, client, copy, flow,
    frame::Frame,
    stage::{Stage, stages},
};

stages! {
    /// Finds the backend of a client's packet: `stage.chosen`, with `stage.mode` and the source that it is translated to.
    /// `stage.is_new` says whether a flow begins.
    pub fn backend as xlb_backend = decide;

    /// Finds the backend of the flow that an ICMP error is about, as far as its slot or what is written down says: `stage.chosen`.
    ///
    /// # Errors
    /// [`Outcome::NoBackend`] where nobody is up, [`Outcome::ErrorUnknown`] where those that are have no room for such a flow: then nobody
    /// has it.
    pub fn of_quoted as xlb_error_flow = recall;

    /// Finds the backend for a new flow that is translated.
    fn new_translated as xlb_pick = open;
}

#[inline(always)]
fn decide(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    stage.named = quic::named(frame, stage).unwrap_or(limits::NO_BACKEND);
    stage.is_new = 0;
    let translates = flow::translates(stage.service.mode);
    let has_ports = stage.packet.flow.destination_port != 0;
    if flow::may_be_known(stage) && has_ports && flow::follow(frame, stage).is_ok() {
        return Ok(());
    }
    let opens = home::opens(&stage.service, &stage.packet);
    // Of a flow that is not translated, a TCP packet that is not the first is let through: whoever it reaches has sent none before.
    if (translates || opens != Opens::Later) && client::is_refused(&stage.packet.flow.source) {
        return Err(Outcome::BadSource);
    }
    (stage.mode, stage.source_port) = (stage.service.mode, 0);
    copy::zeros(&mut stage.source);
    let named = stage.named;
    if named != limits::NO_BACKEND && backend::choose(&mut stage.chosen, named, backend::word(named)) {
        home::find(frame, stage)?;
        stage.is_new = u8::from(translates && flow::is_opened_by(&stage.packet));
        if flow::may_collide(stage) && flow::collides(stage) {
            return Err(Outcome::FlowCollision);
        }
        return Ok(());
    }
    if translates {
        return new_translated(frame, stage);
    }
    home::backend(frame, stage, opens)
}

#[inline(always)]
fn open(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    home::find(frame, stage)?;
    stage.is_new = u8::from(flow::is_opened_by(&stage.packet));
    let opens = home::opens(&stage.service, &stage.packet);
    // Flows are remembered here from their first packet on: only of a connection can one have been forgotten.
    if opens == Opens::Later
        && home::is_of_old(stage, opens)
        && (!flow::may_collide(stage) || !flow::collides(stage))
    {
        return Ok(());
    }
    if opens != Opens::Later {
        admit::new_flow(frame, stage)?;
    }
    choose::backend(frame, stage)
}

#[inline(always)]
fn recall(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    (stage.mode, stage.source_port) = (stage.service.mode, 0);
    copy::zeros(&mut stage.source);
    if home::recall(frame, stage)? {
        return Ok(());
    }
    stage.is_new = 0;
    // Errors say nothing of where their client's next flow should go.
    stage.service.affinity = 0;
    // That all are full is no matter of an error, which opens nothing.
    choose::backend(frame, stage).map_err(|outcome| match outcome {
        Outcome::Full => Outcome::ErrorUnknown,
        other => other,
    })
}
