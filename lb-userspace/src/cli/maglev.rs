//! `xlb maglev …`

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser as NonEmpty};

use crate::{
    cli::values::{self, Weight},
    config::BackendSpec,
};

#[derive(Clone, Debug, Subcommand)]
pub enum MaglevCommand {
    /// Show how the slots of a service are shared, and their states
    #[command(after_help = "docs/flows.md says what the states mean.\n\nExample:\n  xlb maglev show web")]
    Show {
        /// Name of the service
        #[arg(value_parser = NonEmpty::new())]
        service: String,
    },
    /// Show how many slots a change of the backends would move; nothing is changed
    #[command(
        after_help = "Backends stay up or down as they are, and new ones count as up.\n\n\
        Examples:\n  xlb maglev diff web --add 10.0.0.4:8080\n  xlb maglev diff web --remove b1 --weight b2=50"
    )]
    Diff(MaglevDiff),
}

#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("changes").required(true).multiple(true).args(["add", "remove", "weight"])))]
pub struct MaglevDiff {
    /// Name of the service
    #[arg(value_parser = NonEmpty::new())]
    pub service: String,
    /// A backend more; as 'xlb service add' takes them; any number of times
    #[arg(long, value_name = "ADDR[:PORT][,OPTION=VALUE]...", value_parser = values::backend)]
    pub add: Vec<BackendSpec>,
    /// A backend less; any number of times
    #[arg(long, value_name = "NAME", value_parser = NonEmpty::new())]
    pub remove: Vec<String>,
    /// Another weight of a backend; any number of times
    #[arg(long, value_name = "NAME=N")]
    pub weight: Vec<Weight>,
}
