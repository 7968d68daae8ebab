//! `xlb service …`

mod add;
mod check;
mod flows;
mod list;
mod rm;
mod set;
mod show;

use anyhow::Result;

use crate::{
    cli::ServiceCommand,
    commands::{Reply, Session},
};

/// # Errors
/// When the agent refuses or does not answer.
pub async fn execute(session: &Session, command: &ServiceCommand) -> Result<Reply> {
    match command {
        ServiceCommand::List => list::execute(session).await,
        ServiceCommand::Show { name } => show::execute(session, name).await,
        ServiceCommand::Add(service) => add::execute(session, service).await,
        ServiceCommand::Set { name, flows, check } => set::execute(session, name, **flows, check).await,
        ServiceCommand::Rm { name } => rm::execute(session, name).await,
    }
}
