//! From a key as the user wrote it to a path of Vault's API. The rules are External Secrets Operator's, traps
//! included, since users' keys were written against them.

use keyferry_provider_core::{Blame, Error};
use keyferry_provider_http::path::clean;

use crate::product::Product;

/// The version of a KV engine, which decides how its paths are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Values stand right below the mount, without versions.
    V1,
    /// Values below `data/`, what is known about them below `metadata/`.
    V2,
}

/// How a store's keys become paths.
#[derive(Debug)]
pub struct Layout {
    /// Which server it is of.
    pub product: Product,
    /// The version of the engine.
    pub version: KvVersion,
    /// The mount of the engine, where the store names it.
    pub mount: Option<Mount>,
}

/// The mount of an engine, as a store names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its path.
    pub path: String,
    /// Whether a key may begin with the path, which is then dropped.
    pub keys_may_repeat_it: bool,
}

/// Where a secret is: the mount of its engine, as far as we can tell, and the path inside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    version: KvVersion,
    mount: String,
    rest: String,
    /// What the key added to the path inside the mount, and was dropped: the mount, and on version 2 `data/`.
    repeated: String,
    /// Whether it is the store that names the mount, and not the key.
    is_of_store: bool,
}

impl Layout {
    /// Where `key` is.
    ///
    /// - With a mount: the key may begin with it, and on version 2 with `data/` after it; both are dropped. TRAP: a
    ///   secret whose own path begins with the mount's name is out of reach under its short name. Under `openBao` nothing
    ///   is dropped.
    /// - Without a mount on version 2: the mount is what stands before the first `/data/`, or else the first segment.
    ///   TRAP: a secret with `/data/` inside its own path needs the mount set, or the full API path.
    /// - Without a mount on version 1: the key is the path.
    /// - Without a mount the key never leads to what Vault keeps for itself, such as the store's own token.
    pub fn place(&self, key: &str) -> Result<Place, Error> {
        let (mount, rest) = match &self.mount {
            Some(mount) if mount.keys_may_repeat_it => (&*mount.path, inside(&mount.path, self.version, key)),
            Some(mount) => (&*mount.path, key),
            None => {
                let (mount, rest) = halves(self.version, key);
                refuse_own(mount)?;
                (mount, rest)
            }
        };
        let repeated = self.mount.as_ref().and_then(|_| key.strip_suffix(rest)).unwrap_or_default();
        let place = self.at(mount, rest, repeated)?;
        match (place.mount.is_empty(), place.rest.is_empty()) {
            (false, false) => Ok(place),
            _ => Err(wrong(format!(
                "the key {key:?} names no secret inside a mount: set {}.path or write MOUNT/PATH",
                self.product
            ))),
        }
    }

    /// Where the folder `path` is: as in External Secrets Operator it is inside the mount that the store names as it stands,
    /// and else holds the mount by the rules of keys.
    pub fn folder(&self, path: &str) -> Result<Place, Error> {
        let (mount, rest) = match &self.mount {
            Some(mount) => (&*mount.path, path),
            None => {
                let (mount, rest) = halves(self.version, path);
                refuse_own(mount)?;
                (mount, rest)
            }
        };
        let place = self.at(mount, rest, "")?;
        if place.mount.is_empty() {
            let field = self.product;
            Err(wrong(format!("to find secrets, set {field}.path, or begin find.path with a mount")))
        } else {
            Ok(place)
        }
    }

    fn at(&self, mount: &str, rest: &str, repeated: &str) -> Result<Place, Error> {
        let (mount, rest, repeated) = (clean(mount)?, clean(rest)?, clean(repeated)?);
        Ok(Place { version: self.version, mount, rest, repeated, is_of_store: self.mount.is_some() })
    }
}

impl Place {
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

    /// Where External Secrets Operator until 2.13 kept the mark of what it wrote under a key that repeats the mount; `None`
    /// where that is the same.
    pub fn stray_metadata(&self) -> Option<String> {
        let Self { mount, rest, repeated, .. } = self;
        (!repeated.is_empty()).then(|| format!("{mount}/metadata/{repeated}/{rest}"))
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

    fn layout(mount: Option<&str>, version: KvVersion) -> Layout {
        let mount = mount.map(|path| Mount { path: path.to_owned(), keys_may_repeat_it: true });
        Layout { product: Product::Vault, version, mount }
    }

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
            let place = layout(mount, version).place(key).unwrap();
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
            (Some("secret"), "secret/foo", "secret/metadata/foo"),
            (Some("a/b"), "a/b/data/foo", "a/b/metadata/foo"),
        ] {
            assert_eq!(layout(mount, V2).place(key).unwrap().metadata(), expected, "{mount:?} {key:?}");
        }
    }

    /// Until 2.13 External Secrets Operator built paths of metadata without dropping what the key repeats.
    #[test]
    fn marks_that_went_astray() {
        for (mount, key, expected) in [
            (Some("secret"), "foo", None),
            (Some("secret"), "secret/foo", Some("secret/metadata/secret/foo")),
            (Some("secret"), "secret/data/foo", Some("secret/metadata/secret/data/foo")),
            (Some("a/b"), "a/b/c/d", Some("a/b/metadata/a/b/c/d")),
            (None, "secret/foo", None),
            (None, "secret/data/foo", None),
        ] {
            assert_eq!(layout(mount, V2).place(key).unwrap().stray_metadata().as_deref(), expected, "{mount:?} {key}");
        }
    }

    #[test]
    fn keys_of_open_bao_are_inside_the_mount_as_they_stand() {
        let mount = Some(Mount { path: "kv".to_owned(), keys_may_repeat_it: false });
        let layout = Layout { product: Product::OpenBao, version: V2, mount };
        for (key, expected) in
            [("foo", "kv/data/foo"), ("kv/foo", "kv/data/kv/foo"), ("kv/data/x", "kv/data/kv/data/x")]
        {
            let place = layout.place(key).unwrap();
            assert_eq!((place.data().as_str(), place.stray_metadata()), (expected, None), "{key}");
        }
        assert!(layout.place("").unwrap_err().message().contains("spec.provider.openBao.path"));
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
            let error = layout(mount, version).place(key).unwrap_err();
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
                let error = layout(None, version).place(key).unwrap_err();
                assert!(error.message().contains("there are no secrets below"), "{version:?} {key}: {error}");
                assert!(layout(None, version).folder(key).is_err(), "{version:?} {key}");
            }
            // Below a mount that the store names these are names like any others.
            assert!(layout(Some("secret"), V1).place(key).is_ok_and(|place| !place.may_be_own()), "{key}");
        }
        for (key, may_be) in [
            ("team/auth/token/lookup-self", true),
            ("a/b/sys/mounts", true),
            ("secret/app", false),
            ("secret/authors", false),
            ("authors/x", false),
        ] {
            assert_eq!(layout(None, V1).place(key).unwrap().may_be_own(), may_be, "{key}");
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
            let folder = layout(mount, version).folder(path).unwrap();
            assert_eq!(folder.listing(), expected, "{mount:?} {version:?} {path:?}");
        }
        assert!(layout(None, V2).folder("").unwrap_err().message().contains("spec.provider.vault.path"));
        assert!(layout(Some("secret"), V2).folder("../sys").is_err());
    }
}
