//! Events, as they are asked for.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::control::events::Filter;
pub use crate::control::events::{Event, What};

/// Which events `GET /v1/events` tells: all, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// One of the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// From when on: a time like `2026-01-31T12:00:00Z`, or how long ago that was, like `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether those that will come are told too, until the reader goes.
    #[serde(default)]
    pub follow: bool,
}

impl EventQuery {
    /// The events that are meant.
    ///
    /// # Errors
    /// When the time is none.
    pub fn filter(&self, now: SystemTime) -> Result<Filter, String> {
        let since = self.since.as_deref().map(|text| since(text, now)).transpose()?;
        Ok(Filter {
            service: self.service.clone(),
            backend: self.backend.clone(),
            since,
        })
    }
}

fn since(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        // Before all time is before all events.
        return Ok(now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    humantime::parse_rfc3339(text).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        format!("since: {shown:?} is no time: write it like 10m, or like 2026-01-31T12:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_time_is_written_as_such_or_as_how_long_ago_it_was() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(since("10m", now), Ok(now - Duration::from_secs(600)));
        assert_eq!(since("0s", now), Ok(now));
        assert_eq!(since("1970-01-12T13:46:40Z", now), Ok(now));
        assert!(since("10000years", now).unwrap() <= UNIX_EPOCH);
        let refusal = since("yesterday\n", now).unwrap_err();
        assert!(
            refusal.starts_with("since: \"yesterday\\n\" is no time"),
            "{refusal}"
        );
    }
}
