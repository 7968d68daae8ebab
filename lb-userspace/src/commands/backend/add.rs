//! `xlb backend add`

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    cli::values::BackendPath,
    commands::{Reply, Session},
    config::{BackendSpec, ServerId},
};

pub async fn execute(
    session: &Session,
    path: &BackendPath,
    address: IpAddr,
    port: Option<u16>,
    weight: Option<u16>,
    server_id: Option<ServerId>,
) -> Result<Reply> {
    let unnamed = BackendSpec::new(address, port);
    let weight = weight.unwrap_or(unnamed.weight);
    let spec = BackendSpec {
        name: path.backend.clone(),
        weight,
        server_id,
        ..unnamed
    };
    let backend = session.client.add_backend(&path.service, &spec).await?;
    Reply::new(session.output, &backend, || format!("backend {path} added\n"))
}
