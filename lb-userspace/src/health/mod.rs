//! Health checks: probes ask a backend, runners ask again and again, and pure decisions make a state of the answers.
//!
//! Reading order: `probe` (one question, one answer), `runner` (when to ask), [`results`] (who is told at once), `stall` (when an answer says nothing), `monitor` (one
//! check's answers, with `phi`), [`case`](Case) (all checks of a backend, with `flaps`).
//! [`passive`] judges what clients suffer, and [`mod@unreachable`] hears what tunnels suffer: reasons to ask at once.
//! [`through`] makes sockets whose packets go by the data path.

mod case;
mod flaps;
mod monitor;
pub mod passive;
mod phi;
mod probe;
pub mod results;
mod runner;
mod stall;
pub mod through;
pub mod unreachable;

pub use case::{Case, Turn, take_known, wishes};
pub use flaps::Flaps;
pub use monitor::{Health, Last, Monitor, Unprobed, said};
pub use probe::{Answer, Course, Permit, ProbeError, Question, Stand, Way, Who, Wish, late_turns, probe};
pub use runner::{Handle, Job, Observation, spawn};
pub use stall::Stalls;
