//! `xlb backend add`

use anyhow::Result;

use super::settings;
use crate::{
    cli::BackendAdd,
    commands::{Reply, Session},
    config::BackendSpec,
};

pub async fn execute(session: &Session, arguments: &BackendAdd) -> Result<Reply> {
    let BackendAdd {
        path,
        address,
        port,
        settings,
        server_id,
    } = arguments;
    let mut spec = BackendSpec {
        name: path.backend.clone(),
        server_id: *server_id,
        ..BackendSpec::new(*address, *port)
    };
    self::settings(*settings).apply(&mut spec);
    let backend = session.client.add_backend(&path.service, &spec).await?;
    Reply::new(session.output, &backend, || format!("backend {path} added\n"))
}
