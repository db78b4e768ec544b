//! Certificates and keys as text (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{SecretBuf, SecretBytes};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// What stands between two lines of dashes.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is called.
    pub label: &'a str,
    /// What it holds.
    pub der: SecretBytes,
}

/// The blocks of a text, whatever stands around them; `None` where one is broken.
pub fn blocks(mut text: &str) -> Option<Vec<Block<'_>>> {
    let mut all = Vec::new();
    while let Some((_, rest)) = text.split_once(BEGIN) {
        let (label, rest) = rest.split_once(DASHES)?;
        let (body, rest) = rest.split_once(format!("{DASHES}END {label}{DASHES}").as_str())?;
        let mut compact = SecretBuf::with_capacity(body.len());
        body.bytes().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| compact.push(byte));
        all.push(Block { label, der: SecretBytes::new(STANDARD.decode(compact.expose()).ok()?) });
        text = rest;
    }
    Some(all)
}

/// The certificates of a text, in their order; `None` where there are none.
pub fn certificates(text: &str) -> Option<Vec<SecretBytes>> {
    let all = blocks(text)?.into_iter().filter(|block| block.label == "CERTIFICATE").map(|block| block.der);
    Some(all.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

/// A block as text, with a line break at its end.
pub fn write(label: &str, der: &[u8], out: &mut SecretBuf) {
    let text = SecretBytes::new(STANDARD.encode(der).into_bytes());
    out.extend(format!("{BEGIN}{label}{DASHES}\n").as_bytes());
    for line in text.expose().chunks(64) {
        out.extend(line);
        out.push(b'\n');
    }
    out.extend(format!("{DASHES}END {label}{DASHES}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = SecretBuf::default();
        out.extend(b"a comment\n");
        for (label, der) in [("CERTIFICATE", vec![1; 100]), ("PRIVATE KEY", vec![2]), ("CERTIFICATE", vec![])] {
            write(label, &der, &mut out);
        }
        let text = std::str::from_utf8(out.expose()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 64));
        let labels: Vec<_> = blocks(text).unwrap().iter().map(|block| block.label).collect();
        assert_eq!(labels, ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE"]);
        assert_eq!(certificates(text).unwrap(), [SecretBytes::new(vec![1; 100]), SecretBytes::default()]);
        // Line ends of any kind.
        assert_eq!(certificates(&text.replace('\n', "\r\n")), certificates(text));
    }

    #[test]
    fn what_is_no_certificate() {
        for text in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nAQ==\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nAQ==\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nAQ==\n-----END OTHER-----",
        ] {
            assert_eq!(certificates(text), None, "{text}");
        }
    }
}
