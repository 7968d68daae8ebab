//! `xlb flow …`

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser as NonEmpty, value_parser};

use crate::{
    api::protocol::FlowQuery,
    cli::{lookup::Ends, values::BackendPath},
};

const WRITTEN: &str = "\
Flows of modes nat and full-nat are remembered exactly. Of the other modes only those are known whose
backend would not be found without, and of them no addresses are kept: only a fingerprint.";

#[derive(Clone, Debug, Subcommand)]
pub enum FlowCommand {
    /// List flows that are remembered
    #[command(after_help = format!("{WRITTEN}\n\nExamples:\n  xlb flow list --service web --limit 20\n  xlb flow list --backend web/b1"))]
    List {
        #[command(flatten)]
        whose: Whose,
        /// How many are shown, of translated and of written ones
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show what is remembered of one flow
    #[command(after_help = format!("{WRITTEN}\n\nExample:\n  xlb flow show --from 198.51.100.7:40000 --to 192.0.2.10:80/tcp"))]
    Show {
        #[command(flatten)]
        ends: Ends,
    },
    /// Forget flows at once: their next packets are those of new ones
    #[command(
        after_help = "Examples:\n  xlb flow purge --service web\n  xlb flow purge --backend web/b1\n  \
        xlb flow purge --from 198.51.100.7:40000 --to 192.0.2.10:80/tcp"
    )]
    Purge(Purge),
}

/// Whose flows are meant.
#[derive(Clone, Debug, Args)]
pub struct Whose {
    /// Only those of this service
    #[arg(long, value_name = "NAME", value_parser = NonEmpty::new())]
    pub service: Option<String>,
    /// Only those of this backend
    #[arg(long, value_name = "SERVICE/NAME", conflicts_with = "service")]
    pub backend: Option<BackendPath>,
}

#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("meant").required(true).args(["service", "backend", "from"])))]
pub struct Purge {
    #[command(flatten)]
    pub whose: Whose,
    /// Address and port of the client of one flow
    #[arg(long, value_name = "IP:PORT", value_parser = crate::cli::values::socket, requires = "to")]
    pub from: Option<std::net::SocketAddr>,
    /// What that client sends to: tcp, unless it says udp or sctp
    #[arg(long, value_name = "VIP:PORT[/PROTO]", requires = "from")]
    pub to: Option<crate::api::protocol::Target>,
}

impl Whose {
    #[must_use]
    pub fn query(&self) -> FlowQuery {
        let Self { service, backend } = self.clone();
        let (of_backend, backend) = backend.map(|path| (path.service, path.backend)).unzip();
        FlowQuery {
            service: service.or(of_backend),
            backend,
            ..FlowQuery::default()
        }
    }
}

impl Purge {
    #[must_use]
    pub fn query(&self) -> FlowQuery {
        FlowQuery {
            from: self.from,
            to: self.to,
            ..self.whose.query()
        }
    }
}
