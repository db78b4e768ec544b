//! How often something is repeated.

/// How often, at least and at most.
pub(super) enum Counts {
    Between(u32, Option<u32>),
    /// Numbers that are too large to be read.
    TooLarge,
}

/// `{2}`, `{2,}` or `{2,3}`, and what follows; `None` if it is not of that form.
pub(super) fn counts(text: &str) -> Option<(Counts, &str)> {
    let (inner, rest) = text.strip_prefix('{')?.split_once('}')?;
    let (min, max) = match inner.split_once(',') {
        Some((min, "")) => (count(min)?, None),
        Some((min, max)) => (count(min)?, Some(count(max)?)),
        None => (count(inner)?, Some(count(inner)?)),
    };
    let counts = match (min, max) {
        (Some(min), None) => Counts::Between(min, None),
        (Some(min), Some(Some(max))) => Counts::Between(min, Some(max)),
        _ => Counts::TooLarge,
    };
    Some((counts, rest))
}

/// Digits without leading zeros; `Some(None)` for very many of them.
fn count(text: &str) -> Option<Option<u32>> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = is_number && (text.len() == 1 || !text.starts_with('0'));
    is_number.then(|| text.parse().ok())
}
