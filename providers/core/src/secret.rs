//! The type that carries secret values: zeroed on drop, redacted in `Debug`, without `Display` or `Serialize`.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret value of any bytes.
///
/// A clone shares the one buffer; the last to go zeroes it. It can't be printed or serialized: whoever needs the
/// bytes says [`SecretBytes::expose`], which is easy to find in a review.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// Takes over `bytes` without a copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, or `None` where they are not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<&str> for SecretBytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl From<SecretBuf> for SecretBytes {
    fn from(mut buf: SecretBuf) -> Self {
        Self::new(std::mem::take(&mut *buf.0))
    }
}

/// A buffer to build a secret value in.
///
/// A growing `Vec` leaves its former contents behind in freed memory; this one zeroes what it grows out of.
#[derive(Default)]
pub struct SecretBuf(Zeroizing<Vec<u8>>);

impl SecretBuf {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity())));
            grown.extend_from_slice(&self.0);
            self.0 = grown; // the old buffer is zeroed as it drops
        }
        self.0.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes so far.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretBytes::from("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }

    #[test]
    fn a_buffer_keeps_every_byte_as_it_grows() {
        let mut buf = SecretBuf::with_capacity(1);
        for n in 0..=255u8 {
            buf.push(n);
        }
        let secret = SecretBytes::from(buf);
        assert_eq!(secret.expose(), (0..=255u8).collect::<Vec<_>>());
    }
}
