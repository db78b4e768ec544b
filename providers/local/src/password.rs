//! Passwords.

use keyferry_limits::PASSWORD_KEYS;
use keyferry_provider_core::{Error, SecretBytes};
use rand::seq::SliceRandom as _;
use rand::{CryptoRng, Rng as _};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Values, encoding};

/// A password longer than this would not fit beside others into a Secret.
const LONGEST_PASSWORD: i64 = 65_536;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "~!@#$%^&*()_+`-={}|[]\\:\"<>?,./";

/// One password for each of `secretKeys`, with the defaults of External Secrets Operator.
pub fn passwords(spec: &Value, random: &mut dyn CryptoRng) -> Result<Values, Error> {
    passwords_or_why(spec, random).map_err(Error::invalid)
}

fn passwords_or_why(spec: &Value, random: &mut dyn CryptoRng) -> Result<Values, String> {
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
    let encode = encoding::by_name(spec["encoding"].as_str().unwrap_or_default())?;
    let keys = spec["secretKeys"].as_array().filter(|keys| !keys.is_empty());
    let keys = match keys {
        None => vec!["password"],
        Some(keys) => keys.iter().map(|key| key.as_str().unwrap_or_default()).collect(),
    };
    if keys.len() > PASSWORD_KEYS.size() {
        return Err(PASSWORD_KEYS.to_string());
    }
    if keys.iter().any(|key| key.is_empty()) {
        return Err("secretKeys has an empty key".to_owned());
    }
    if let Some(twice) = keys.iter().enumerate().find_map(|(n, key)| keys[..n].contains(key).then_some(key)) {
        return Err(format!("secretKeys has {twice:?} twice"));
    }
    let text = |field: &str| spec[field].as_str().unwrap_or_default().as_bytes();
    let one = |key: &str, random: &mut dyn CryptoRng| {
        let password = password(&sets, may_repeat, random)?;
        let encoded = Zeroizing::new(encode(password.as_bytes()));
        Ok((key.to_owned(), SecretBytes::new([text("prefix"), encoded.as_slice(), text("suffix")].concat())))
    };
    keys.into_iter().map(|key| one(key, random)).collect()
}

/// So many characters of each set, in random order.
fn password(
    sets: &[(&str, &str, i64)],
    may_repeat: bool,
    random: &mut dyn CryptoRng,
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
