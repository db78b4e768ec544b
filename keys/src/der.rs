//! Just enough DER for keys and PKCS #12.

use zeroize::Zeroizing;

/// A whole number.
pub const INTEGER: u8 = 0x02;
/// Bits.
pub const BIT_STRING: u8 = 0x03;
/// Bytes.
pub const OCTET_STRING: u8 = 0x04;
/// Nothing.
pub const NULL: u8 = 0x05;
/// The name of an algorithm, a curve, a kind.
pub const OID: u8 = 0x06;
/// Text, two bytes for each character.
pub const BMP_STRING: u8 = 0x1e;
/// Elements in an order.
pub const SEQUENCE: u8 = 0x30;
/// Elements, sorted.
pub const SET: u8 = 0x31;

/// The tag of a context-specific field: `[number]`, explicit.
pub const fn field(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of an implicit field that is no structure.
pub const fn plain_field(number: u8) -> u8 {
    0x80 | number
}

/// Elements, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The elements in these bytes.
    pub fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    /// The content of a single element that is all there is.
    pub fn only(bytes: &'d [u8], tag: u8) -> Option<Self> {
        let mut reader = Self(bytes);
        let content = reader.take(tag)?;
        reader.end()?;
        Some(Self(content))
    }

    /// Whether no element is left.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Nothing is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// What is left.
    pub fn rest(self) -> &'d [u8] {
        self.0
    }

    /// The next element's content, if it is of that tag.
    pub fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let (found, content, rest) = split(self.0)?;
        (found == tag).then(|| {
            self.0 = rest;
            content
        })
    }

    /// The next element's elements, if it is a sequence.
    pub fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }

    /// The next element, if it is the name of something.
    pub fn oid(&mut self) -> Option<&'d [u8]> {
        self.take(OID).filter(|oid| !oid.is_empty())
    }

    /// A number that is not negative, without the zero that says so.
    pub fn unsigned(&mut self) -> Option<&'d [u8]> {
        match self.take(INTEGER)? {
            [] => None,
            [0] => Some(&[]),
            [0, rest @ ..] if rest[0] & 0x80 != 0 => Some(rest),
            [first, ..] if first & 0x80 != 0 || *first == 0 => None,
            content => Some(content),
        }
    }

    /// A number that is not negative and not large.
    pub fn small(&mut self) -> Option<u32> {
        let bytes = self.unsigned()?;
        (bytes.len() <= 4).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

/// Tag, content and what follows of the first element. Lengths must be as short as can be.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = digits.iter().fold(0usize, |len, digit| len << 8 | usize::from(*digit));
            let shortest = digits.first().is_some_and(|digit| *digit != 0) && len > 0x7f;
            (shortest.then_some(len)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// What is written, which may hold a key.
pub type Bytes = Zeroizing<Vec<u8>>;

/// One element.
pub fn element(tag: u8, content: &[u8]) -> Bytes {
    let mut out = Zeroizing::new(Vec::with_capacity(content.len() + 6));
    out.push(tag);
    let len = content.len();
    match len {
        0..=0x7f => out.push(len as u8),
        _ => {
            let bytes = len.to_be_bytes();
            let digits = bytes.iter().position(|byte| *byte != 0).map_or(&bytes[..0], |first| &bytes[first..]);
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// An element that holds elements.
pub fn structure(tag: u8, parts: &[&[u8]]) -> Bytes {
    element(tag, &Zeroizing::new(parts.concat()))
}

/// Elements in an order.
pub fn sequence(parts: &[&[u8]]) -> Bytes {
    structure(SEQUENCE, parts)
}

/// A number that is not negative.
pub fn unsigned(bytes: &[u8]) -> Bytes {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    match digits.first() {
        Some(first) if first & 0x80 == 0 => element(INTEGER, digits),
        _ => element(INTEGER, &Zeroizing::new([&[0], digits].concat())),
    }
}

/// A number that is not negative and not large.
pub fn small(value: u32) -> Bytes {
    unsigned(&value.to_be_bytes())
}

/// A bit string of whole bytes.
pub fn bits(bytes: &[u8]) -> Bytes {
    structure(BIT_STRING, &[&[0], bytes])
}

/// The name of something.
pub fn oid(bytes: &[u8]) -> Bytes {
    element(OID, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_can_be() {
        for len in [0, 0x7f, 0x80, 0x100, 0x10000] {
            let bytes = element(OCTET_STRING, &vec![1; len]);
            assert_eq!(Reader::new(&bytes).take(OCTET_STRING).map(<[u8]>::len), Some(len));
        }
        assert!(Reader::new(&[4, 0x81, 1, 0]).take(OCTET_STRING).is_none());
        assert!(Reader::new(&[4, 0x80, 0, 0]).take(OCTET_STRING).is_none());
        assert!(Reader::new(&[4, 2, 0]).take(OCTET_STRING).is_none());
    }

    #[test]
    fn numbers_have_a_sign() {
        assert_eq!(&*unsigned(&[0, 0x80]), &[2, 2, 0, 0x80]);
        assert_eq!(&*small(3), &[2, 1, 3]);
        assert_eq!(&*small(0), &[2, 1, 0]);
        assert_eq!(Reader::new(&[2, 2, 0, 0x80]).unsigned(), Some([0x80].as_slice()));
        assert!(Reader::new(&[2, 1, 0x80]).unsigned().is_none());
    }
}
