//! `xlb vip set`

use anyhow::Result;

use super::switch;
use crate::{
    api::protocol::VipChange,
    commands::{Reply, Session},
    config::Network,
};

pub async fn execute(session: &Session, address: Network, change: VipChange) -> Result<Reply> {
    let vip = session.client.change_vip(address, &change).await?;
    Reply::new(session.output, &vip, || {
        let unserved = change
            .unserved
            .map(|_| format!("vip {address} set to unserved {}\n", vip.unserved.name()));
        let ping = change
            .ping
            .map(|_| format!("vip {address} set to ping {}\n", switch(vip.ping)));
        [unserved, ping].into_iter().flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::Output,
    };

    #[tokio::test]
    async fn a_network_is_one_segment_of_the_path() {
        let agent = CannedAgent::new(200, canned::vip());
        let change = VipChange {
            ping: Some(false),
            ..VipChange::default()
        };
        let network = "198.51.100.0/24".parse().unwrap();
        let reply = execute(&agent.session(Output::Table), network, change).await;
        assert_eq!(reply.unwrap().text, "vip 198.51.100.0/24 set to ping off\n");
        assert_eq!(
            agent.requests(),
            [("PATCH /v1/vips/198.51.100.0%2F24".into(), json!({"ping": false}))]
        );
    }
}
