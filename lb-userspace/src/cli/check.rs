//! `xlb check …`

use std::{str::FromStr, time::Duration};

use clap::{Subcommand, value_parser};

use crate::cli::values::{self, BackendPath};

#[derive(Clone, Debug, Subcommand)]
pub enum CheckCommand {
    /// List checks and what they have found last
    #[command(
        after_help = "STREAK is how many results in a row speak against the state, of how many it takes to change it.\n\n\
        Examples:\n  xlb check list\n  xlb check list web\n  xlb check list web/b1"
    )]
    List {
        /// Only those of this service, or of one backend of it
        #[arg(value_name = "SERVICE[/NAME]")]
        whose: Option<Whose>,
    },
    /// Show all about the checks of one backend
    Show {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// Run the checks of a backend now; the results count for nothing
    #[command(
        after_help = "Exit code 0 says that all have passed, 2 that one has not.\n\nExample:\n  xlb check run web/b1"
    )]
    Run {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// List what has happened to services and backends
    #[command(after_help = "The agent keeps the last 10000 events, until it ends.\n\n\
        Examples:\n  xlb check history web/b1\n  xlb check history --since 1h --lines 20")]
    History {
        /// Only what is about this service, or one backend of it
        #[arg(value_name = "SERVICE[/NAME]")]
        whose: Option<Whose>,
        /// Only what is not longer ago than this, such as 10m
        #[arg(long, value_name = "TIME", value_parser = values::duration)]
        since: Option<Duration>,
        /// How many of the last ones are shown
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
        lines: u32,
    },
}

/// `SERVICE` or `SERVICE/NAME`: a service, or one backend of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    pub service: String,
    pub backend: Option<String>,
}

impl FromStr for Whose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, backend) = match text.split_once('/') {
            Some((service, backend)) => (service, Some(backend)),
            None => (text, None),
        };
        if service.is_empty() || backend.is_some_and(str::is_empty) {
            return Err("a service is given by its name, a backend as SERVICE/NAME, such as web/b1".into());
        }
        Ok(Self {
            service: service.into(),
            backend: backend.map(Into::into),
        })
    }
}

impl Whose {
    /// The names of service and backend, where somebody is meant.
    #[must_use]
    pub fn names(whose: Option<&Self>) -> (Option<String>, Option<String>) {
        let service = whose.map(|whose| whose.service.clone());
        (service, whose.and_then(|whose| whose.backend.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_or_a_backend_of_it() {
        let read = |text: &str| text.parse::<Whose>().map(|whose| Whose::names(Some(&whose)));
        assert_eq!(read("web"), Ok((Some("web".into()), None)));
        assert_eq!(
            read("web/10.0.0.2:8080"),
            Ok((Some("web".into()), Some("10.0.0.2:8080".into())))
        );
        for wrong in ["", "/", "web/", "/b1"] {
            assert!(read(wrong).unwrap_err().contains("SERVICE/NAME"), "{wrong}");
        }
    }
}
