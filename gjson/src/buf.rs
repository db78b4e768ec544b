//! Bytes made on the way to an answer. They are parts of a secret: zeroed where they are dropped, never printed.

use std::{cmp::Ordering, ops::Range, rc::Rc};

use zeroize::Zeroizing;

/// A buffer that zeroes what it grows out of, too.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Buf(Zeroizing<Vec<u8>>);

impl Buf {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity())));
            grown.extend_from_slice(&self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// Appends a separator, unless this is the first item.
    pub(crate) fn comma(&mut self, first: bool) {
        if !first {
            self.push(b',');
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The last byte, to be changed.
    pub(crate) fn last_mut(&mut self) -> Option<&mut u8> {
        self.0.last_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_zeroizing(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl Ord for Buf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for Buf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Zeroizing<Vec<u8>>> for Buf {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

/// A part of the document, or of a buffer made from it. Cloning copies no byte.
#[derive(Clone)]
pub(crate) struct Span<'a> {
    source: Source<'a>,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source<'a> {
    Document(&'a [u8]),
    Made(Rc<Buf>),
}

impl<'a> Span<'a> {
    pub(crate) fn document(json: &'a [u8]) -> Self {
        Self { source: Source::Document(json), range: 0..json.len() }
    }

    pub(crate) fn empty() -> Self {
        Self::document(&[])
    }

    pub(crate) fn made(buf: Buf) -> Self {
        let range = 0..buf.len();
        Self { source: Source::Made(Rc::new(buf)), range }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let all = match &self.source {
            Source::Document(json) => json,
            Source::Made(buf) => buf.bytes(),
        };
        &all[self.range.clone()]
    }

    /// A part of this part.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= self.range.len());
        let start = self.range.start;
        Self { source: self.source.clone(), range: start + range.start..start + range.end }
    }

    /// These bytes for somebody who outlives the evaluation.
    pub(crate) fn detach(self) -> Detached<'a> {
        match self.source {
            Source::Document(json) => Detached::Borrowed(&json[self.range]),
            Source::Made(buf) => match Rc::try_unwrap(buf) {
                Ok(buf) if self.range == (0..buf.len()) => Detached::Owned(buf),
                Ok(buf) => Detached::Owned(buf.bytes()[self.range].into()),
                Err(buf) => Detached::Owned(buf.bytes()[self.range].into()),
            },
        }
    }
}

/// Bytes of the document, or our own.
pub(crate) enum Detached<'a> {
    Borrowed(&'a [u8]),
    Owned(Buf),
}

impl Detached<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(buf) => buf.bytes(),
        }
    }
}
