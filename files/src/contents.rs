//! What a target holds. Pure.

use std::collections::BTreeMap;

use keyferry_provider_core::SecretBytes;

use crate::problem::Problem;

/// Values by name.
pub type Data = BTreeMap<String, SecretBytes>;

/// What a target is to hold, or holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Files in a folder of its own.
    Folder(Data),
    /// One file.
    File(SecretBytes),
}

/// The longest name of a file.
const LONGEST_NAME: usize = 253;

impl Contents {
    /// How large its files are.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let (files, file) = match self {
            Self::Folder(files) => (Some(files), None),
            Self::File(bytes) => (None, Some(bytes)),
        };
        files.into_iter().flat_map(Data::values).chain(file).map(SecretBytes::len)
    }

    /// Files by key. Keys of Secrets are names of files; others are refused, and not told: a template may have made them.
    pub fn folder(data: Data) -> Result<Self, Problem> {
        if data.keys().all(|name| is_file_name(name)) {
            Ok(Self::Folder(data))
        } else {
            Err(Problem::new(
                "one of its keys is no name of a file: letters, digits, '-', '_' and '.' are, and '..' is not at its beginning",
            ))
        }
    }
}

/// Whether a key, or a part of a path, is the name of a file that we write.
pub fn is_file_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fine) && name != "." && !name.starts_with("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        let folder = |name: &str| Contents::folder(Data::from([(name.to_owned(), SecretBytes::from("v"))]));
        for fine in ["a", "tls.crt", ".dockerconfigjson", "a..b", "A_b-1"] {
            assert!(folder(fine).is_ok(), "{fine}");
        }
        for wrong in ["", ".", "..", "..data", "a/b", "/etc/passwd", "../a", "a\0b", "ä", "a b"] {
            let problem = folder(wrong).unwrap_err().to_string();
            assert!(wrong.len() < 3 || !problem.contains(wrong), "{problem}");
        }
        assert!(folder(&"a".repeat(254)).is_err());
    }
}
