//! `xlb backend rm`

use anyhow::Result;

use crate::{
    cli::values::BackendPath,
    commands::{Reply, Session},
};

pub async fn execute(session: &Session, path: &BackendPath) -> Result<Reply> {
    let removed = session
        .client
        .remove_backend(&path.service, &path.backend)
        .await?;
    Reply::new(session.output, &removed, || format!("backend {path} removed\n"))
}
