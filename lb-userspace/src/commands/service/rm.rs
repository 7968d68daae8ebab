//! `xlb service rm`

use anyhow::Result;

use crate::commands::{Reply, Session};

pub async fn execute(session: &Session, name: &str) -> Result<Reply> {
    let removed = session.client.remove_service(name).await?;
    Reply::new(session.output, &removed, || format!("service {name} removed\n"))
}
