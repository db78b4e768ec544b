//! Generators that need nobody: values that are made up at each refresh, or written down beside it. Pure but for the
//! randomness that they are given.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use keyferry_provider_core::{Error, ErrorKind, SecretBytes};
use keyferry_sync::data::Data;
use rand::seq::SliceRandom as _;
use rand::{CryptoRng, Rng};
use serde_json::Value;
use zeroize::Zeroizing;

/// The kinds that there are.
pub const KINDS: &[&str] = &["Fake", "Password", "UUID", "ClusterGenerator"];

/// A password longer than this would not fit beside others into a Secret.
const LONGEST_PASSWORD: i64 = 65_536;

/// What a generator of this kind and spec gives now.
pub fn make(kind: &str, spec: &Value, random: &mut (impl Rng + CryptoRng)) -> Result<Data, Error> {
    match kind {
        "Fake" => Ok(fake(spec)),
        "Password" => passwords(spec, random).map_err(|problem| Error::new(ErrorKind::Invalid, problem)),
        "UUID" => Ok([("uuid".to_owned(), SecretBytes::new(uuid(random).into_bytes()))].into()),
        kind => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the kind {kind:?} is not supported by this version of keyferry"),
        )),
    }
}

fn fake(spec: &Value) -> Data {
    let data = spec["data"].as_object().into_iter().flatten();
    data.map(|(key, value)| (key.clone(), SecretBytes::from(value.as_str().unwrap_or_default()))).collect()
}

/// Version 4 of RFC 9562.
fn uuid(random: &mut impl Rng) -> String {
    let mut bytes: [u8; 16] = random.random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "~!@#$%^&*()_+`-={}|[]\\:\"<>?,./";

/// One password for each of `secretKeys`, with the defaults of External Secrets Operator.
fn passwords(spec: &Value, random: &mut (impl Rng + CryptoRng)) -> Result<Data, String> {
    let length = spec["length"].as_i64().filter(|length| *length > 0).unwrap_or(24);
    if length > LONGEST_PASSWORD {
        return Err(format!("length is {length}: at most {LONGEST_PASSWORD} are made"));
    }
    let quarter = length / 4;
    let count = |field: &str| spec[field].as_i64().unwrap_or(quarter);
    let (digits, symbols) = (count("digits"), count("symbols"));
    if digits < 0 || symbols < 0 || digits.saturating_add(symbols) > length {
        return Err(format!("{digits} digits and {symbols} symbols do not fit into a length of {length}"));
    }
    let letters = match spec["noUpper"].as_bool() {
        Some(true) => LOWER.to_owned(),
        _ => LOWER.to_owned() + UPPER,
    };
    let own_symbols = spec["symbolCharacters"].as_str().filter(|own| !own.is_empty());
    let sets = [
        ("letters", letters.as_str(), length - digits - symbols),
        ("digits", DIGITS, digits),
        ("symbols", own_symbols.unwrap_or(SYMBOLS), symbols),
    ];
    let may_repeat = spec["allowRepeat"].as_bool().unwrap_or_default();
    let encode = encoder(spec["encoding"].as_str().unwrap_or_default())?;
    let keys = spec["secretKeys"].as_array().filter(|keys| !keys.is_empty());
    let keys = match keys {
        None => vec!["password"],
        Some(keys) => keys.iter().map(|key| key.as_str().unwrap_or_default()).collect(),
    };
    if keys.iter().any(|key| key.is_empty()) {
        return Err("secretKeys has an empty key".to_owned());
    }
    if let Some(twice) = keys.iter().enumerate().find_map(|(n, key)| keys[..n].contains(key).then_some(key)) {
        return Err(format!("secretKeys has {twice:?} twice"));
    }
    let one = |key: &str, random: &mut _| {
        let password = password(&sets, may_repeat, random)?;
        Ok((key.to_owned(), SecretBytes::new(encode(password.as_bytes()))))
    };
    keys.into_iter().map(|key| one(key, random)).collect()
}

/// So many characters of each set, in random order.
fn password(
    sets: &[(&str, &str, i64)],
    may_repeat: bool,
    random: &mut (impl Rng + CryptoRng),
) -> Result<Zeroizing<String>, String> {
    let mut drawn: Zeroizing<Vec<char>> = Zeroizing::new(Vec::new());
    for (what, set, count) in sets {
        let mut set: Vec<char> = set.chars().collect();
        let count = usize::try_from(*count).unwrap_or_default();
        if may_repeat {
            drawn.extend((0..count).map(|_| set[random.random_range(0..set.len())]));
            continue;
        }
        set.sort_unstable();
        set.dedup();
        if count > set.len() {
            return Err(format!(
                "there are {} {what} to choose {count} from: set allowRepeat, or ask for fewer",
                set.len()
            ));
        }
        drawn.extend_from_slice(set.partial_shuffle(random, count).0);
    }
    drawn.shuffle(random);
    Ok(Zeroizing::new(drawn.iter().collect()))
}

type Encode = fn(&[u8]) -> Vec<u8>;

fn encoder(name: &str) -> Result<Encode, String> {
    match name {
        "" | "raw" => Ok(<[u8]>::to_vec),
        "base64" => Ok(|bytes| STANDARD.encode(bytes).into_bytes()),
        "base64url" => Ok(|bytes| URL_SAFE.encode(bytes).into_bytes()),
        "base32" => Ok(|bytes| base32(bytes).into_bytes()),
        "hex" => Ok(|bytes| hex(bytes).into_bytes()),
        name => Err(format!("encoding is {name:?}: use raw, base64, base64url, base32 or hex")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4648, padded.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let group = |five: &[u8]| {
        let bits = (0..5).fold(0u64, |bits, n| bits << 8 | u64::from(five.get(n).copied().unwrap_or_default()));
        let letters = (five.len() * 8).div_ceil(5);
        (0..8).map(move |n| if n < letters { char::from(ALPHABET[(bits >> (35 - 5 * n) & 31) as usize]) } else { '=' })
    };
    bytes.chunks(5).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use serde_json::json;

    use super::*;

    fn made(kind: &str, spec: Value) -> Result<BTreeMap<String, String>, String> {
        let data = make(kind, &spec, &mut StdRng::seed_from_u64(7)).map_err(|error| error.message().to_owned())?;
        Ok(data.iter().map(|(key, value)| (key.clone(), value.expose_str().unwrap().to_owned())).collect())
    }

    #[test]
    fn fake_gives_what_it_is_told() {
        let data = json!({"a": "1", "b": ""});
        assert_eq!(
            made("Fake", json!({"data": data})).unwrap(),
            [("a", "1"), ("b", "")].map(|(a, b)| (a.into(), b.into())).into()
        );
        assert!(made("Fake", Value::Null).unwrap().is_empty());
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuid = made("UUID", Value::Null).unwrap().remove("uuid").unwrap();
        let parts: Vec<&str> = uuid.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{uuid}");
    }

    fn counts(password: &str) -> (usize, usize, usize) {
        let count = |is: fn(char) -> bool| password.chars().filter(|c| is(*c)).count();
        let letters = count(|c| c.is_ascii_alphabetic());
        let digits = count(|c| c.is_ascii_digit());
        (letters, digits, password.chars().count() - letters - digits)
    }

    #[test]
    fn passwords_are_as_asked_for() {
        for (spec, expected) in [
            (json!({}), (12, 6, 6)),
            (json!({"length": 10}), (6, 2, 2)),
            (json!({"length": 8, "digits": 0, "symbols": 0}), (8, 0, 0)),
            (json!({"length": 4, "digits": 4, "symbols": 0}), (0, 4, 0)),
            (json!({"length": 200, "allowRepeat": true}), (100, 50, 50)),
            (json!({"length": 3, "digits": 0, "symbols": 3, "symbolCharacters": "-_é"}), (0, 0, 3)),
        ] {
            let password = made("Password", spec.clone()).unwrap().remove("password").unwrap();
            assert_eq!(counts(&password), expected, "{spec}: {password}");
            if spec["allowRepeat"].is_null() {
                let mut characters: Vec<char> = password.chars().collect();
                characters.sort_unstable();
                assert!(characters.windows(2).all(|pair| pair[0] != pair[1]), "{spec}: {password}");
            }
        }
        let password = made("Password", json!({"length": 26, "digits": 0, "symbols": 0, "noUpper": true})).unwrap();
        assert!(password["password"].chars().all(|c| c.is_ascii_lowercase()));
    }

    #[test]
    fn each_key_has_its_own_and_encodings_are_those_of_the_rfcs() {
        let several = made("Password", json!({"secretKeys": ["a", "b"]})).unwrap();
        assert_eq!(several.len(), 2);
        assert_ne!(several["a"], several["b"]);
        let sample = "foobar-password".as_bytes();
        for (name, expected) in [
            ("raw", "foobar-password"),
            ("base64", "Zm9vYmFyLXBhc3N3b3Jk"),
            ("base64url", "Zm9vYmFyLXBhc3N3b3Jk"),
            ("base32", "MZXW6YTBOIWXAYLTON3W64TE"),
            ("hex", "666f6f6261722d70617373776f7264"),
        ] {
            assert_eq!(encoder(name).unwrap()(sample), expected.as_bytes(), "{name}");
        }
        for (bytes, expected) in [("f", "MY======"), ("fo", "MZXQ===="), ("foo", "MZXW6==="), ("foob", "MZXW6YQ=")] {
            assert_eq!(base32(bytes.as_bytes()), expected);
        }
    }

    #[test]
    fn what_can_not_be_made_says_why() {
        for (kind, spec, why) in [
            ("Password", json!({"length": 4, "digits": 3, "symbols": 2}), "do not fit"),
            ("Password", json!({"length": 20, "digits": 11, "symbols": 0}), "allowRepeat"),
            ("Password", json!({"length": 10_000_000}), "at most"),
            ("Password", json!({"digits": -1}), "do not fit"),
            ("Password", json!({"encoding": "rot13"}), "base64url"),
            ("Password", json!({"secretKeys": ["a", "a"]}), "twice"),
            ("Oracle", json!({}), "not supported"),
        ] {
            let error = made(kind, spec.clone()).unwrap_err();
            assert!(error.contains(why), "{spec}: {error}");
        }
    }
}
