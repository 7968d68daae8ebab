//! `xlb vip list`

use anyhow::Result;

use super::switch;
use crate::{
    api::protocol::Vip,
    commands::{Reply, Session},
    output::{self, Column::Text},
};

pub async fn execute(session: &Session) -> Result<Reply> {
    let vips = session.client.vips().await?;
    Reply::new(session.output, &vips, || {
        if vips.is_empty() {
            "no VIPs\n".into()
        } else {
            table(&vips)
        }
    })
}

fn table(vips: &[Vip]) -> String {
    let columns = [
        Text("VIP"),
        Text("UNSERVED"),
        Text("PING"),
        Text("ROUTE"),
        Text("SERVICES"),
    ];
    let rows = vips.iter().map(|vip| {
        [
            vip.address.to_string(),
            vip.unserved.name().into(),
            switch(vip.ping).into(),
            if vip.announce { "announce" } else { "withdraw" }.to_owned(),
            vip.services.join(", "),
        ]
    });
    output::table(&columns, rows)
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
    async fn a_line_for_each_vip() {
        let agent = CannedAgent::new(200, json!([canned::vip()]));
        let reply = execute(&agent.session(Output::Table)).await.unwrap();
        assert_eq!(
            reply.text,
            "\
VIP              UNSERVED  PING  ROUTE     SERVICES
198.51.100.0/24  reset     off   announce  dns, web
"
        );
    }
}
