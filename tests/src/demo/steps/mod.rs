//! The steps of the demo, one file each, in the order in which they are shown.

mod comeback;
mod crash;
mod death;
mod drain;
mod network;
mod operator;
mod removal;
mod spread;

pub(super) use comeback::comeback;
pub(super) use crash::crash;
pub(super) use death::death;
pub(super) use drain::drain;
pub(super) use network::network;
pub(super) use operator::operator;
pub(super) use removal::removal;
pub(super) use spread::spread;
