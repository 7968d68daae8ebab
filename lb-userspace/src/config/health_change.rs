//! What changes at run time of what a service makes of its checks: the settings that are given, over those that there are.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    changes::optional_duration,
    declared::change,
    health::{Checking, DAY, FLAPS, Flaps, HealthSpec, PERCENT, Passive, Require, SIGNS},
    invalid::Invalid,
    value::Bounded,
};

change! {
    /// Settings of [`HealthSpec`]; what is absent stays as it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct HealthChange of HealthSpec {
        require: Require,
        checking: Checking,
        #[serde(with = "optional_duration")]
        slow_start: Duration,
        #[serde(deserialize_with = "bounded::<_, _, { PERCENT.min }, { PERCENT.max }>")]
        panic: u8,
    } with {
        flaps: FlapsChange,
        passive: PassiveChange,
    }
}

change! {
    /// Settings of [`Flaps`]; what is absent stays as it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct FlapsChange of Flaps {
        #[serde(deserialize_with = "bounded::<_, _, { FLAPS.min }, { FLAPS.max }>")]
        allowed: u32,
        #[serde(with = "optional_duration")]
        window: Duration,
        #[serde(with = "optional_duration")]
        hold: Duration,
        #[serde(with = "optional_duration")]
        hold_max: Duration,
    }
}

change! {
    /// Settings of [`Passive`]; what is absent stays as it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PassiveChange of Passive {
        #[serde(deserialize_with = "bounded::<_, _, { SIGNS.min }, { SIGNS.max }>")]
        signs: u32,
        #[serde(with = "optional_duration")]
        window: Duration,
    }
}

impl HealthChange {
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
        self.set(&mut spec);
        spec.check()
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
            change.set(&mut one_by_one);
            at_once = at_once.or(change);
            assert_eq!(before.or(change), one_by_one.into(), "{given}");
        }
        let mut spec = HealthSpec::default();
        at_once.set(&mut spec);
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
