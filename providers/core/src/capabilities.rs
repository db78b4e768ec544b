//! What a store can do, and how External Secrets Operator reads it: two flat structs, told apart since the first is a
//! fact of the store and the second a habit of its clients.

/// What a store can do. Everything but reading is off by default, so that a new field is a safe addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The most keys that one [`Provider::fetch`](crate::Provider::fetch) takes; 1 where the store has no batch call, 0
    /// where it can't be read.
    pub max_batch: usize,
    /// Whether [`Key::version`](crate::Key::version) means something here; where it does not, it is passed over, as
    /// External Secrets Operator does. A store with versions names the one that it answered.
    pub versions: bool,
    /// What becomes of [`Key::metadata`](crate::Key::metadata).
    pub metadata: Metadata,
    /// Whether secrets can be found by name.
    pub find_by_name: bool,
    /// Whether secrets can be found below a path.
    pub find_by_path: bool,
    /// Whether secrets can be found by tags.
    pub find_by_tags: bool,
    /// Whether a search by neither name nor tags finds all that is there, or all below the path. Elsewhere it is
    /// refused: what was forgotten must not bring every secret of a store into a target.
    pub find_all: bool,
    /// Whether secrets can be written, and be asked for whether they are there.
    pub push: bool,
    /// Whether secrets can be deleted.
    pub delete: bool,
    /// Whether what was written is marked as ours there. Elsewhere nothing tells it from what others wrote.
    pub marks: bool,
    /// Whether the metadata of a push may name another place than the store's own, in `spec.remoteNamespace`: what is
    /// there is not what is read by its key.
    pub writes_elsewhere: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::READ_ONLY
    }
}

impl Capabilities {
    /// Reads secrets one by one, and nothing else: what others are said in difference to.
    pub const READ_ONLY: Self = Self {
        max_batch: 1,
        versions: false,
        metadata: Metadata::Refused,
        find_by_name: false,
        find_by_path: false,
        find_by_tags: false,
        find_all: false,
        push: false,
        delete: false,
        marks: false,
        writes_elsewhere: false,
    };

    /// The word for it in `status.capabilities`.
    pub fn access(&self) -> &'static str {
        match (self.max_batch > 0, self.push) {
            (true, true) => "ReadWrite",
            (false, true) => "WriteOnly",
            (_, false) => "ReadOnly",
        }
    }
}

/// What becomes of [`Key::metadata`](crate::Key::metadata); External Secrets Operator differs by store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// The store keeps none, and says so.
    #[default]
    Refused,
    /// It is passed over: the value is answered.
    PassedOver,
    /// It is answered, as a JSON object, or as nothing where there is none.
    Answered,
}

/// How External Secrets Operator reads a store, where it differs by store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// How a property is looked up.
    pub property: PropertyLookup,
    /// Whether the names of what is found are converted to keys before they are rewritten, and not only where nothing is
    /// rewritten.
    pub find_converts_names: bool,
    /// Whether the fields that `dataFrom.extract` takes are written as Go writes what it read: numbers through a float,
    /// objects and lists anew. Elsewhere they stay as they stand in the value.
    pub extract_writes_anew: bool,
    /// Whether a missing secret is an error like any other for entries of `data`, so that deletionPolicy acts only on
    /// what `dataFrom` misses.
    pub missing_fails_data: bool,
    /// Whether metadata are tags that may themselves be JSON: a property that is none of them is the tag before the first
    /// dot and a path into it, and `dataFrom.extract` takes them as `name_tag`, one that is an object of texts as
    /// `name_tag_field`.
    pub tags_name_the_secret: bool,
}

/// How `remoteRef.property` is looked up in a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropertyLookup {
    /// As a path only.
    #[default]
    Path,
    /// A top-level key of exactly this name first, then as a path.
    ExactThenPath,
    /// The value is a JSON object of base64 strings, one for each field of the secret, which may be any bytes (metadata is
    /// not): a field of exactly this name first, then the field before the first dot and a path into it. Without a
    /// property it is shown as an object of strings, and extracted as the bytes.
    Base64Fields,
    /// A property with a dot: as a path whose dots are part of one key first, then as a path.
    DottedKeyThenPath,
    /// The value is [parts](crate::parts): fields and files by their names. A property is `field/NAME`, `file/NAME` or a
    /// name: of a file where files come first, else of a field. Without one it is the field `password`, or the first file.
    /// There are no paths. `extract` takes all fields, or all files where those come first; a search finds all parts
    /// of what it finds whose names match, and of equal names that of the least rank.
    Parts,
    /// The value is an object with `Items`, each with `FieldName`, `Slug` and `ItemValue`. A property is a path into what the
    /// first item holds, where that is JSON, else an item of this name or slug. `extract` takes what the first item holds.
    Items,
    /// The store looks it up itself, from what [goes along in the name](crate::Key::with_property); what it answers is the
    /// value of the property.
    OfTheStore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_what_the_store_can_do() {
        let can = |max_batch, push| Capabilities { max_batch, push, ..Capabilities::default() }.access();
        assert_eq!([can(1, false), can(20, false), can(0, false)], ["ReadOnly"; 3]);
        assert_eq!((can(1, true), can(0, true)), ("ReadWrite", "WriteOnly"));
    }
}
