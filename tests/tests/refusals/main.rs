//! Whatever is wrong is told in one line that names the thing and the remedy, with exit code 1, and changes nothing: against
//! the real binary, with hosts, files, arguments and requests as bad as they come.
//!
//! [`refused`] runs xlb and judges how it refused, [`traces`] is what it could leave behind; every other file is one way in:
//! [`files`] (what a configuration says), [`host`] (privileges, kernel), [`interfaces`], [`places`] (socket, pins, state),
//! [`adopted`] (over the pins of an earlier agent), [`second`] (beside a running one), [`commands`] and [`requests`] (to a
//! running one).

mod adopted;
mod commands;
mod files;
mod host;
mod interfaces;
mod places;
mod refused;
mod requests;
mod running;
mod second;
mod traces;
