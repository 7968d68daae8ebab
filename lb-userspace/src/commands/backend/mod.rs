//! `xlb backend …`

mod add;
mod change;
mod list;
mod rm;

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::{
    api::protocol::{Backend, BackendChange},
    cli::{BackendCommand, BackendSet, BackendSettings},
    commands::{Reply, Session},
    config::Admin,
    output::{
        self, Column,
        Column::{Number, Text},
    },
};

/// # Errors
/// When the agent refuses or does not answer.
pub async fn execute(session: &Session, command: &BackendCommand) -> Result<Reply> {
    let (path, change) = match command {
        BackendCommand::List { service } => return list::execute(session, service.as_deref()).await,
        BackendCommand::Add(arguments) => return add::execute(session, arguments).await,
        BackendCommand::Rm { path } => return rm::execute(session, path).await,
        BackendCommand::Set(BackendSet { path, settings }) => {
            let change = self::settings(*settings);
            ensure!(
                !change.is_empty(),
                "service {:?}, backend {:?}: nothing to change: 'xlb backend set --help' shows what there is",
                path.service,
                path.backend
            );
            (path, change)
        }
        BackendCommand::Drain { path } => (path, admin(Admin::Drain)),
        BackendCommand::Maintenance { path } => (path, admin(Admin::Maintenance)),
        BackendCommand::Ready { path } => (path, admin(Admin::Ready)),
        BackendCommand::Weight { path, weight } => {
            let change = BackendChange {
                weight: Some(*weight),
                ..BackendChange::default()
            };
            (path, change)
        }
    };
    change::execute(session, path, change).await
}

fn admin(admin: Admin) -> BackendChange {
    BackendChange {
        admin: Some(admin),
        ..BackendChange::default()
    }
}

/// What the flags ask for.
fn settings(settings: BackendSettings) -> BackendChange {
    let BackendSettings {
        weight,
        max_connections,
        priority,
        state,
    } = settings;
    BackendChange {
        admin: state,
        weight,
        max_connections,
        priority,
    }
}

/// What tables of backends begin with.
pub(super) const COLUMNS: [Column; 9] = [
    Text("BACKEND"),
    Text("ADDRESS"),
    Text("ADMIN"),
    Text("HEALTH"),
    Text("STATE"),
    Number("WEIGHT"),
    Number("MAX"),
    Number("PRIORITY"),
    Number("FLOWS"),
];

/// A row's cells of these columns.
pub(super) fn cells(name: String, backend: &Backend) -> [String; COLUMNS.len()] {
    [
        name,
        address(backend),
        backend.admin.name().into(),
        backend.health.name().into(),
        backend.state.name().into(),
        weight(backend),
        max_connections(backend),
        backend.priority.to_string(),
        output::count(backend.flows),
    ]
}

/// The limit of a backend's flows, if it has one; where it has another by now, that comes first: `10/100`.
pub(in crate::commands) fn max_connections(backend: &Backend) -> String {
    let limit = |max| match max {
        0 => output::NONE.into(),
        max => u32::to_string(&max),
    };
    let (set, now) = (backend.max_connections, backend.max_connections_now);
    if set == now {
        limit(set)
    } else {
        format!("{}/{}", limit(now), limit(set))
    }
}

/// The weight of a backend; where it has another by now, that comes first: `10/100`.
pub(super) fn weight(backend: &Backend) -> String {
    let Backend {
        weight, weight_now, ..
    } = backend;
    if weight == weight_now {
        weight.to_string()
    } else {
        format!("{weight_now}/{weight}")
    }
}

/// Where a backend is, without a port when it takes the VIP's.
pub(super) fn address(backend: &Backend) -> String {
    match backend.port {
        Some(port) => SocketAddr::new(backend.address, port).to_string(),
        None => backend.address.to_string(),
    }
}
