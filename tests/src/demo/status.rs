//! Questions to what `xlb status -o json` prints.

use serde_json::Value;

/// The backends of all services.
pub(super) fn backends(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services
        .filter_map(|service| service["backends"].as_array())
        .flatten()
}

/// Whether a backend is in a state: `up`, `drain` or `down`.
pub(super) fn is(status: &Value, name: &str, state: &str) -> bool {
    backend(status, name)["state"] == state
}

/// Whether all backends take new flows, and the way to each is known.
pub(super) fn all_up(status: &Value) -> bool {
    backends(status).all(|backend| backend["state"] == "up" && !backend["next_hop"].is_null())
}

/// What the newest heartbeat of a backend said.
pub(super) fn last_check<'a>(status: &'a Value, name: &str) -> &'a str {
    backend(status, name)["last_check"].as_str().unwrap_or_default()
}

/// A counter of a backend, such as `flows_opened`.
pub(super) fn counter(status: &Value, name: &str, counter: &str) -> u64 {
    backend(status, name)["counters"][counter].as_u64().unwrap_or(0)
}

/// How much a counter of a backend grew from one status to another.
pub(super) fn grown(before: &Value, after: &Value, name: &str, what: &str) -> u64 {
    counter(after, name, what).saturating_sub(counter(before, name, what))
}

/// Names and modes of the interfaces that the program is attached to.
pub(super) fn attached(status: &Value) -> Vec<(&str, &str)> {
    let interfaces = status["interfaces"].as_array().into_iter().flatten();
    interfaces
        .filter(|interface| interface["attached"] == true)
        .filter_map(|interface| Some((interface["name"].as_str()?, interface["mode"].as_str()?)))
        .collect()
}

fn backend<'a>(status: &'a Value, name: &str) -> &'a Value {
    backends(status)
        .find(|backend| backend["name"] == name)
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backend_is_found_by_its_name() {
        let status = |opened| {
            json!({
                "interfaces": [
                    {"name": "eth0", "mode": "native", "attached": true},
                    {"name": "eth1", "mode": "native", "attached": false},
                ],
                "services": [{"backends": [
                    {"name": "b1", "state": "up", "last_check": null},
                    {"name": "b2", "state": "down", "last_check": "refused",
                     "counters": {"flows_opened": opened}},
                ]}],
            })
        };
        let (before, after) = (status(3), status(10));
        assert!(is(&after, "b2", "down") && !is(&after, "b3", "down") && !all_up(&after));
        assert_eq!(grown(&before, &after, "b2", "flows_opened"), 7);
        assert_eq!(
            (last_check(&after, "b1"), last_check(&after, "b2")),
            ("", "refused")
        );
        assert_eq!(attached(&after), [("eth0", "native")]);
    }
}
