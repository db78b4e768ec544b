//! What may be told. Messages are made of words of ours, of what stands in the spec of whoever reads them, and of names in
//! a store; never of a value, or of what a template, a rewrite or a function made of one. The type holds it: a text that
//! came to be while the program ran is no [`Told`], nor can it stand in one, unless somebody says what it is.

use std::fmt;

use keyferry_crds::{CreationPolicy, DecodingStrategy};
use keyferry_limits::{Exceeded, Limit};
use keyferry_provider_core::Error;

use crate::dependency::Kind;
use crate::request::Entry;
use crate::store::StoreId;

/// A text that may stand in a condition, an event or a log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(String);

/// What may stand in such a text.
pub trait Tell {
    /// Writes it.
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Makes a [`Told`]: as `format!`, but all that goes in is [`Tell`], and is given behind the text.
#[macro_export]
macro_rules! told {
    // `concat!` keeps names out of the text's braces: what they stand for would not be checked.
    ($words:literal $(, $part:expr)* $(,)?) => {
        $crate::told::Told::written(format_args!(concat!($words) $(, $crate::told::Shown(&$part))*))
    };
}

/// What stands in the spec of whoever reads it, or in a template or pattern of theirs: told quoted.
#[derive(Clone, Copy)]
pub struct Spec<'a>(pub &'a str);

/// A name in a store, of a secret or of a field of a JSON object: told quoted. Not one that a rewrite or a template made.
#[derive(Clone, Copy)]
pub struct Name<'a>(pub &'a str);

/// A part of a [`Told`], for [`told!`] alone.
pub struct Shown<'a, T: ?Sized>(pub &'a T);

impl<T: Tell + ?Sized> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(f)
    }
}

impl Told {
    /// For [`told!`] alone, which sees to it that all of it may be told.
    pub fn written(words: fmt::Arguments<'_>) -> Self {
        Self(words.to_string())
    }

    /// What is made of a spec, of objects' metadata or of an API server's refusal in words of ours. Whoever calls this has
    /// no value at hand, nor anything that was made of one.
    pub fn without_values(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, to be told.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Several, one after the other.
    pub fn join(parts: impl IntoIterator<Item = Self>, separator: &'static str) -> Self {
        Self(parts.into_iter().map(Self::into_string).collect::<Vec<_>>().join(separator))
    }

    /// Takes something out that must not be told after all.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut String)) {
        edit(&mut self.0);
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Words that stand in the program.
impl From<&'static str> for Told {
    fn from(words: &'static str) -> Self {
        Self(words.to_owned())
    }
}

/// An error of a store or generator: their contract is that it is in our own words.
impl From<&Error> for Told {
    fn from(error: &Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Exceeded> for Told {
    fn from(exceeded: Exceeded) -> Self {
        Self(exceeded.to_string())
    }
}

macro_rules! tell_as_displayed {
    ($($kind:ty),* $(,)?) => {$(
        impl Tell for $kind {
            fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

tell_as_displayed!(
    &'static str,
    usize,
    Told,
    Limit,
    Exceeded,
    Error,
    Entry,
    StoreId,
    Kind,
    CreationPolicy,
    DecodingStrategy,
);

impl Tell for Spec<'_> {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(self.0, f)
    }
}

impl Tell for Name<'_> {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(self.0, f)
    }
}

/// How many characters are quoted of one text: the cause stands behind it, and messages are bounded.
const QUOTED: usize = 300;

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(QUOTED) {
        None => fmt::Debug::fmt(text, f),
        Some((at, _)) => write!(f, "{:?}...", &text[..at]),
    }
}

impl<T: Tell + ?Sized> Tell for &T {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).tell(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_positions_and_the_spec() {
        let place = told!("spec.data[{}]", 3);
        let whole = told!("{}: {} is {}", place, Spec("a\"b"), "no name");
        assert_eq!(whole.as_str(), r#"spec.data[3]: "a\"b" is no name"#);
    }

    #[test]
    fn a_long_quotation_does_not_hide_the_cause() {
        let text = "é".repeat(100_000);
        for whole in [told!("{}: {}", Spec(&text), "why"), told!("{}: {}", Name(&text), "why")] {
            assert!(whole.as_str().len() < 1000 && whole.as_str().ends_with("\"...: why"), "{}", whole.as_str().len());
        }
    }
}
