//! How xlb is operated, under traffic: started over, changed, watched, broken, taken away.
//!
//! [`stage`] holds what most tests set up and ask, [`stream`] a steady stream of datagrams, [`talk`] a connection that
//! lives long, [`pins`] a look into the kernel; every other file is one part of the operation.

mod adoption;
mod changes;
mod checks;
mod detach;
mod impostors;
mod interfaces;
mod logging;
mod neighbours;
mod pair;
mod pins;
mod precedence;
mod readiness;
mod shares;
mod signals;
mod stage;
mod stream;
mod talk;
mod ways;
