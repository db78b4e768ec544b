//! Keys of a source, converted back: once for all of its entries. Pure.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use keyferry_crds::PushConversion;
use keyferry_limits::{Budget, Exceeded};
use keyferry_sync::data::Data;
use keyferry_sync::engine::ENTRY;
use keyferry_sync::told;
use keyferry_sync::told::{Name, Told};

/// The values of a source by their keys, as each strategy reads these.
pub struct Keys<'a> {
    data: &'a Data,
    /// The keys that the source itself has: what else there is, `spec.template` made, maybe of a value.
    own: &'a BTreeSet<String>,
    reversed: OnceCell<Result<Data, Told>>,
    /// The keys of the source, converted.
    own_reversed: OnceCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// Of these values, of which the source itself has those of these keys.
    pub fn of(data: &'a Data, own: &'a BTreeSet<String>) -> Self {
        Self { data, own, reversed: OnceCell::new(), own_reversed: OnceCell::new() }
    }

    /// As a strategy reads them; why that can't be.
    pub fn by(&self, strategy: &PushConversion, budget: &Budget) -> Result<Result<&Data, Told>, Exceeded> {
        if *strategy != PushConversion::ReverseUnicode {
            return Ok(Ok(self.data));
        }
        if self.reversed.get().is_none() {
            let keys = || self.data.keys().map(String::len);
            budget.steps(keys().map(|length| length + 1).sum())?;
            let values = self.data.values().map(|value| value.len() + ENTRY).sum::<usize>();
            budget.bytes(keys().sum::<usize>() + values)?;
        }
        Ok(self.reversed.get_or_init(|| self.reverse()).as_ref().map_err(Clone::clone))
    }

    fn reverse(&self) -> Result<Data, Told> {
        let mut converted = Data::new();
        for (key, value) in self.data {
            if converted.insert(reversed(key), value.clone()).is_some() {
                let key = if self.own.contains(key) { told!("{}", Name(key)) } else { MADE.into() };
                return Err(told!("{} and another key are the same once they are converted", key));
            }
        }
        Ok(converted)
    }

    /// Whether `spec.template` made a key that a strategy reads: it may be made of a value.
    pub fn is_made(&self, key: &str, strategy: &PushConversion) -> bool {
        if *strategy != PushConversion::ReverseUnicode {
            return !self.own.contains(key);
        }
        !self.own_reversed.get_or_init(|| self.own.iter().map(|key| reversed(key)).collect()).contains(key)
    }
}

/// How a key is told that is made of who knows what.
pub const MADE: &str = "a key that spec.template made";

/// `_U002f_` is `/` again: `_U`, four or five hexadecimal digits, `_`.
pub fn reversed(key: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(key.len()), key);
    while let Some(at) = rest.find("_U") {
        let (before, mark) = rest.split_at(at);
        out.push_str(before);
        let digits = &mark[2..];
        let count = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        let is_code = matches!(count, 4 | 5) && digits.as_bytes().get(count) == Some(&b'_');
        if is_code {
            let code = u32::from_str_radix(&digits[..count], 16).unwrap_or_default();
            // Go puts the same in place of what is no character.
            out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = &digits[count + 1..];
        } else {
            out.push_str("_U");
            rest = digits;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_are_characters_again() {
        for (key, reversed_key) in [
            ("plain", "plain"),
            ("a_U002f_b", "a/b"),
            ("_U1f600_", "\u{1f600}"),
            ("_U002f__U002f_", "//"),
            ("_U02f_", "_U02f_"),
            ("_U00002f_", "_U00002f_"),
            ("_U002f", "_U002f"),
            ("_U_U002f_", "_U/"),
            ("_Ud800_", "\u{fffd}"),
            ("a_Uxyz_", "a_Uxyz_"),
        ] {
            assert_eq!(reversed(key), reversed_key, "{key}");
        }
    }

    #[test]
    fn what_the_template_made_is_told_from_what_was_there() {
        let data: Data = [("a_U002f_b".to_owned(), "1".into()), ("made".to_owned(), "2".into())].into();
        let own = ["a_U002f_b".to_owned()].into();
        let keys = Keys::of(&data, &own);
        let made = |key: &str, strategy| keys.is_made(key, &strategy);
        assert!(!made("a_U002f_b", PushConversion::None) && made("a/b", PushConversion::None));
        assert!(!made("a/b", PushConversion::ReverseUnicode) && made("made", PushConversion::ReverseUnicode));
    }

    #[test]
    fn keys_are_converted_once_and_paid_for() {
        let data: Data = (0..100).map(|n| (format!("key-{n}"), "v".into())).collect();
        let own = BTreeSet::new();
        let keys = Keys::of(&data, &own);
        assert!(keys.by(&PushConversion::ReverseUnicode, &Budget::new(1 << 20, 10)).is_err());
        let enough = Budget::new(1 << 20, 1_000);
        for _ in 0..3 {
            assert!(keys.by(&PushConversion::ReverseUnicode, &enough).unwrap().is_ok());
        }
    }

    #[test]
    fn two_keys_never_become_one() {
        let data: Data = [("a_U002f_b".to_owned(), "1".into()), ("a/b".to_owned(), "2".into())].into();
        let (budget, own) = (Budget::default(), data.keys().cloned().collect());
        let keys = Keys::of(&data, &own);
        let problem = keys.by(&PushConversion::ReverseUnicode, &budget).unwrap().unwrap_err();
        assert!(problem.as_str().starts_with("\"a_U002f_b\" and another key"), "{problem}");
        assert_eq!(keys.by(&PushConversion::None, &budget).unwrap().unwrap().len(), 2);
        let made = Keys::of(&data, const { &BTreeSet::new() });
        let problem = made.by(&PushConversion::ReverseUnicode, &budget).unwrap().unwrap_err();
        assert!(problem.as_str().starts_with("a key that spec.template made and another key"), "{problem}");
    }
}
