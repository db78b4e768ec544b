//! What a rig has for shards.

use std::sync::Arc;

use keyferry_cluster::division::Division;
use keyferry_cluster::leader::Lead;

use super::rig::Rig;

impl Rig {
    /// From now on these shards are ours and no others; what stays is kept.
    pub fn hold_shards(&self, shards: &[u32]) {
        self.lead.send_modify(|part| {
            part.held.retain(|shard, _| shards.contains(shard));
            for shard in shards {
                part.held.entry(*shard).or_insert_with(Lead::always);
            }
        });
    }

    /// From now on all is divided so.
    pub fn divide(&self, division: &Division) {
        self.lead.send_modify(|part| part.division = Arc::new(division.clone()));
    }

    /// The number of the division that was taken last.
    pub fn has_taken(&self) -> u64 {
        self.works.borrow().taken
    }

    /// The stores that are to be split.
    pub fn wants(&self) -> Vec<String> {
        self.works.borrow().wanted.iter().flatten().cloned().collect()
    }

    /// The shards that are worked on.
    pub fn works_on(&self) -> Vec<u32> {
        self.works.borrow().shards.iter().copied().collect()
    }
}
