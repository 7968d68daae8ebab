//! `xlb backend …`

mod add;
mod change;
mod list;
mod rm;

use std::net::SocketAddr;

use anyhow::Result;

use crate::{
    api::protocol::{Backend, BackendChange},
    cli::BackendCommand,
    commands::{Reply, Session},
    config::Admin,
};

/// # Errors
/// When the agent refuses or does not answer.
pub async fn execute(session: &Session, command: &BackendCommand) -> Result<Reply> {
    let admin = |admin| BackendChange {
        admin: Some(admin),
        ..BackendChange::default()
    };
    match command {
        BackendCommand::List { service } => list::execute(session, service.as_deref()).await,
        BackendCommand::Add {
            path,
            address,
            port,
            weight,
            server_id,
        } => add::execute(session, path, *address, *port, *weight, *server_id).await,
        BackendCommand::Rm { path } => rm::execute(session, path).await,
        BackendCommand::Drain { path } => change::execute(session, path, admin(Admin::Drain)).await,
        BackendCommand::Ready { path } => change::execute(session, path, admin(Admin::Ready)).await,
        BackendCommand::Weight { path, weight } => {
            let change = BackendChange {
                weight: Some(*weight),
                ..BackendChange::default()
            };
            change::execute(session, path, change).await
        }
    }
}

/// Where a backend is, without a port when it takes the VIP's.
pub(super) fn address(backend: &Backend) -> String {
    match backend.port {
        Some(port) => SocketAddr::new(backend.address, port).to_string(),
        None => backend.address.to_string(),
    }
}
