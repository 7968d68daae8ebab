//! What a service makes of its checks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::passive::Limits;

use super::{
    invalid::Invalid,
    value::{self, Bounds, bounded, is_default, lasts},
};

/// Percent of a pool that may be asked for.
pub(super) const PERCENT: Bounds = Bounds::new(0, 100);
/// Signs that may be asked for.
pub(super) const SIGNS: Bounds = Bounds::new(0, 1_000_000);
/// Failures that may be asked for.
pub(super) const FLAPS: Bounds = Bounds::new(1, 100);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the results of a service's checks are judged together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSpec {
    #[serde(skip_serializing_if = "is_default")]
    pub require: Require,
    #[serde(skip_serializing_if = "is_default")]
    pub checking: Checking,
    /// Over how long the weight of a backend that has come up grows to its whole.
    #[serde(with = "value::duration", skip_serializing_if = "is_default")]
    pub slow_start: Duration,
    /// When fewer than so many percent of a pool look healthy, probes are rather wrong than all of them: whoever has not refused is
    /// kept. 0 switches that off.
    #[serde(
        skip_serializing_if = "is_default",
        deserialize_with = "bounded::<_, _, { PERCENT.min }, { PERCENT.max }>"
    )]
    pub panic: u8,
    #[serde(skip_serializing_if = "is_default")]
    pub flaps: Flaps,
    #[serde(skip_serializing_if = "is_default")]
    pub passive: Passive,
}

/// When what clients suffer is a reason to probe a backend at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// Signs within the window; 0 switches that off.
    #[serde(deserialize_with = "bounded::<_, _, { SIGNS.min }, { SIGNS.max }>")]
    pub signs: u32,
    #[serde(with = "value::duration")]
    pub window: Duration,
}

impl Passive {
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            threshold: self.signs.into(),
            window: self.window,
        }
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            signs: 5,
            window: Duration::from_secs(2),
        }
    }
}

/// Which of several checks have to pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    #[default]
    All,
    Any,
}

/// Whether a backend gets traffic before its first probe has an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checking {
    #[default]
    Wait,
    Serve,
}

/// When a backend that goes up and down has to stay down for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flaps {
    /// Failures within `window` that cost nothing.
    #[serde(deserialize_with = "bounded::<_, _, { FLAPS.min }, { FLAPS.max }>")]
    pub allowed: u32,
    #[serde(with = "value::duration")]
    pub window: Duration,
    /// How long the next one is held down; each further one doubles it. 0 switches that off.
    #[serde(with = "value::duration")]
    pub hold: Duration,
    /// What doubling ends at.
    #[serde(with = "value::duration")]
    pub hold_max: Duration,
}

impl Default for Flaps {
    fn default() -> Self {
        Self {
            allowed: 3,
            window: MINUTE,
            hold: Duration::from_secs(1),
            hold_max: MINUTE,
        }
    }
}

impl Require {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }
}

impl HealthSpec {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        is_default(self)
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let field = |field| move |problem: String| Invalid::field(field, problem);
        lasts(self.slow_start, Duration::ZERO, DAY).map_err(field("slow_start"))?;
        let Flaps {
            allowed: _,
            window,
            hold,
            hold_max,
        } = self.flaps;
        let within = |invalid: Invalid| invalid.of("flaps").at(&[super::Step::Key("flaps")]);
        lasts(window, Duration::from_secs(1), DAY)
            .map_err(|problem| within(Invalid::field("window", problem)))?;
        lasts(hold, Duration::ZERO, DAY).map_err(|problem| within(Invalid::field("hold", problem)))?;
        lasts(self.passive.window, Duration::from_millis(100), MINUTE).map_err(|problem| {
            Invalid::field("window", problem)
                .of("passive")
                .at(&[super::Step::Key("passive")])
        })?;
        lasts(hold_max, hold, DAY)
            .map_err(|problem| within(Invalid::field("hold_max", format!("{problem} (at least hold)"))))
    }
}
