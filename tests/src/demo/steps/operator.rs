//! The table that people look at.

use anyhow::Result;

use crate::demo::screen::Screen;
use crate::demo::stage::Stage;

pub(in crate::demo) fn operator(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.text("'xlb status' is one screen about all of it, and says what became of every packet:")?;
    screen.quote(&stage.agent.ok(&["status"])?)?;
    screen.text("'xlb backend list':")?;
    screen.quote(&stage.agent.ok(&["backend", "list"])?)
}
