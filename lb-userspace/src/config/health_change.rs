//! What changes at run time of what a service makes of its checks: the settings that are given, over those that there are.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    changes::optional_duration,
    health::{Checking, DAY, FLAPS, Flaps, HealthSpec, PERCENT, Passive, Require, SIGNS},
    invalid::Invalid,
    value::{Bounded, is_default},
};

/// Settings of [`HealthSpec`]; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checking: Option<Checking>,
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub slow_start: Option<Duration>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::<_, _, { PERCENT.min }, { PERCENT.max }>"
    )]
    pub panic: Option<u8>,
    #[serde(skip_serializing_if = "is_default")]
    pub flaps: FlapsChange,
    #[serde(skip_serializing_if = "is_default")]
    pub passive: PassiveChange,
}

/// Settings of [`Flaps`]; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlapsChange {
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::<_, _, { FLAPS.min }, { FLAPS.max }>"
    )]
    pub allowed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub window: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub hold: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub hold_max: Option<Duration>,
}

/// Settings of [`Passive`]; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassiveChange {
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::<_, _, { SIGNS.min }, { SIGNS.max }>"
    )]
    pub signs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub window: Option<Duration>,
}

impl HealthChange {
    /// Gives `spec` the settings.
    pub fn apply(&self, spec: &mut HealthSpec) {
        let Self {
            require,
            checking,
            slow_start,
            panic,
            flaps,
            passive,
        } = *self;
        *spec = HealthSpec {
            require: require.unwrap_or(spec.require),
            checking: checking.unwrap_or(spec.checking),
            slow_start: slow_start.unwrap_or(spec.slow_start),
            panic: panic.unwrap_or(spec.panic),
            flaps: flaps.over(spec.flaps),
            passive: passive.over(spec.passive),
        };
    }

    /// What both change, this one first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            require: next.require.or(self.require),
            checking: next.checking.or(self.checking),
            slow_start: next.slow_start.or(self.slow_start),
            panic: next.panic.or(self.panic),
            flaps: self.flaps.then(next.flaps),
            passive: self.passive.then(next.passive),
        }
    }

    /// Whether there is any service that could have the settings.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        // With bounds that leave room for whatever is given.
        let mut spec = HealthSpec {
            flaps: Flaps {
                hold: Duration::ZERO,
                hold_max: DAY,
                ..Flaps::default()
            },
            ..HealthSpec::default()
        };
        self.apply(&mut spec);
        spec.check()
    }
}

impl FlapsChange {
    fn over(self, flaps: Flaps) -> Flaps {
        let Self {
            allowed,
            window,
            hold,
            hold_max,
        } = self;
        Flaps {
            allowed: allowed.unwrap_or(flaps.allowed),
            window: window.unwrap_or(flaps.window),
            hold: hold.unwrap_or(flaps.hold),
            hold_max: hold_max.unwrap_or(flaps.hold_max),
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            allowed: next.allowed.or(self.allowed),
            window: next.window.or(self.window),
            hold: next.hold.or(self.hold),
            hold_max: next.hold_max.or(self.hold_max),
        }
    }
}

impl PassiveChange {
    fn over(self, passive: Passive) -> Passive {
        let Self { signs, window } = self;
        Passive {
            signs: signs.unwrap_or(passive.signs),
            window: window.unwrap_or(passive.window),
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            signs: next.signs.or(self.signs),
            window: next.window.or(self.window),
        }
    }
}

/// For `deserialize_with`: a whole number from `MIN` to `MAX`, that is given.
fn bounded<'de, D, T, const MIN: i64, const MAX: i64>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    Ok(Some(Bounded::<T, MIN, MAX>::deserialize(deserializer)?.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    impl From<HealthSpec> for HealthChange {
        /// Every setting.
        fn from(spec: HealthSpec) -> Self {
            let HealthSpec {
                require,
                checking,
                slow_start,
                panic,
                flaps,
                passive,
            } = spec;
            Self {
                require: Some(require),
                checking: Some(checking),
                slow_start: Some(slow_start),
                panic: Some(panic),
                flaps: FlapsChange {
                    allowed: Some(flaps.allowed),
                    window: Some(flaps.window),
                    hold: Some(flaps.hold),
                    hold_max: Some(flaps.hold_max),
                },
                passive: PassiveChange {
                    signs: Some(passive.signs),
                    window: Some(passive.window),
                },
            }
        }
    }

    fn change(settings: serde_json::Value) -> HealthChange {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn each_setting_is_given_for_itself() {
        let texts = [
            json!({"require": "any"}),
            json!({"checking": "serve"}),
            json!({"slow_start": "30s"}),
            json!({"panic": 50}),
            json!({"flaps": {"allowed": 7}}),
            json!({"flaps": {"window": "5m"}}),
            json!({"flaps": {"hold": "2s"}}),
            json!({"flaps": {"hold_max": "3m"}}),
            json!({"passive": {"signs": 9}}),
            json!({"passive": {"window": "3s"}}),
        ];
        let mut one_by_one = HealthSpec::default();
        let mut at_once = HealthChange::default();
        for (given, text) in texts.into_iter().enumerate() {
            let change = change(text.clone());
            assert_eq!(serde_json::to_value(change).unwrap(), text);
            let before = HealthChange::from(one_by_one);
            change.apply(&mut one_by_one);
            at_once = at_once.then(change);
            assert_eq!(before.then(change), one_by_one.into(), "{given}");
        }
        let mut spec = HealthSpec::default();
        at_once.apply(&mut spec);
        assert_eq!(spec, one_by_one);
        assert_eq!(at_once, one_by_one.into(), "all of them are others now");
    }

    #[test]
    fn only_what_no_service_could_have_is_refused_without_one() {
        change(json!({"flaps": {"hold": "2m"}})).check().unwrap();
        change(json!({"flaps": {"hold_max": "500ms"}})).check().unwrap();
        change(json!({"flaps": {"hold": "2m", "hold_max": "1m"}}))
            .check()
            .unwrap_err();
        change(json!({"slow_start": "2days"})).check().unwrap_err();
        for text in [
            json!({"panic": 101}),
            json!({"flaps": {"allowed": 0}}),
            json!({"panics": 1}),
        ] {
            serde_json::from_value::<HealthChange>(text).unwrap_err();
        }
    }
}
