//! What of a service and of a backend changes at run time: the part of their settings that is given, over those that there are.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    backend::{Admin, BackendSpec},
    balance::{Algorithm, OnDown, OnFull, Udp, load_factor},
    check::CheckSpec,
    factor,
    health::HealthSpec,
    prefix::Prefix,
    rates::{Affinity, Rate, SourceRate},
    service::ServiceSpec,
    value,
};

/// Settings of a backend; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// Settings of a service; what is absent stays as it is. Those that may be missing are taken away by null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceChange {
    /// With another algorithm, the settings that only the one before has get their defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<Prefix>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_factor")]
    pub load_factor: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_down: Option<OnDown>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdraw: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub drain_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub affinity: Option<Option<Affinity>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub new_flows: Option<Option<Rate>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub new_flows_per_source: Option<Option<SourceRate>>,
    /// All its checks; none takes them away.
    #[serde(
        rename = "check",
        default,
        skip_serializing_if = "Option::is_none",
        with = "given_checks"
    )]
    pub checks: Option<Vec<CheckSpec>>,
    /// All of what is made of their results: what this does not say has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
}

impl BackendChange {
    /// Names of what may change.
    pub const FIELDS: &'static str = "admin, weight, max_connections or priority";

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Gives `spec` the settings.
    pub fn apply(&self, spec: &mut BackendSpec) {
        let Self {
            admin,
            weight,
            max_connections,
            priority,
        } = *self;
        spec.admin = admin.unwrap_or(spec.admin);
        spec.weight = weight.unwrap_or(spec.weight);
        spec.max_connections = max_connections.unwrap_or(spec.max_connections);
        spec.priority = priority.unwrap_or(spec.priority);
    }

    /// What both change, this one first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            admin: next.admin.or(self.admin),
            weight: next.weight.or(self.weight),
            max_connections: next.max_connections.or(self.max_connections),
            priority: next.priority.or(self.priority),
        }
    }

    /// Whether `spec` has the settings already.
    #[must_use]
    pub fn is_in(&self, spec: &BackendSpec) -> bool {
        let mut changed = spec.clone();
        self.apply(&mut changed);
        changed == *spec
    }
}

impl ServiceChange {
    /// Names of what may change.
    pub const FIELDS: &'static str = "algorithm, source_prefix, replicas, load_factor, need, on_full, on_down, withdraw, udp, drain_timeout, affinity, new_flows, new_flows_per_source, check or health";

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

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
        let Self {
            algorithm,
            source_prefix,
            replicas,
            load_factor,
            need,
            on_full,
            on_down,
            withdraw,
            udp,
            drain_timeout,
            affinity,
            new_flows,
            new_flows_per_source,
            checks,
            health,
        } = self.clone().spelled_out();
        spec.algorithm = algorithm.unwrap_or(spec.algorithm);
        spec.source_prefix = source_prefix.unwrap_or(spec.source_prefix);
        spec.replicas = replicas.unwrap_or(spec.replicas);
        spec.load_factor = load_factor.unwrap_or(spec.load_factor);
        spec.need = need.unwrap_or(spec.need);
        spec.on_full = on_full.unwrap_or(spec.on_full);
        spec.on_down = on_down.unwrap_or(spec.on_down);
        spec.withdraw = withdraw.unwrap_or(spec.withdraw);
        spec.udp = udp.unwrap_or(spec.udp);
        spec.drain_timeout = drain_timeout.unwrap_or(spec.drain_timeout);
        spec.affinity = affinity.unwrap_or(spec.affinity);
        spec.new_flows = new_flows.unwrap_or(spec.new_flows);
        spec.new_flows_per_source = new_flows_per_source.unwrap_or(spec.new_flows_per_source);
        if let Some(checks) = checks {
            spec.checks = checks;
        }
        spec.health = health.unwrap_or(spec.health);
    }

    /// What both change, this one first.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let (first, next) = (self.spelled_out(), next.spelled_out());
        Self {
            algorithm: next.algorithm.or(first.algorithm),
            source_prefix: next.source_prefix.or(first.source_prefix),
            replicas: next.replicas.or(first.replicas),
            load_factor: next.load_factor.or(first.load_factor),
            need: next.need.or(first.need),
            on_full: next.on_full.or(first.on_full),
            on_down: next.on_down.or(first.on_down),
            withdraw: next.withdraw.or(first.withdraw),
            udp: next.udp.or(first.udp),
            drain_timeout: next.drain_timeout.or(first.drain_timeout),
            affinity: next.affinity.or(first.affinity),
            new_flows: next.new_flows.or(first.new_flows),
            new_flows_per_source: next.new_flows_per_source.or(first.new_flows_per_source),
            checks: next.checks.or(first.checks),
            health: next.health.or(first.health),
        }
    }

    /// Whether `spec` has the settings already.
    #[must_use]
    pub fn is_in(&self, spec: &ServiceSpec) -> bool {
        let mut changed = spec.clone();
        self.apply(&mut changed);
        changed == *spec
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
mod optional_duration {
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
    fn another_algorithm_leaves_the_settings_of_the_one_before_behind() {
        let mut spec = service(&json!({"algorithm": "bounded", "load_factor": 2}));
        change(json!({"algorithm": "maglev"})).apply(&mut spec);
        assert_eq!(spec, service(&json!({})));
        change(json!({"algorithm": "bounded", "load_factor": 1.5})).apply(&mut spec);
        change(json!({"algorithm": "bounded"})).apply(&mut spec);
        assert_eq!((spec.algorithm, spec.load_factor), (Algorithm::Bounded, 150));
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
            json!({"check": {"type": "icmp", "interval": "1s", "timeout": "500ms", "rise": 2, "fall": 3}}),
            json!({"affinity": {"timeout": "5m", "prefix": [24, 64]}, "new_flows": {"per_second": 7, "burst": 70}, "drain_timeout": "1h"}),
        ] {
            assert_eq!(serde_json::to_value(change(text.clone())).unwrap(), text);
        }
        serde_json::from_value::<ServiceChange>(json!({"mode": "dsr"})).unwrap_err();
        serde_json::from_value::<BackendChange>(json!({"address": "10.0.0.2"})).unwrap_err();
    }
}
