//! The client before agents that answer well, badly, or not at all.

use serde_json::json;

use super::{canned::CannedAgent, *};

#[tokio::test]
async fn an_answer_is_read() {
    let agent = CannedAgent::new(200, canned::status());
    let status = Client::new(agent.socket()).status().await.unwrap();
    assert_eq!(serde_json::to_value(status).unwrap(), canned::status());
    assert_eq!(agent.requests(), [("GET /v1/status".into(), json!(null))]);
}

#[tokio::test]
async fn an_answer_may_be_long() {
    let mut service = canned::service();
    service["backends"] = (0..4096).map(|id| canned::backend(&format!("b{id}"))).collect();
    let agent = CannedAgent::new(200, json!([service]));
    let services = Client::new(agent.socket()).services().await.unwrap();
    assert_eq!(services[0].backends.len(), 4096);
}

#[tokio::test]
async fn a_refusal_is_the_agents_own_text() {
    let agent = CannedAgent::new(404, json!({"error": "no service \"web\""}));
    let error = Client::new(agent.socket())
        .remove_service("web")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no service \"web\"");
    assert!(
        matches!(
            error,
            Error::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }
        ) && !error.is_not_ready()
    );
}

#[tokio::test]
async fn answers_of_something_else_are_named_as_such() {
    let not_found = CannedAgent::new(404, json!("nothing here"));
    let error = Client::new(not_found.socket())
        .status()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("answered '404 Not Found' without a reason"),
        "{error}"
    );
    let other = CannedAgent::new(200, json!({"version": 1}));
    let error = Client::new(other.socket())
        .status()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("what this version does not understand"), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    for answer in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"version\"",
        "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n{}",
    ] {
        let agent = CannedAgent::raw(answer);
        let error = Client::new(agent.socket()).status().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("gave no whole answer ("), "{answer:?}: {text}");
        assert!(!error.is_not_ready());
    }
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_waited_for_only_so_long() {
    let agent = CannedAgent::silent();
    let client = Client::new(agent.socket()).with_timeout(Duration::from_millis(50));
    let error = client.status().await.unwrap_err();
    assert!(error.is_not_ready());
    assert!(
        error.to_string().ends_with("did not answer within 50ms"),
        "{error}"
    );
    let error = client.remove_service("web").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("whether the change was made is not known"),
        "{error}"
    );
}

#[test]
fn a_socket_that_may_not_be_used_has_its_own_remedy() {
    let cause = std::io::Error::from_raw_os_error(13);
    let error = Error::Unreachable {
        socket: "/run/xlb/xlb.sock".into(),
        cause,
    };
    let expected = "may not talk to the agent at /run/xlb/xlb.sock (Permission denied): \
                    run as root or as a member of the socket's group";
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_not_ready());
}
