//! From keys to what a vault keeps: `name`, `secret/name`, `key/name` or `cert/name`.

use std::fmt;

use keyferry_provider_core::{Blame, Error};

/// The longest name.
const LONGEST: usize = 127;

/// What a vault keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Secret,
    /// A key, of which it shows the public half.
    Key,
    /// A certificate.
    Certificate,
}

impl Kind {
    /// The collection that it is in, which is part of paths.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Key => "keys",
            Self::Certificate => "certificates",
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Certificate => "certificate",
        }
    }
}

/// One thing that a vault keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name, which can be part of a path.
    pub name: String,
}

impl Object {
    /// Reads a key.
    ///
    /// # Errors
    /// `Invalid` where a vault can't have anything that is called so.
    pub fn new(key: &str) -> Result<Self, Error> {
        let wrong =
            |problem: &str| Err(Error::invalid(format!("the key {key:?} {problem}")).with_blame(Blame::Request));
        let mut parts = key.split('/');
        let (first, second, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let (kind, name) = match (first, second) {
            (name, None) => (Kind::Secret, name),
            ("secret", Some(name)) => (Kind::Secret, name),
            ("key", Some(name)) => (Kind::Key, name),
            ("cert", Some(name)) => (Kind::Certificate, name),
            _ => return wrong("must begin with secret/, key/ or cert/, or be a name without slashes"),
        };
        if rest.is_some() {
            return wrong("has more than two parts: a version is said in remoteRef.version");
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        match name.len() {
            1..=LONGEST if name.bytes().all(is_name) => Ok(Self { kind, name: name.to_owned() }),
            _ => wrong("holds no name of Key Vault: those are letters, digits and hyphens, up to 127"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.collection(), self.name)
    }

    /// Where it is once it is deleted.
    pub fn deleted_path(&self) -> String {
        format!("deleted{}", self.path())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.word(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;

    #[test]
    fn keys_of_every_kind() {
        let long = "a".repeat(LONGEST);
        for (key, kind, name) in [
            ("db-Password1", Kind::Secret, "db-Password1"),
            ("secret/db", Kind::Secret, "db"),
            ("key/db", Kind::Key, "db"),
            ("cert/db", Kind::Certificate, "db"),
            ("secret", Kind::Secret, "secret"),
            (&long, Kind::Secret, &long),
        ] {
            assert_eq!(Object::new(key), Ok(Object { kind, name: name.to_owned() }), "{key}");
        }
        let object = Object::new("cert/db").unwrap();
        assert_eq!((object.path(), object.deleted_path()), ("certificates/db".into(), "deletedcertificates/db".into()));
        assert_eq!(object.to_string(), "certificate \"db\"");
    }

    #[test]
    fn what_a_vault_can_t_have_is_refused_before_it_is_asked() {
        let long = "a".repeat(LONGEST + 1);
        for (key, words) in [
            ("", "holds no name"),
            ("secret/", "holds no name"),
            ("with_underscore", "letters, digits and hyphens"),
            ("..", "letters, digits and hyphens"),
            ("a?b=c", "letters, digits and hyphens"),
            ("a%2fb", "letters, digits and hyphens"),
            ("ä", "letters, digits and hyphens"),
            ("a\nb", "letters, digits and hyphens"),
            (&long, "up to 127"),
            ("certificate/db", "must begin with secret/, key/ or cert/"),
            ("Secret/db", "must begin with"),
            ("/db", "must begin with"),
            ("secret/db/4387e9f3d6e14c459867679a90fd0f79", "remoteRef.version"),
        ] {
            let error = Object::new(key).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request));
            assert!(error.message().contains(words), "{error}");
            assert!(!error.message().chars().any(char::is_control), "{error}");
        }
    }
}
