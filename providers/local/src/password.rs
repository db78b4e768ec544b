//! Passwords.

use std::collections::HashSet;

use keyferry_limits::{PASSWORD_BYTES, PASSWORD_LENGTH};
use keyferry_provider_core::{Error, SecretBytes};
use rand::seq::SliceRandom as _;
use rand::{CryptoRng, Rng as _};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Values, encoding};

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
    if length > PASSWORD_LENGTH.most as i64 {
        return Err(PASSWORD_LENGTH.to_string());
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
    let mut sets = [
        Set::new("letters", &letters, length - digits - symbols),
        Set::new("digits", DIGITS, digits),
        Set::new("symbols", own_symbols.unwrap_or(SYMBOLS), symbols),
    ];
    let may_repeat = spec["allowRepeat"].as_bool().unwrap_or_default();
    if !may_repeat {
        sets.iter_mut().try_for_each(Set::without_repetition)?;
    }
    let encode = encoding::by_name(spec["encoding"].as_str().unwrap_or_default())?;
    let keys = spec["secretKeys"].as_array().filter(|keys| !keys.is_empty());
    let keys = match keys {
        None => vec!["password"],
        Some(keys) => keys.iter().map(|key| key.as_str().unwrap_or_default()).collect(),
    };
    if keys.iter().any(|key| key.is_empty()) {
        return Err("secretKeys has an empty key".to_owned());
    }
    // Hexadecimal is the longest that they are written in, and a symbol may take four bytes.
    let text = |field: &str| spec[field].as_str().unwrap_or_default().as_bytes();
    let around = text("prefix").len().saturating_add(text("suffix").len());
    let bytes = keys.len().saturating_mul(around.saturating_add(length as usize));
    if bytes > PASSWORD_BYTES.size() {
        return Err(PASSWORD_BYTES.to_string());
    }
    let mut seen = HashSet::new();
    if let Some(twice) = keys.iter().find(|key| !seen.insert(**key)) {
        return Err(format!("secretKeys has {twice:?} twice"));
    }
    let mut one = |key: &str| {
        let password = password(&mut sets, may_repeat, random);
        let encoded = Zeroizing::new(encode(password.as_bytes()));
        (key.to_owned(), SecretBytes::new([text("prefix"), encoded.as_slice(), text("suffix")].concat()))
    };
    Ok(keys.into_iter().map(&mut one).collect())
}

/// Characters, of which each password has so many.
struct Set {
    what: &'static str,
    characters: Vec<char>,
    count: usize,
}

impl Set {
    fn new(what: &'static str, characters: &str, count: i64) -> Self {
        Self { what, characters: characters.chars().collect(), count: usize::try_from(count).unwrap_or_default() }
    }

    /// Each character once, which must be enough.
    fn without_repetition(&mut self) -> Result<(), String> {
        self.characters.sort_unstable();
        self.characters.dedup();
        let (what, there) = (self.what, self.characters.len());
        if self.count <= there {
            Ok(())
        } else {
            Err(format!("there are {there} {what} to choose {} from: set allowRepeat, or ask for fewer", self.count))
        }
    }
}

/// So many characters of each set, in random order. The sets are left in another order, from which as good a choice is
/// made as from any.
fn password(sets: &mut [Set], may_repeat: bool, random: &mut dyn CryptoRng) -> Zeroizing<String> {
    let length = sets.iter().map(|set| set.count).sum();
    let mut drawn: Zeroizing<Vec<char>> = Zeroizing::new(Vec::with_capacity(length));
    for Set { characters, count, .. } in sets {
        if may_repeat {
            drawn.extend((0..*count).map(|_| characters[random.random_range(0..characters.len())]));
        } else {
            drawn.extend_from_slice(characters.partial_shuffle(random, *count).0);
        }
    }
    drawn.shuffle(random);
    Zeroizing::new(drawn.iter().collect())
}
