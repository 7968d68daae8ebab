//! `xlb vip …`

mod list;
mod set;

use anyhow::Result;

use crate::{
    api::protocol::VipChange,
    cli::VipCommand,
    commands::{Reply, Session},
};

/// # Errors
/// When the agent refuses or does not answer.
pub async fn execute(session: &Session, command: &VipCommand) -> Result<Reply> {
    match command {
        VipCommand::List => list::execute(session).await,
        VipCommand::Set {
            address,
            unserved,
            ping,
        } => {
            let change = VipChange {
                unserved: *unserved,
                ping: *ping,
            };
            set::execute(session, *address, change).await
        }
    }
}

/// `on` or `off`.
const fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
