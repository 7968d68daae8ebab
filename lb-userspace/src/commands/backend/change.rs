//! `xlb backend drain`, `ready` and `weight`

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
        let admin = change
            .admin
            .map(|_| format!("backend {path} set to {}\n", backend.admin.name()));
        let weight = change
            .weight
            .map(|_| format!("backend {path} set to weight {}\n", backend.weight));
        [admin, weight].into_iter().flatten().collect()
    })
}
