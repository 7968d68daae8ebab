//! What of a service and of a backend changes at run time: the part of their settings that is given, over those that there are.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    backend::{Admin, BackendSpec},
    balance::{Algorithm, OnDown, OnFull, Udp, load_factor},
    check::CheckSpec,
    declared::change,
    factor,
    health_change::HealthChange,
    prefix::Prefix,
    rates::{Affinity, Rate, SourceRate},
    service::ServiceSpec,
    value,
};

change! {
    /// Settings of a backend; what is absent stays as it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackendChange of BackendSpec {
        admin: Admin,
        weight: u16,
        max_connections: u32,
        priority: u8,
    }
}

change! {
    /// Settings of a service; what is absent stays as it is. Those that may be missing are taken away by null.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ServiceChange of ServiceSpec {
        /// With another algorithm, the settings that only the one before has get their defaults.
        algorithm: Algorithm,
        source_prefix: Prefix,
        replicas: u8,
        #[serde(with = "optional_factor")]
        load_factor: u16,
        need: u8,
        on_full: OnFull,
        on_down: OnDown,
        withdraw: bool,
        udp: Udp,
        #[serde(with = "optional_duration")]
        drain_timeout: Duration,
        #[serde(deserialize_with = "given")]
        affinity: Option<Affinity>,
        #[serde(deserialize_with = "given")]
        new_flows: Option<Rate>,
        #[serde(deserialize_with = "given")]
        new_flows_per_source: Option<SourceRate>,
        /// All its checks; none takes them away.
        #[serde(with = "given_checks")]
        checks as "check": Vec<CheckSpec>,
    } with {
        /// What is made of their results.
        health: HealthChange,
    }
}

impl BackendChange {
    /// Gives `spec` the settings.
    pub fn apply(&self, spec: &mut BackendSpec) {
        self.set(spec);
    }

    /// What both change, this one first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        self.or(next)
    }
}

impl ServiceChange {
    /// The same with the defaults that come with another algorithm, so that it does the same to every service.
    #[must_use]
    pub fn spelled_out(self) -> Self {
        let Some(algorithm) = self.algorithm else {
            return self;
        };
        let mut all = self;
        if algorithm != Algorithm::Source {
            all.source_prefix.get_or_insert_default();
        }
        if algorithm != Algorithm::Dest {
            all.replicas.get_or_insert(1);
        }
        if algorithm != Algorithm::Bounded {
            all.load_factor.get_or_insert(load_factor());
        }
        all
    }

    /// Gives `spec` the settings.
    pub fn apply(&self, spec: &mut ServiceSpec) {
        self.clone().spelled_out().set(spec);
    }

    /// What both change, this one first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        self.spelled_out().or(next.spelled_out())
    }
}

/// For `deserialize_with`: null is a value, not an absence.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For `with`: checks, if they are given.
mod given_checks {
    use serde::{Deserializer, Serialize as _, Serializer};

    use super::super::check::{CheckSpec, one_or_more};

    #[expect(clippy::ref_option, reason = "serde hands fields over so")]
    pub fn serialize<S: Serializer>(
        checks: &Option<Vec<CheckSpec>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match checks {
            Some(checks) => one_or_more::serialize(checks, serializer),
            None => ().serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<CheckSpec>>, D::Error> {
        one_or_more::deserialize(deserializer).map(Some)
    }
}

/// For `with`: a factor, if there is one.
mod optional_factor {
    use serde::Serializer;

    use super::{Deserialize, Deserializer, Serialize, factor};

    #[derive(Deserialize, Serialize)]
    struct Factor(#[serde(with = "factor")] u16);

    #[expect(clippy::ref_option, reason = "serde hands fields over so")]
    pub fn serialize<S: Serializer>(percent: &Option<u16>, serializer: S) -> Result<S::Ok, S::Error> {
        percent.map(Factor).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
        Ok(Option::<Factor>::deserialize(deserializer)?.map(|factor| factor.0))
    }
}

/// For `with`: a duration, if there is one.
pub(super) mod optional_duration {
    use serde::Serializer;

    use super::{Deserialize, Deserializer, Duration, Serialize, value};

    #[derive(Deserialize, Serialize)]
    struct Written(#[serde(with = "value::duration")] Duration);

    #[expect(clippy::ref_option, reason = "serde hands fields over so")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(Written).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(settings: &serde_json::Value) -> ServiceSpec {
        let mut all = json!({"name": "web", "vip": "192.0.2.1:80/tcp"});
        let more = settings.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        serde_json::from_value(all).unwrap()
    }

    fn change(settings: serde_json::Value) -> ServiceChange {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn what_is_absent_stays_and_null_takes_away() {
        let mut spec =
            service(&json!({"affinity": {"timeout": "5m"}, "new_flows": {"per_second": 10}, "need": 2}));
        change(json!({"affinity": null, "on_full": "spill", "on_down": "reset", "drain_timeout": "1h"}))
            .apply(&mut spec);
        let expected = service(&json!({
            "new_flows": {"per_second": 10}, "need": 2, "on_full": "spill", "on_down": "reset", "drain_timeout": "1h",
        }));
        assert_eq!(spec, expected);
    }

    #[test]
    fn one_setting_of_health_leaves_the_others() {
        let health = |panic| {
            let all = json!({"require": "any", "panic": panic, "slow_start": "30s", "flaps": {"hold": "5s"}, "passive": {"signs": 0}});
            service(&json!({"health": all}))
        };
        let mut spec = health(0);
        change(json!({"health": {"panic": 50}})).apply(&mut spec);
        assert_eq!(spec, health(50));
        change(json!({"health": {"panic": 0}})).apply(&mut spec);
        assert_eq!(spec, health(0));
        assert!(change(json!({"health": {}})).is_empty());
        assert!(change(json!({"health": {"panic": 0}})).is_in(&spec));
    }

    #[test]
    fn another_algorithm_leaves_the_settings_of_the_one_before_behind() {
        let mut spec = service(&json!({"algorithm": "bounded", "load_factor": 2}));
        change(json!({"algorithm": "maglev"})).apply(&mut spec);
        assert_eq!(spec, service(&json!({})));
        change(json!({"algorithm": "bounded", "load_factor": 1.5})).apply(&mut spec);
        change(json!({"algorithm": "bounded"})).apply(&mut spec);
        assert_eq!((spec.algorithm, spec.load_factor), (Algorithm::Bounded, 150));
    }

    #[test]
    fn what_may_change_is_named_as_it_is_written() {
        assert_eq!(
            BackendChange::fields(),
            "admin, weight, max_connections or priority"
        );
        assert_eq!(
            ServiceChange::fields(),
            "algorithm, source_prefix, replicas, load_factor, need, on_full, on_down, withdraw, udp, drain_timeout, affinity, \
             new_flows, new_flows_per_source, check or health"
        );
    }

    #[test]
    fn two_changes_are_one() {
        let changes = [
            json!({"algorithm": "maglev"}),
            json!({"algorithm": "bounded"}),
            json!({"algorithm": "bounded", "load_factor": 3}),
            json!({"load_factor": 2, "need": 3}),
            json!({"algorithm": "source", "source_prefix": [24, 64]}),
            json!({"algorithm": "dest", "replicas": 2, "affinity": {"timeout": "1m"}}),
            json!({"affinity": null}),
            json!({"on_down": "pass"}),
            json!({"withdraw": true}),
            json!({"withdraw": false, "need": 3}),
            json!({"check": {"type": "tcp"}, "health": {"panic": 50}}),
            json!({"health": {"require": "any", "flaps": {"hold": "2s"}}}),
            json!({"health": {"panic": 0, "flaps": {"hold_max": "2m"}}}),
            json!({"check": null}),
            json!({"udp": "move", "on_down": "drop", "new_flows_per_source": {"per_second": 5, "burst": 9, "prefix": [24, 64]}}),
        ]
        .map(change);
        for before in [
            json!({}),
            json!({"algorithm": "bounded", "load_factor": 2}),
            json!({"algorithm": "dest", "replicas": 3}),
        ] {
            for first in &changes {
                for next in &changes {
                    let (mut one_by_one, mut at_once) = (service(&before), service(&before));
                    first.apply(&mut one_by_one);
                    next.apply(&mut one_by_one);
                    first.clone().then(next.clone()).apply(&mut at_once);
                    assert_eq!(one_by_one, at_once, "{first:?}, {next:?}");
                }
            }
        }
    }

    #[test]
    fn a_change_reads_as_it_is_written() {
        for text in [
            json!({}),
            json!({"algorithm": "p2c", "load_factor": 1.25, "need": 2, "on_full": "drop", "on_down": "pass", "udp": "move"}),
            json!({"withdraw": false}),
            json!({"affinity": null, "new_flows": null, "new_flows_per_source": null}),
            json!({"check": null, "health": {"require": "any"}}),
            json!({"health": {"panic": 0, "flaps": {"hold": "2s"}, "passive": {"signs": 0}}}),
            json!({"check": {"type": "icmp", "interval": "1s", "timeout": "500ms", "rise": 2, "fall": 3}}),
            json!({"affinity": {"timeout": "5m", "prefix": [24, 64]}, "new_flows": {"per_second": 7, "burst": 70}, "drain_timeout": "1h"}),
        ] {
            assert_eq!(serde_json::to_value(change(text.clone())).unwrap(), text);
        }
        serde_json::from_value::<ServiceChange>(json!({"mode": "dsr"})).unwrap_err();
        serde_json::from_value::<BackendChange>(json!({"address": "10.0.0.2"})).unwrap_err();
    }
}
