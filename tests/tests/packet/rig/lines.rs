//! Entries and lines of translated flows, looked at and made older.

use anyhow::{Context as _, Result};
use lb_common::{
    flow::FlowKey,
    line::{
        self, WORDS,
        word::{HASH, SEEN, UNTIL},
    },
};
use xlb::datapath::sweep;

use super::{HASH_KEY, Rig};

impl Rig {
    /// Takes away what a client's packets are known by, as eviction does.
    pub fn evict_flow(&mut self, key: &FlowKey) -> Result<()> {
        Ok(self.flows.remove(key)?)
    }

    /// Has the last packet that a flow's entry knows of be so long ago.
    pub fn age_flow(&mut self, key: &FlowKey, silence: u64) -> Result<()> {
        let mut flow = self.flow(key).context("no such flow")?;
        flow.last_seen = sweep::now()?.saturating_sub(silence);
        Ok(self.flows.insert(key, flow, 0)?)
    }

    /// Where a flow's line may be.
    pub fn line_places(&self, key: &FlowKey) -> [u32; 2] {
        let lines = u32::try_from(self.lines.words() / WORDS).unwrap();
        line::places(key.hash(HASH_KEY), lines)
    }

    /// The first word of a flow's line, if it has one.
    fn first_word(&self, key: &FlowKey) -> Option<usize> {
        let firsts = self.line_places(key).map(|place| place as usize * WORDS);
        firsts
            .into_iter()
            .find(|first| self.lines.load(first + HASH) == key.hash(HASH_KEY))
    }

    /// When the last packet went by a flow's line, if it has one.
    pub fn line(&self, key: &FlowKey) -> Option<u64> {
        self.first_word(key).map(|first| self.lines.load(first + SEEN))
    }

    /// Has a flow's line, if it has one, be as if no packet had come for so long.
    pub fn age_line(&self, key: &FlowKey, silence: u64) {
        let Some(first) = self.first_word(key) else { return };
        for word in [UNTIL, SEEN] {
            let before = self.lines.load(first + word);
            self.lines.store(first + word, before.saturating_sub(silence));
        }
    }
}
