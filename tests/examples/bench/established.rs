//! Connections that clients have opened become established, as if the backends had answered.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    conn::{Flow, FlowState},
    flow::FlowKey,
};

/// All of a table of flows, by its pin.
pub fn all(pin: &Path) -> Result<()> {
    let data = MapData::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
    let mut flows: HashMap<_, FlowKey, Flow> = Map::LruHashMap(data).try_into()?;
    let keys: Vec<FlowKey> = flows.keys().collect::<Result<_, _>>()?;
    for key in keys {
        let Ok(flow) = flows.get(&key, 0) else {
            continue;
        };
        if flow.state() == FlowState::Syn {
            let state = u32::from(FlowState::Established.wire());
            flows.insert(key, Flow { state, ..flow }, 0)?;
        }
    }
    Ok(())
}
