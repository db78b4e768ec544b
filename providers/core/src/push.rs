//! What is written into a store, and where.

use std::collections::BTreeMap;

use crate::SecretBytes;

/// A secret of a store, or one property of it, as whoever writes there names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The name or path as the user wrote it (`remoteRef.remoteKey`).
    pub key: String,
    /// The field inside the secret (`remoteRef.property`); `None` is the secret as a whole.
    pub property: Option<String>,
    /// What the user says to this store only (`metadata` of a PushSecret), as it stands: its form is the store's own.
    pub metadata: Option<serde_json::Value>,
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Push {
    /// Where to.
    pub remote: Remote,
    /// What.
    pub payload: Payload,
    /// Whom it comes from.
    pub origin: Origin,
    /// What may be overwritten.
    pub reach: Reach,
}

/// The values of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One value, byte for byte.
    Value(SecretBytes),
    /// All values of the source by their keys. How several are written is the store's own choice: as fields where it
    /// keeps any, else as one JSON object.
    Fields(BTreeMap<String, SecretBytes>),
}

/// What the source of a push says of itself. Stores that keep such things may take it over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The key of the Secret that the one value is of; `None` where all of its values are pushed. Stores without properties
    /// name by it what they keep the value in.
    pub key: Option<String>,
    /// The type of the Secret.
    pub secret_type: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a write may touch, in stores that can mark what was written by us. Where a store can't, everything is ours, as
/// in External Secrets Operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// What bears the mark.
    #[default]
    Ours,
    /// Whatever is there; what is overwritten bears the mark from then on.
    All,
}
