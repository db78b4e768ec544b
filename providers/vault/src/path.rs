//! From a key as the user wrote it to a path of Vault's API. The rules are External Secrets Operator's, traps
//! included, since users' keys were written against them.

use keyferry_provider_core::{Blame, Error};

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
}

impl Place {
    /// Where `key` is, given the mount the store names, if it names one.
    ///
    /// - With a mount: the key may begin with it, and on version 2 with `data/` after it; both are dropped. TRAP: a
    ///   secret whose own path begins with the mount's name is out of reach under its short name.
    /// - Without a mount on version 2: the mount is what stands before the first `/data/`, or else the first segment.
    ///   TRAP: a secret with `/data/` inside its own path needs the mount set, or the full API path.
    /// - Without a mount on version 1: the key is the path.
    pub fn of(mount: Option<&str>, version: KvVersion, key: &str) -> Result<Self, Error> {
        let (mount, rest) = match (mount, version) {
            (Some(mount), version) => (mount, inside(mount, version, key)),
            (None, KvVersion::V2) => match key.split_once("/data/") {
                Some(halves) => halves,
                None => first_segment(key),
            },
            (None, KvVersion::V1) => first_segment(key),
        };
        let (mount, rest) = (clean(mount)?, clean(rest)?);
        match (mount.is_empty(), rest.is_empty()) {
            (false, false) => Ok(Self { version, mount, rest }),
            _ => Err(wrong(format!(
                "the key {key:?} names no secret inside a mount: set spec.provider.vault.path or write MOUNT/PATH"
            ))),
        }
    }

    /// The path that lists the folder `path` of a version 2 mount, below `/v1/`.
    pub fn folder(mount: &str, path: &str) -> Result<String, Error> {
        let (mount, path) = (clean(mount)?, clean(path)?);
        match path.as_str() {
            "" => Ok(format!("{mount}/metadata/")),
            path => Ok(format!("{mount}/metadata/{path}/")),
        }
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

fn first_segment(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or((key, ""))
}

/// A path without empty and `.` segments, which Vault's own client drops too. What would climb out of it, or can't
/// stand in a request, is refused.
pub fn clean(path: &str) -> Result<String, Error> {
    if path.chars().any(char::is_control) {
        return Err(wrong(format!("the path {path:?} holds control characters")));
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    if segments.contains(&"..") {
        Err(wrong(format!("the path {path:?} holds \"..\", which Vault does not take")))
    } else {
        Ok(segments.join("/"))
    }
}

/// A path that no store could be asked for.
fn wrong(message: String) -> Error {
    Error::invalid(message).with_blame(Blame::Request)
}

/// Percent-encodes a path, leaving its slashes.
pub fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
    fn a_path_is_encoded_by_segment() {
        assert_eq!(encode("secret/data/a b/é?#%2F;x+y"), "secret/data/a%20b/%C3%A9%3F%23%252F%3Bx%2By");
    }
}
