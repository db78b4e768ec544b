//! A file of kubesec: a Secret whose values are encrypted one by one, and lines of comments that say with which key. Pure.
//!
//! `# kubesec:v:3`, `# kubesec:pgp:FINGERPRINT:BASE64`, `# kubesec:aws:ARN:BASE64`, `# kubesec:gcp:NAME:BASE64` and `# kubesec:mac:IV.TAG`. A
//! value is `DATA.IV.TAG` in base64: AES-256-GCM, bound to its name, and filled up with zeros; the code is the same of nothing,
//! bound to all names, values and keys.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_documents::Format;
use keyferry_provider_core::{SecretBuf, SecretBytes};
use serde_json::Value;
use zeroize::Zeroizing;

/// What each line of kubesec's begins with.
pub const MARK: &str = "# kubesec:";

/// Bytes of a data key.
const KEY: usize = 32;

/// Who keeps a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeper {
    /// GnuPG.
    Gpg,
    /// Google's KMS.
    Google,
    /// AWS's KMS.
    Aws,
}

/// A key that the data key is encrypted with.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// Who keeps it.
    pub keeper: Keeper,
    /// What it is called.
    pub id: String,
    /// The data key, encrypted.
    pub bytes: Vec<u8>,
}

/// A file.
#[derive(Debug)]
pub struct File {
    /// The Secret, its values encrypted.
    pub manifest: Value,
    /// The keys, in the order of the file.
    pub keys: Vec<Wrapped>,
    mac: Option<String>,
}

/// Values by their names.
pub type Values = BTreeMap<String, SecretBytes>;

impl File {
    /// Reads a file; `None` where it is none of kubesec.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if !text.lines().any(|line| line.starts_with(MARK)) {
            return Ok(None);
        }
        let (mut keys, mut mac) = (Vec::new(), None);
        for (n, line) in text.lines().enumerate() {
            let Some(said) = line.strip_prefix(MARK) else { continue };
            let wrong = || format!("line {}: it is not of kubesec's form", n + 1);
            let (what, rest) = said.trim_end().split_once(':').ok_or_else(wrong)?;
            let keeper = match what {
                "v" if ["1", "2", "3"].contains(&rest) => continue,
                "v" => return Err(format!("line {}: version {rest:?} of kubesec is not known", n + 1)),
                "mac" => {
                    mac = Some(rest.to_owned());
                    continue;
                }
                "pgp" => Keeper::Gpg,
                "gcp" => Keeper::Google,
                "aws" => Keeper::Aws,
                _ => return Err(wrong()),
            };
            let (id, bytes) = rest.rsplit_once(':').ok_or_else(wrong)?;
            let bytes = STANDARD.decode(bytes).map_err(|_| wrong())?;
            keys.push(Wrapped { keeper, id: id.to_owned(), bytes });
        }
        let node = Format::Yaml.read(text.as_bytes()).map_err(|error| error.to_string())?;
        let manifest: Value = serde_json::from_slice(node.to_json().expose()).unwrap_or_default();
        if manifest["kind"] != "Secret" {
            return Err("it is no Secret".to_owned());
        }
        Ok(Some(Self { manifest, keys, mac }))
    }

    /// The values, decrypted, and the code checked.
    pub fn open(&self, key: &SecretBytes) -> Result<Values, String> {
        if key.len() != KEY {
            return Err(format!("what its keeper gave for the data key is not {KEY} bytes"));
        }
        let (data, texts) = (self.decrypt("data", key)?, self.decrypt("stringData", key)?);
        self.check(key, &data, &texts)?;
        let mut values = Values::new();
        for (name, text) in data {
            let value = STANDARD.decode(text.expose()).map_err(|_| format!("data.{name} is no base64 in itself"))?;
            values.insert(name, SecretBytes::new(value));
        }
        values.extend(texts);
        Ok(values)
    }

    fn decrypt(&self, field: &str, key: &SecretBytes) -> Result<Values, String> {
        let all = self.manifest[field].as_object().into_iter().flatten();
        let one = |(name, value): (&String, &Value)| {
            let text = value.as_str().ok_or_else(|| format!("{field}.{name} is no text"))?;
            let failed = || format!("{field}.{name} does not open: it was changed or cut off, or the key is another");
            let value = if text.is_empty() {
                SecretBytes::default()
            } else {
                open(text, key, name.as_bytes()).ok_or_else(failed)?
            };
            let end = value.expose().iter().position(|byte| *byte == 0).unwrap_or(value.len());
            Ok((name.clone(), SecretBytes::new(value.expose()[..end].to_vec())))
        };
        all.map(one).collect()
    }

    fn check(&self, key: &SecretBytes, data: &Values, texts: &Values) -> Result<(), String> {
        let Some(mac) = &self.mac else {
            return Err(
                "it has no code by which changes are found, as kubesec's first versions left it: add it by `kubesec edit -i --recompute-mac`"
                    .to_owned(),
            );
        };
        let mut bound = SecretBuf::default();
        for (name, value) in data.iter().chain(texts) {
            bound.extend(name.as_bytes());
            bound.extend(value.expose());
        }
        // kubesec sorts keys by a rule that does not order all of them: the order of the file, or by kind and name.
        let mut sorted: Vec<&Wrapped> = self.keys.iter().collect();
        sorted.sort_by(|one, other| (one.keeper, &one.id).cmp(&(other.keeper, &other.id)));
        let orders = [self.keys.iter().collect(), sorted];
        let fits = orders.into_iter().any(|keys: Vec<&Wrapped>| {
            let mut all = SecretBuf::default();
            all.extend(bound.expose());
            keys.iter().for_each(|key| all.extend(key.id.as_bytes()));
            open(mac, key, all.expose()).is_some()
        });
        if fits { Ok(()) } else { Err("its code does not fit: something was added, taken away or moved".to_owned()) }
    }
}

/// Opens `DATA.IV.TAG`, or `IV.TAG` of nothing.
fn open(text: &str, key: &SecretBytes, bound: &[u8]) -> Option<SecretBytes> {
    let parts: Vec<Vec<u8>> = text.split('.').map(|part| STANDARD.decode(part).ok()).collect::<Option<_>>()?;
    let (data, iv, tag) = match parts.as_slice() {
        [iv, tag] => (&[][..], iv, tag),
        [data, iv, tag] => (data.as_slice(), iv, tag),
        _ => return None,
    };
    let nonce: [u8; NONCE_LEN] = iv.as_slice().try_into().ok()?;
    let mut value = Zeroizing::new([data, tag].concat());
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok()?);
    let plain = cipher.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut value).ok()?;
    let length = plain.len();
    value.truncate(length);
    Some(SecretBytes::new(std::mem::take(&mut *value)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const BLOCK: usize = 48;

    /// What kubesec writes for a value, by its own description.
    fn seal(plain: &[u8], key: &[u8], bound: &[u8], iv: u8) -> String {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let (nonce, mut value) = ([iv; NONCE_LEN], plain.to_vec());
        let tag = cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut value)
            .unwrap();
        let parts = [STANDARD.encode(&value), STANDARD.encode(nonce), STANDARD.encode(tag.as_ref())];
        parts.join(".").trim_start_matches('.').to_owned()
    }

    /// A file with these values, for these keys: lines as kubesec has them.
    pub(crate) fn file(values: &[(&str, &[u8])], key: &[u8], lines: &[&str]) -> String {
        let (mut data, mut bound) = (String::new(), Vec::new());
        let mut values = values.to_vec();
        values.sort();
        for (n, (name, value)) in values.iter().enumerate() {
            let mut text = STANDARD.encode(value).into_bytes();
            bound.extend([name.as_bytes(), &text].concat());
            text.resize(text.len().next_multiple_of(BLOCK), 0);
            data += &format!("  {name}: {}\n", seal(&text, key, name.as_bytes(), u8::try_from(n).unwrap()));
        }
        for line in lines {
            let (_, rest) = line.split_once(':').unwrap();
            bound.extend(rest.rsplit_once(':').unwrap().0.as_bytes());
        }
        let keys: String = lines.iter().map(|line| format!("{MARK}{line}\n")).collect();
        let mac = seal(b"", key, &bound, 200);
        format!(
            "apiVersion: v1\ndata:\n{data}kind: Secret\nmetadata:\n  name: app\ntype: Opaque\n{MARK}v:3\n{keys}{MARK}mac:{mac}\n"
        )
    }

    #[test]
    fn a_file_opens_with_its_key_and_no_other_and_nothing_in_it_may_change() {
        let (key, other) = (SecretBytes::new(vec![7; KEY]), SecretBytes::new(vec![8; KEY]));
        let lines = ["pgp:AAAA:d3JhcHBlZA==", "aws:arn:aws:kms:eu-west-1:1:key/k:d3JhcHBlZA=="];
        let text = file(&[("B", b"two"), ("A", b"\0one\xff"), ("EMPTY", b"")], key.expose(), &lines);
        let read = File::read(&text).unwrap().unwrap();
        assert_eq!(
            read.keys.iter().map(|key| (key.keeper, key.id.as_str())).collect::<Vec<_>>(),
            [(Keeper::Gpg, "AAAA"), (Keeper::Aws, "arn:aws:kms:eu-west-1:1:key/k")]
        );
        let values = read.open(&key).unwrap();
        let held: Vec<(&str, &[u8])> = values.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert!(held == [("A", b"\0one\xff".as_slice()), ("B", b"two"), ("EMPTY", b"")]);
        for (text, says) in [
            (text.replace("  B:", "  C:"), "data.C does not open"),
            (
                text.lines().filter(|line| !line.starts_with("  B")).map(|line| format!("{line}\n")).collect(),
                "its code does not fit",
            ),
            (text.replace("pgp:AAAA", "pgp:BBBB"), "its code does not fit"),
            (
                text.lines().filter(|line| !line.contains(":mac:")).map(|line| format!("{line}\n")).collect(),
                "it has no code",
            ),
        ] {
            let error = File::read(&text).unwrap().unwrap().open(&key).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(read.open(&other).unwrap_err().contains("does not open"));
        assert!(read.open(&"short".into()).unwrap_err().contains("32 bytes"));
    }

    #[test]
    fn what_is_none_is_told() {
        assert!(File::read("kind: Secret\n").unwrap().is_none());
        for (text, says) in [
            ("kind: Secret\n# kubesec:v:9\n", "line 2: version \"9\""),
            ("kind: Secret\n# kubesec:pgp:x\n", "line 2: it is not of kubesec's form"),
            ("kind: ConfigMap\n# kubesec:v:3\n", "no Secret"),
            ("a: [\n# kubesec:v:3\n", "YAML"),
        ] {
            let error = File::read(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
