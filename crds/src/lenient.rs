//! Reading what a user stored, whatever its age.
//!
//! The schema keeps new objects tidy, but an object may be older than the schema: a null or a missing field is then
//! read as "not set", and a word we don't know is kept for the condition that will name it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads null as the default. (`#[serde(default)]` alone covers only the missing field.)
pub(crate) fn null<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Reads a string, and where a number or a boolean stands its text: who reads the field can then say what is wrong
/// with it.
pub(crate) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::deserialize(input)? {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
    })
}

/// Reads a time; one that can't be read counts as none, since times are ours to write anew.
pub(crate) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Time>, D::Error> {
    let value = Option::<Value>::deserialize(input)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// An enumeration that is a string on the wire, and never fails to decode.
///
/// A missing field, null and the empty string are the variant marked `#[default]`; a word that we don't know is kept in
/// `Unknown`. `NAMES` holds the known words in order, and feeds the schema.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident {
        $(#[$first_meta:meta])* default $first:ident
        $(, $(#[$variant_meta:meta])* $variant:ident)* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$first_meta])*
            #[default]
            $first,
            $($(#[$variant_meta])* $variant,)*
            /// A word of a newer or older version, as it was stored.
            Unknown(String),
        }

        impl $name {
            /// The words that the schema accepts.
            pub const NAMES: &'static [&'static str] = &[stringify!($first) $(, stringify!($variant))*];

            /// The word as it stands in a manifest.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::$first => stringify!($first),
                    $(Self::$variant => stringify!($variant),)*
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    "" | stringify!($first) => Self::$first,
                    $(stringify!($variant) => Self::$variant,)*
                    _ => Self::Unknown(word),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                Ok(Self::from($crate::lenient::text(input)?.unwrap_or_default()))
            }
        }
    };
}
pub(crate) use words;
