//! What `xlb status -v` shows besides: flows where they are known, the table of written ones, how fast backends were taken out, and the
//! memory of the maps.

use std::time::Duration;

use crate::{
    api::protocol::{Backend, MapMemory, Reaction, Status, Written},
    commands::backend::max_connections,
    output::{
        self,
        Column::{Number, Text},
    },
};

/// Everything that only `-v` shows.
pub fn details(status: &Status) -> Vec<String> {
    let tables = [
        backends(status),
        Some(written(&status.written)),
        reaction(&status.reaction),
        memory(&status.memory),
    ];
    tables.into_iter().flatten().collect()
}

fn backends(status: &Status) -> Option<String> {
    let columns = [
        Text("BACKEND"),
        Text("STATE"),
        Number("FLOWS"),
        Number("ACTIVE"),
        Number("MAX"),
        Number("DRIFT"),
        Text("DRAINS FOR"),
    ];
    let all = status.services.iter().flat_map(|service| {
        let staying = service.backends.iter().map(|backend| (backend, ""));
        let leaving = service.leaving.iter().map(|backend| (backend, " (removed)"));
        let named = staying.chain(leaving);
        named.map(|(backend, note)| row(format!("{}/{}{note}", service.name, backend.name), backend))
    });
    let rows: Vec<_> = all.collect();
    (!rows.is_empty()).then(|| output::table(&columns, rows))
}

fn row(name: String, backend: &Backend) -> [String; 7] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| output::NONE.into());
    [
        name,
        backend.state.name().into(),
        output::count(backend.flows),
        or_none(backend.active.map(output::count)),
        max_connections(backend),
        or_none(backend.drift.map(|drift| drift.to_string())),
        or_none(backend.drain_ends_seconds.map(output::duration)),
    ]
}

fn written(written: &Written) -> String {
    let columns = [
        Text("WRITTEN FLOWS"),
        Number("ROOM"),
        Number("OPENED"),
        Number("CONFIRMED"),
        Number("CLOSING"),
        Number("CLIENTS"),
        Number("INSERTED"),
        Number("DISPLACED"),
        Number("REFUSED"),
    ];
    let row = [
        written.used(),
        written.room,
        written.opened,
        written.confirmed,
        written.closing,
        written.clients,
        written.inserted,
        written.displaced,
        written.refused,
    ];
    output::table(&columns, [row.map(output::count)])
}

fn reaction(reaction: &Reaction) -> Option<String> {
    let columns = [
        Number("TAKEN OUT"),
        Number("MIN"),
        Number("P50"),
        Number("P90"),
        Number("P99"),
        Number("MAX"),
    ];
    let Reaction {
        count,
        min,
        p50,
        p90,
        p99,
        max,
    } = *reaction;
    let times = [min, p50, p90, p99, max].map(|time| format!("{:.1?}", Duration::from_nanos(time)));
    (count > 0).then(|| output::table(&columns, [[output::count(count)].into_iter().chain(times)]))
}

fn memory(maps: &[MapMemory]) -> Option<String> {
    let mut maps: Vec<_> = maps.iter().collect();
    maps.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.map.cmp(&b.map)));
    let all = maps.iter().map(|map| map.bytes).sum();
    let rows = maps.iter().map(|map| [map.map.clone(), output::bytes(map.bytes)]);
    let rows: Vec<_> = rows.chain([["all".into(), output::bytes(all)]]).collect();
    (!maps.is_empty()).then(|| output::table(&[Text("MAP"), Number("MEMORY")], rows))
}
