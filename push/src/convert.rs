//! Keys of a source, converted back. Pure.

use keyferry_crds::PushConversion;
use keyferry_sync::data::Data;
use keyferry_sync::told;
use keyferry_sync::told::{Name, Told};

/// The values by their keys, as the strategy reads these.
pub fn keys(data: &Data, strategy: &PushConversion) -> Result<Data, Told> {
    if *strategy != PushConversion::ReverseUnicode {
        return Ok(data.clone());
    }
    let mut converted = Data::new();
    for (key, value) in data {
        if converted.insert(reversed(key), value.clone()).is_some() {
            return Err(told!("{} and another key are the same once they are converted", Name(key)));
        }
    }
    Ok(converted)
}

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
    fn two_keys_never_become_one() {
        let data: Data = [("a_U002f_b".to_owned(), "1".into()), ("a/b".to_owned(), "2".into())].into();
        assert!(keys(&data, &PushConversion::ReverseUnicode).is_err());
        assert_eq!(keys(&data, &PushConversion::None).unwrap().len(), 2);
    }
}
