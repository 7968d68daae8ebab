//! `xlb backend set`, `drain`, `maintenance`, `ready` and `weight`

use anyhow::Result;

use crate::{
    api::protocol::BackendChange,
    cli::values::BackendPath,
    commands::{Reply, Session},
};

pub async fn execute(session: &Session, path: &BackendPath, change: BackendChange) -> Result<Reply> {
    let backend = session
        .client
        .change_backend(&path.service, &path.backend, &change)
        .await?;
    Reply::new(session.output, &backend, || {
        let BackendChange {
            admin,
            weight,
            max_connections,
            priority,
        } = change;
        let done = [
            admin.map(|_| backend.admin.name().to_owned()),
            weight.map(|_| format!("weight {}", backend.weight)),
            max_connections.map(|_| format!("max connections {}", backend.max_connections)),
            priority.map(|_| format!("priority {}", backend.priority)),
        ];
        let lines = done.into_iter().flatten();
        lines
            .map(|done| format!("backend {path} set to {done}\n"))
            .collect()
    })
}
