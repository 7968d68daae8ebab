//! `xlb events`

use std::time::Duration;

use clap::Args;

use crate::{
    api::protocol::EventQuery,
    cli::{check::Whose, values},
};

pub const HELP: &str = "\
The agent keeps the last 10000 events, until it ends. docs/events.md has the fields; 'xlb check
history' is the same as a table.

Examples:
  xlb events --since 1h
  xlb events --follow --since 0s web | jq -r .reason";

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Only what is about this service, or one backend of it
    #[arg(value_name = "SERVICE[/NAME]")]
    pub whose: Option<Whose>,
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// Only what is not longer ago than this, such as 10m; with 0s, nothing of the past
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub since: Option<Duration>,
}

impl Arguments {
    #[must_use]
    pub fn query(&self) -> EventQuery {
        let (service, backend) = Whose::names(self.whose.as_ref());
        EventQuery {
            service,
            backend,
            since: self
                .since
                .map(|ago| humantime::format_duration(ago).to_string().replace(' ', "")),
            follow: self.follow,
        }
    }
}
