//! What a vault keeps: objects with versions, and those that were deleted and can be recovered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Secret,
    Key,
    Certificate,
}

impl Kind {
    pub(crate) fn of(collection: &str) -> Option<Self> {
        Some(match collection {
            "secrets" => Self::Secret,
            "keys" => Self::Key,
            "certificates" => Self::Certificate,
            _ => return None,
        })
    }

    pub(crate) fn collection(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Key => "keys",
            Self::Certificate => "certificates",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Key => "Key",
            Self::Certificate => "Certificate",
        }
    }
}

/// One version, as the API shows it but for its id.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
    /// When it is back, where it is being recovered.
    pub(crate) back_at: Option<Instant>,
}

/// Names do not differ by case.
type Place = (Kind, String);

fn place(kind: Kind, name: &str) -> Place {
    (kind, name.to_ascii_lowercase())
}

#[derive(Default)]
pub(crate) struct Kept {
    objects: BTreeMap<Place, Object>,
    deleted: BTreeMap<Place, Object>,
    count: u64,
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Kept {
    /// Writes a new version; one that was deleted is gone for it.
    pub(crate) fn put(&mut self, kind: Kind, name: &str, mut body: Value) -> String {
        self.count += 1;
        let id = format!("{:032x}", u128::from(self.count) * 0x9e37_79b9_7f4a_7c15);
        let given = body["attributes"].take();
        let mut attributes =
            json!({"enabled": true, "created": now(), "updated": now(), "recoveryLevel": "Recoverable+Purgeable"});
        for (name, value) in given.as_object().into_iter().flatten() {
            attributes[name] = value.clone();
        }
        body["attributes"] = attributes;
        self.deleted.remove(&place(kind, name));
        let object = self.objects.entry(place(kind, name)).or_default();
        if object.name.is_empty() {
            name.clone_into(&mut object.name);
        }
        object.versions.push(Version { id: id.clone(), body });
        id
    }

    pub(crate) fn get(&mut self, kind: Kind, name: &str) -> Option<&mut Object> {
        self.settle(kind, name);
        self.objects.get_mut(&place(kind, name))
    }

    pub(crate) fn get_deleted(&mut self, kind: Kind, name: &str) -> Option<&Object> {
        self.settle(kind, name);
        self.deleted.get(&place(kind, name)).filter(|object| object.back_at.is_none())
    }

    /// Why the name is taken, though nothing is there.
    pub(crate) fn taken(&mut self, kind: Kind, name: &str) -> Option<&'static str> {
        self.settle(kind, name);
        let deleted = self.deleted.get(&place(kind, name))?;
        Some(if deleted.back_at.is_some() { "ObjectIsBeingRecovered" } else { "ObjectIsDeletedButRecoverable" })
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) -> Option<Object> {
        let object = self.objects.remove(&place(kind, name))?;
        self.deleted.insert(place(kind, name), object.clone());
        Some(object)
    }

    pub(crate) fn recover(&mut self, kind: Kind, name: &str, recovery: Duration) -> Option<Object> {
        let object = self.deleted.get_mut(&place(kind, name))?;
        object.back_at = Some(Instant::now() + recovery);
        Some(object.clone())
    }

    pub(crate) fn purge(&mut self, kind: Kind, name: &str) -> Option<Object> {
        self.deleted.remove(&place(kind, name))
    }

    /// What was to be recovered by now is back.
    fn settle(&mut self, kind: Kind, name: &str) {
        let place = place(kind, name);
        if self.deleted.get(&place).and_then(|object| object.back_at).is_some_and(|back| back <= Instant::now()) {
            let mut object = self.deleted.remove(&place).expect("it is there");
            object.back_at = None;
            self.objects.insert(place, object);
        }
    }

    /// All of a kind, by name.
    pub(crate) fn all(&self, kind: Kind) -> Vec<&Object> {
        self.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| object).collect()
    }

    pub(crate) fn disable(&mut self, name: &str, version: &str) {
        let object = self.get(Kind::Secret, name).expect("it is there");
        let version = object.versions.iter_mut().find(|one| one.id == version).expect("it is there");
        version.body["attributes"]["enabled"] = json!(false);
    }

    pub(crate) fn current(&mut self, kind: Kind, name: &str) -> Option<Value> {
        Some(self.get(kind, name)?.versions.last()?.body.clone())
    }

    pub(crate) fn versions(&mut self, name: &str) -> usize {
        self.get(Kind::Secret, name).map_or(0, |object| object.versions.len())
    }
}
