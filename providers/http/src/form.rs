//! Bodies of forms, and what stands in them or in a query: escaped without a copy that nobody zeroes.

use keyferry_provider_core::{SecretBuf, SecretBytes};

/// The body of a form (`application/x-www-form-urlencoded`).
pub fn form(fields: &[(&str, &[u8])]) -> SecretBytes {
    // What is escaped is at most three times as long: no copy is left behind by growing.
    let mut out = SecretBuf::with_capacity(fields.iter().map(|(name, value)| name.len() + 2 + 3 * value.len()).sum());
    for (n, (name, value)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b'&');
        }
        out.extend(name.as_bytes());
        out.push(b'=');
        escape(value, &mut out);
    }
    out.into()
}

/// Percent-encodes all but letters, digits and `-._~`.
pub fn escape(bytes: &[u8], out: &mut SecretBuf) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            _ => out.extend(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_bytes() {
        let body = form(&[("Action", b"x~y"), ("Token", b"a b/\xc3\xbc&=+%\n"), ("Empty", b"")]);
        assert_eq!(body.expose_str(), Some("Action=x~y&Token=a%20b%2F%C3%BC%26%3D%2B%25%0A&Empty="));
        assert!(form(&[]).is_empty());
    }
}
