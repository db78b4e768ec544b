//! From a key as the user wrote it to a path of Vault's API. The rules are External Secrets Operator's, traps
//! included, since users' keys were written against them.

use keyferry_provider_core::{Blame, Error};
use keyferry_provider_http::path::clean;

/// The version of a KV engine, which decides how its paths are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Values stand right below the mount, without versions.
    V1,
    /// Values below `data/`, what is known about them below `metadata/`.
    V2,
}

/// Where a secret is: the mount of its engine, as far as we can tell, and the path inside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    version: KvVersion,
    mount: String,
    rest: String,
    /// Whether it is the store that names the mount, and not the key.
    is_of_store: bool,
}

impl Place {
    /// Where `key` is, given the mount the store names, if it names one.
    ///
    /// - With a mount: the key may begin with it, and on version 2 with `data/` after it; both are dropped. TRAP: a
    ///   secret whose own path begins with the mount's name is out of reach under its short name.
    /// - Without a mount on version 2: the mount is what stands before the first `/data/`, or else the first segment.
    ///   TRAP: a secret with `/data/` inside its own path needs the mount set, or the full API path.
    /// - Without a mount on version 1: the key is the path.
    /// - Without a mount the key never leads to what Vault keeps for itself, such as the store's own token.
    pub fn of(mount: Option<&str>, version: KvVersion, key: &str) -> Result<Self, Error> {
        let is_of_store = mount.is_some();
        let (mount, rest) = match (mount, version) {
            (Some(mount), version) => (mount, inside(mount, version, key)),
            (None, version) => {
                let (mount, rest) = halves(version, key);
                refuse_own(mount)?;
                (mount, rest)
            }
        };
        let (mount, rest) = (clean(mount)?, clean(rest)?);
        match (mount.is_empty(), rest.is_empty()) {
            (false, false) => Ok(Self { version, mount, rest, is_of_store }),
            _ => Err(wrong(format!(
                "the key {key:?} names no secret inside a mount: set spec.provider.vault.path or write MOUNT/PATH"
            ))),
        }
    }

    /// Where the folder `path` is, given the mount the store names, if it names one: as in External Secrets Operator it
    /// is inside that mount as it stands, and else holds the mount by the rules of keys.
    pub fn folder(mount: Option<&str>, version: KvVersion, path: &str) -> Result<Self, Error> {
        let is_of_store = mount.is_some();
        let (mount, rest) = match mount {
            Some(mount) => (mount, path),
            None => {
                let (mount, rest) = halves(version, path);
                refuse_own(mount)?;
                (mount, rest)
            }
        };
        let (mount, rest) = (clean(mount)?, clean(rest)?);
        if mount.is_empty() {
            Err(wrong("to find secrets, set spec.provider.vault.path, or begin find.path with a mount".to_owned()))
        } else {
            Ok(Self { version, mount, rest, is_of_store })
        }
    }

    /// The path that lists this folder, below `/v1/`.
    pub fn listing(&self) -> String {
        let Self { mount, rest, .. } = self;
        let metadata = match self.version {
            KvVersion::V1 => "",
            KvVersion::V2 => "metadata/",
        };
        let end = if rest.is_empty() { "" } else { "/" };
        format!("{mount}/{metadata}{rest}{end}")
    }

    /// Whether a part of the path after the first is called as one of the places that Vault keeps for itself: behind the
    /// path of a namespace it would lead there.
    pub fn may_be_own(&self) -> bool {
        let segments = self.mount.split('/').skip(1).chain(self.rest.split('/'));
        !self.is_of_store && segments.into_iter().any(|segment| OWN.contains(&segment))
    }

    /// The mount, as far as the store or the key tells.
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// The version of the engine that the store says is there.
    pub fn version(&self) -> KvVersion {
        self.version
    }

    /// The path of the value below `/v1/`.
    pub fn data(&self) -> String {
        match self.version {
            KvVersion::V1 => format!("{}/{}", self.mount, self.rest),
            KvVersion::V2 => format!("{}/data/{}", self.mount, self.rest),
        }
    }

    /// The path of what the engine knows about the secret, below `/v1/`. Only version 2 has one.
    pub fn metadata(&self) -> String {
        format!("{}/metadata/{}", self.mount, self.rest)
    }
}

fn inside<'a>(mount: &str, version: KvVersion, key: &'a str) -> &'a str {
    let below = key.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/'));
    match (below, version) {
        (Some(rest), KvVersion::V2) => rest.strip_prefix("data/").unwrap_or(rest),
        (Some(rest), KvVersion::V1) => rest,
        (None, _) => key,
    }
}

/// Where Vault keeps what is no secret of an engine: tokens and logins, its own settings, who is who, and what belongs to
/// one token alone.
const OWN: [&str; 4] = ["auth", "sys", "identity", "cubbyhole"];

/// Refuses a mount that a key names, where it is none of an engine's: whoever may name keys of a store is not to read what
/// the store's own token may.
fn refuse_own(mount: &str) -> Result<(), Error> {
    let first = clean(mount)?;
    match OWN.into_iter().find(|own| first.split('/').next() == Some(own)) {
        Some(own) => {
            Err(wrong(format!("there are no secrets below {own}/: begin the key with the mount of a KV engine")))
        }
        None => Ok(()),
    }
}

/// The mount and what is inside it, where no store names the mount.
fn halves(version: KvVersion, key: &str) -> (&str, &str) {
    // What is tidied away is no first segment.
    let mut key = key;
    while let Some(rest) = key.strip_prefix('/').or_else(|| key.strip_prefix("./")) {
        key = rest;
    }
    match version {
        KvVersion::V1 => first_segment(key),
        KvVersion::V2 => key.split_once("/data/").unwrap_or_else(|| first_segment(key)),
    }
}

fn first_segment(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or((key, ""))
}

/// A path that no store could be asked for.
fn wrong(message: String) -> Error {
    Error::invalid(message).with_blame(Blame::Request)
}

#[cfg(test)]
mod tests {
    use super::KvVersion::{V1, V2};
    use keyferry_provider_core::ErrorKind;

    use super::*;

    #[test]
    fn every_way_to_write_a_key() {
        for (mount, version, key, expected) in [
            // The mount is set: the key is below it, however much of the way it repeats.
            (Some("secret"), V2, "foo", "secret/data/foo"),
            (Some("secret/path"), V2, "foo", "secret/path/data/foo"),
            (Some("secret/path"), V1, "foo", "secret/path/foo"),
            (Some("secret/path"), V2, "secret/path/foo", "secret/path/data/foo"),
            (Some("secret/path"), V2, "secret/path/data/foo", "secret/path/data/foo"),
            (Some("secret/path"), V1, "secret/path/foo", "secret/path/foo"),
            (Some("secret"), V2, "secretive/foo", "secret/data/secretive/foo"),
            (Some("secret"), V2, "secret", "secret/data/secret"),
            // TRAP: secrets that are really named so.
            (Some("secret"), V2, "data/foo", "secret/data/data/foo"),
            (Some("secret"), V2, "secret/data/data/foo", "secret/data/data/foo"),
            (Some("secret"), V2, "secret/foo", "secret/data/foo"), // secret/data/secret/foo has no short name
            (Some("secret"), V2, "secret/secret/foo", "secret/data/secret/foo"),
            (Some("secret"), V1, "secret/data/foo", "secret/data/foo"), // version 1 knows no data/
            (Some("secret"), V2, "a/data/b", "secret/data/a/data/b"),
            (Some("secret"), V2, "/secret/foo", "secret/data/secret/foo"), // the slash keeps the mount from matching
            (Some("secret/"), V2, "foo", "secret/data/foo"),
            // The mount is not set.
            (None, V2, "secret/path/foo", "secret/data/path/foo"),
            (None, V2, "secret/path/data/foo", "secret/path/data/foo"),
            (None, V2, "secret/data/foo", "secret/data/foo"),
            (None, V2, "secret/database", "secret/data/database"),
            (None, V2, "a/data/b/data/c", "a/data/b/data/c"),
            (None, V1, "secret/path/foo", "secret/path/foo"),
            (None, V1, "secret/data/foo", "secret/data/foo"),
            // What Vault's own client tidies up.
            (Some("secret"), V2, "a//b/", "secret/data/a/b"),
            (Some("secret"), V2, "a/./b", "secret/data/a/b"),
            (Some("secret"), V2, "a...b/..c", "secret/data/a...b/..c"),
            (Some("secret"), V2, "päß wörd/x.y", "secret/data/päß wörd/x.y"),
        ] {
            let place = Place::of(mount, version, key).unwrap();
            assert_eq!(place.data(), expected, "{mount:?} {version:?} {key:?}");
        }
    }

    #[test]
    fn metadata_lies_beside_the_data() {
        for (mount, key, expected) in [
            (Some("secret"), "foo", "secret/metadata/foo"),
            (Some("secret"), "secret/data/foo", "secret/metadata/foo"),
            (Some("secret"), "a/data/b", "secret/metadata/a/data/b"),
            (None, "secret/foo", "secret/metadata/foo"),
            (None, "a/b/data/c/data/d", "a/b/metadata/c/data/d"),
        ] {
            assert_eq!(Place::of(mount, V2, key).unwrap().metadata(), expected, "{mount:?} {key:?}");
        }
    }

    #[test]
    fn what_names_no_secret_is_refused() {
        for (mount, version, key) in [
            (None, V2, "foo"),
            (None, V1, "foo"),
            (None, V2, ""),
            (None, V2, "secret/"),
            (None, V2, "secret/data/"),
            (Some("secret"), V2, ""),
            (Some("secret"), V2, "secret/"),
            (Some("secret"), V2, "secret/data/"),
            (Some("secret"), V2, "../sys/seal-status"),
            (Some("secret"), V2, "a/../../../sys/mounts"),
            (Some("secret"), V1, ".."),
            (Some("secret"), V2, "a\nb"),
            (Some("secret"), V2, "a\0b"),
            (Some("secret"), V2, "a\u{85}b"),
            (Some("a\rb"), V2, "c"),
        ] {
            let error = Place::of(mount, version, key).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{key:?}");
            assert!(!error.message().chars().any(char::is_control), "{error}");
        }
    }

    #[test]
    fn what_vault_keeps_for_itself_is_out_of_reach() {
        for key in [
            "auth/token/lookup-self",
            "/auth/token/lookup-self",
            "//auth//token/lookup-self",
            "./auth/token/lookup-self",
            "sys/internal/ui/mounts",
            "sys/data/x",
            "identity/entity/id",
            "cubbyhole/x",
            "cubbyhole/data/x",
            "././cubbyhole/x",
        ] {
            for version in [V1, V2] {
                let error = Place::of(None, version, key).unwrap_err();
                assert!(error.message().contains("there are no secrets below"), "{version:?} {key}: {error}");
                assert!(Place::folder(None, version, key).is_err(), "{version:?} {key}");
            }
            // Below a mount that the store names these are names like any others.
            assert!(Place::of(Some("secret"), V1, key).is_ok_and(|place| !place.may_be_own()), "{key}");
        }
        for (key, may_be) in [
            ("team/auth/token/lookup-self", true),
            ("a/b/sys/mounts", true),
            ("secret/app", false),
            ("secret/authors", false),
            ("authors/x", false),
        ] {
            assert_eq!(Place::of(None, V1, key).unwrap().may_be_own(), may_be, "{key}");
        }
    }

    #[test]
    fn folders_to_list() {
        for (mount, version, path, expected) in [
            (Some("secret"), V2, "", "secret/metadata/"),
            (Some("secret"), V2, "team/", "secret/metadata/team/"),
            (Some("secret"), V2, "data/team", "secret/metadata/data/team/"),
            (Some("secret"), V1, "", "secret/"),
            (Some("secret"), V1, "team", "secret/team/"),
            (None, V2, "mykv/data/team/", "mykv/metadata/team/"),
            (None, V2, "mykv/data/", "mykv/metadata/"),
            (None, V2, "a/kv/data/team", "a/kv/metadata/team/"),
            (None, V2, "mydata/data/team", "mydata/metadata/team/"),
            (None, V2, "mykv/team", "mykv/metadata/team/"),
            (None, V1, "kv/team", "kv/team/"),
        ] {
            let folder = Place::folder(mount, version, path).unwrap();
            assert_eq!(folder.listing(), expected, "{mount:?} {version:?} {path:?}");
        }
        assert!(Place::folder(None, V2, "").unwrap_err().message().contains("spec.provider.vault.path"));
        assert!(Place::folder(Some("secret"), V2, "../sys").is_err());
    }
}
