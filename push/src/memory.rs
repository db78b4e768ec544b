//! What is remembered of a PushSecret between looks, beside what its status says: of values no more than keyed hashes,
//! which are of no use to anybody without the key, which never leaves the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use keyferry_provider_core::{Key, Payload, Push, SecretBytes};
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::plan::LastSync;
use keyferry_sync::ports::Versions;
use keyferry_sync::states::Kept;
use keyferry_sync::store::StoreId;
use sha3::{Digest as _, Sha3_256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::halfway::Halfway;

/// The key of the hashes: random, one for each process.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MacKey([u8; 32]);

/// A keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 32]);

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl MacKey {
    /// Takes random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of all that is pushed: the value, where to, and what goes along.
    /// `marks` is the hash of what its source bears.
    pub fn of_push(&self, push: &Push, marks: &Mac) -> Mac {
        let mut hash = self.begin(b"push");
        part(&mut hash, push.remote.key.as_bytes());
        part(&mut hash, push.remote.property.as_deref().unwrap_or_default().as_bytes());
        let metadata = push.remote.metadata.as_ref().map(serde_json::Value::to_string).unwrap_or_default();
        part(&mut hash, metadata.as_bytes());
        match &push.payload {
            Payload::Value(value) => part(&mut hash, value.expose()),
            Payload::Fields(fields) => {
                for (name, value) in fields {
                    part(&mut hash, name.as_bytes());
                    part(&mut hash, value.expose());
                }
            }
        }
        let origin = &push.origin;
        part(&mut hash, origin.key.as_deref().unwrap_or("\0").as_bytes());
        part(&mut hash, origin.secret_type.as_deref().unwrap_or_default().as_bytes());
        part(&mut hash, &marks.0);
        Mac(hash.finalize().into())
    }

    /// Of what a source bears.
    pub fn of_marks(&self, labels: &StringMap, annotations: &StringMap) -> Mac {
        let mut hash = self.begin(b"marks");
        for marks in [labels, annotations] {
            part(&mut hash, &(marks.len() as u64).to_le_bytes());
            for (name, value) in marks {
                part(&mut hash, name.as_bytes());
                part(&mut hash, value.as_bytes());
            }
        }
        Mac(hash.finalize().into())
    }

    /// Of what a store answered.
    pub fn of_answer(&self, value: &SecretBytes) -> Mac {
        let mut hash = self.begin(b"answer");
        part(&mut hash, value.expose());
        Mac(hash.finalize().into())
    }

    fn begin(&self, what: &[u8]) -> Sha3_256 {
        // Nobody can go on from one SHA-3 to another, so that a key in front is enough.
        let mut hash = Sha3_256::new_with_prefix(self.0);
        part(&mut hash, what);
        hash
    }
}

/// With its length, so that two parts are never taken for two others.
fn part(hash: &mut Sha3_256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// An entry that is in its store.
#[derive(Clone, Debug)]
pub struct Held {
    /// What was pushed.
    pub payload: Mac,
    /// What the store answers while it holds that; `None` where it was not asked since.
    pub answer: Option<Mac>,
    /// What to ask it for.
    pub key: Key,
    /// How often in a row it answered something else, and the push that followed found nothing to mend or mended it.
    pub surprises: u8,
    /// The name of the Secret that it is of.
    pub from: String,
    /// The entry of `dataTo` that it is of, where `spec.template` made its key.
    pub made: Option<usize>,
}

/// So often in a row, and what a store answers can't be compared: it is left to the store's own comparison.
pub const OPAQUE: u8 = 2;

/// All that is held in one store.
#[derive(Clone, Debug, Default)]
pub struct InStore {
    /// The UID and generation of the store that it is held in.
    pub version: (String, i64),
    /// By place.
    pub held: BTreeMap<String, Held>,
}

/// A generated value that is not everywhere yet.
#[derive(Clone, Debug)]
pub struct Generated {
    /// When it was made.
    pub at: Timestamp,
    /// For what: [`asked_for`](crate::generated::asked_for).
    pub asked_for: String,
    /// By when it is to be replaced, as far as that was known then.
    pub refresh_by: Option<Timestamp>,
    /// What it is.
    pub data: Data,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    /// The last time that all was as it should be. The status may tell of an earlier one.
    pub last: Option<LastSync>,
    /// Failures since.
    pub failures: u32,
    /// The objects that were read, as they were then; `None` before they were.
    pub read: Option<Versions>,
    /// What is where.
    pub stores: BTreeMap<StoreId, InStore>,
    /// What was generated and is not everywhere yet.
    pub generated: Option<Generated>,
    /// What was replaced before it was everywhere.
    pub halfway: Halfway,
    /// The generated value that is everywhere.
    pub kept: Option<Kept>,
    /// By when what the stores hold is to be replaced, where a generator made it and it is refreshed by time.
    pub replace_by: Option<Timestamp>,
    /// The state of what was generated last, where it has one: its name.
    pub made: Option<String>,
    /// Places where something may be that we did not make: it is written over, and nobody knows for certain whether that was
    /// done.
    pub doubtful: BTreeSet<(StoreId, String)>,
    /// The version of the PushSecret whose source is missing, and since when, where that was seen by every look since.
    pub gone_since: Option<(String, Timestamp)>,
    /// Places, by store, whose Secret is not among those that are selected any more, and since when.
    pub parting: BTreeMap<(String, String), Timestamp>,
    /// Places, by store, that are not wanted there any more and stay, since another store in which they are wanted may lead to
    /// them: those of which that was told.
    pub kept_apart: BTreeSet<(String, String)>,
    /// A success whose status could not be written: when it began.
    pub untold: Option<Timestamp>,
}
