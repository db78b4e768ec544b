//! What a rig has for shards.

use keyferry_cluster::leader::Lead;

use super::rig::Rig;

impl Rig {
    /// From now on these shards are ours and no others; what stays is kept.
    pub fn hold_shards(&self, shards: &[u32]) {
        self.lead.send_modify(|held| {
            held.retain(|shard, _| shards.contains(shard));
            for shard in shards {
                held.entry(*shard).or_insert_with(Lead::always);
            }
        });
    }

    /// The shards that are worked on.
    pub fn works_on(&self) -> Vec<u32> {
        self.works.borrow().iter().copied().collect()
    }
}
