//! What a path has found.

use std::ops::Deref;

use zeroize::Zeroizing;

use crate::{
    buf::{Buf, Detached},
    scan::{self, Node},
};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is nothing at the path.
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number, `nan` and `inf` among them.
    Number,
    /// A string.
    String,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// A value of the document, or one made of it. It can't be printed:
///
/// ```compile_fail
/// println!("{:?}", keyferry_gjson::get(b"{}", b"a").unwrap());
/// ```
pub struct Value<'a> {
    kind: Kind,
    raw: Detached<'a>,
    closed: bool,
    escaped: bool,
}

impl<'a> Value<'a> {
    pub(crate) fn new(found: Option<Node<'a>>) -> Self {
        let Some(node) = found else {
            return Self { kind: Kind::Missing, raw: Detached::Borrowed(&[]), closed: true, escaped: false };
        };
        let kind = match node.kind {
            scan::Kind::Null => Kind::Null,
            scan::Kind::False | scan::Kind::True => Kind::Bool,
            scan::Kind::Number => Kind::Number,
            scan::Kind::String => Kind::String,
            scan::Kind::Nest if node.is_object() => Kind::Object,
            scan::Kind::Nest => Kind::Array,
        };
        Self { kind, raw: node.raw.detach(), closed: node.closed, escaped: node.escaped }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether there is anything, if only `null`. gjson's `Exists`.
    pub fn exists(&self) -> bool {
        self.kind != Kind::Missing
    }

    /// The value as it stands in the document: a string with quotes and escapes, a number with all its digits.
    pub fn raw(&self) -> &[u8] {
        self.raw.bytes()
    }

    /// The value as text, gjson's `String`: a string without quotes and escapes; whole numbers as they stand, others
    /// through a double (`1.50` is `1.5`, `1e5` is `100000`); objects and arrays as they stand; `null` as nothing.
    pub fn text(&self) -> Text<'_> {
        let raw = self.raw();
        let is_plain = match self.kind {
            Kind::Number => crate::number::is_plain(raw),
            Kind::String => !self.escaped,
            _ => true,
        };
        Text(match self.kind {
            Kind::Missing | Kind::Null => Detached::Borrowed(b""),
            // Only the first letter says which it is.
            Kind::Bool => Detached::Borrowed(if raw[0] == b't' { b"true" } else { b"false" }),
            Kind::String if is_plain => Detached::Borrowed(crate::text::inner(raw, self.closed)),
            _ if is_plain => Detached::Borrowed(raw),
            _ => Detached::Owned(self.made_text()),
        })
    }

    fn made_text(&self) -> Buf {
        let raw = self.raw();
        match self.kind {
            Kind::Number => crate::number::format(crate::number::parse(raw)),
            _ => crate::text::unescape(crate::text::inner(raw, self.closed)),
        }
    }
}

/// A value as text, zeroed where it had to be made. It can't be printed:
///
/// ```compile_fail
/// println!("{:?}", keyferry_gjson::get(b"{}", b"a").unwrap().text());
/// ```
pub struct Text<'v>(Detached<'v>);

impl Text<'_> {
    /// The text for keeps.
    pub fn into_owned(self) -> Zeroizing<Vec<u8>> {
        match self.0 {
            Detached::Borrowed(bytes) => Zeroizing::new(bytes.to_vec()),
            Detached::Owned(buf) => buf.into_zeroizing(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}
