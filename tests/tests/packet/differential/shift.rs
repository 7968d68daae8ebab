//! What happens to slots in a story.

use proptest::sample::Index;

use crate::world::{Change, World};

/// What happens to the slots of a service; whoever gets them is one of its backends.
#[derive(Clone, Debug)]
pub enum Shift {
    Pass(Index),
    Age,
    Part,
    Settle,
}

impl Shift {
    /// The change, if the service has backends.
    pub fn of(&self, service: u32, world: &World) -> Option<Change> {
        let members = world.members(service);
        Some(match self {
            Self::Pass(to) => Change::PassTo(*(!members.is_empty()).then(|| to.get(&members))?),
            Self::Age => Change::Age,
            Self::Part => Change::Part,
            Self::Settle => Change::Settle,
        })
    }
}

/// A change of slots, as fixtures have it.
pub fn words(change: Change) -> String {
    match change {
        Change::PassTo(backend) => format!("pass {backend}"),
        Change::Age => "age".to_owned(),
        Change::Part => "part".to_owned(),
        Change::Settle => "settle".to_owned(),
    }
}
