//! `xlb service list`

use anyhow::Result;

use crate::commands::{Reply, Session, status};

pub async fn execute(session: &Session) -> Result<Reply> {
    let services = session.client.services().await?;
    Reply::new(session.output, &services, || {
        if services.is_empty() {
            "no services\n".into()
        } else {
            status::services(&services)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::Output,
    };

    #[tokio::test]
    async fn a_list_in_both_forms() {
        let agent = CannedAgent::new(200, json!([canned::service()]));
        let table = execute(&agent.session(Output::Table)).await.unwrap();
        assert!(table.text.starts_with("SERVICE  VIP "), "{}", table.text);
        let json = execute(&agent.session(Output::Json)).await.unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&json.text).unwrap(),
            json!([canned::service()])
        );
    }

    #[tokio::test]
    async fn an_empty_list_says_so() {
        let agent = CannedAgent::new(200, json!([]));
        assert_eq!(
            execute(&agent.session(Output::Table)).await.unwrap().text,
            "no services\n"
        );
        assert_eq!(execute(&agent.session(Output::Json)).await.unwrap().text, "[]\n");
    }
}
