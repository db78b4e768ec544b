//! The lines on which the parts of a document stand, by their paths. Keeps no text of it but the names of fields.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A part of a document: the line it begins on, and its own parts.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    line: u64,
    /// Where its name stands, where it has one.
    named: u64,
    parts: Parts,
}

#[derive(Clone, Debug, Default)]
enum Parts {
    #[default]
    None,
    List(Vec<Lines>),
    Map(BTreeMap<String, Lines>),
}

impl Lines {
    /// Those of a text with so many lines above it; nothing is known of a text that can't be read.
    pub fn of(text: &str, above: u64) -> Self {
        let options = serde_saphyr::options! { strict_booleans: false };
        let read = serde_saphyr::from_str_with_options::<Spanned<Parts>>(text, options);
        let mut lines = read.map(Self::from).unwrap_or_default();
        lines.shift(above);
        lines
    }

    /// Where this part begins; `None` where that is not known.
    pub fn line(&self) -> Option<u64> {
        (self.line > 0).then_some(self.line)
    }

    /// The line of the part at a path: of its name, where it has one; of the last part before it that is there, where it is not.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = Step<'a>>) -> Option<u64> {
        let (mut part, mut found) = (self, self.line());
        for step in path {
            let Some(next) = part.step(step) else { break };
            part = next;
            found = [next.named, next.line].into_iter().find(|line| *line > 0).or(found);
        }
        found
    }

    /// Takes out the part under a name, where it is a list: its elements.
    pub fn take_list(&mut self, name: &str) -> Vec<Self> {
        let part = if let Parts::Map(map) = &mut self.parts { map.remove(name) } else { None };
        match part.unwrap_or_default().parts {
            Parts::List(items) => items,
            Parts::None | Parts::Map(_) => Vec::new(),
        }
    }

    /// The line of the first path below `spec` that a message names, as far as it can be followed; `None` where it names
    /// none.
    pub fn named_in(&self, message: &str) -> Option<u64> {
        let path = &message[message.find("spec.")?..];
        let spec = self.step(Step::Key("spec"))?;
        let (mut found, mut rest) = (None, &path["spec".len()..]);
        let mut at = spec;
        while let Some((step, after)) = step(rest)
            && let Some(next) = at.step(step)
        {
            (at, rest, found) = (next, after, next.line().or(found));
        }
        found
    }

    fn step(&self, step: Step<'_>) -> Option<&Self> {
        match (&self.parts, step) {
            (Parts::Map(map), Step::Key(key)) => map.get(key),
            (Parts::List(items), Step::Index(n)) => items.get(n),
            _ => None,
        }
    }

    fn shift(&mut self, by: u64) {
        for line in [&mut self.line, &mut self.named].into_iter().filter(|line| **line > 0) {
            *line += by;
        }
        match &mut self.parts {
            Parts::None => {}
            Parts::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Parts::Map(map) => map.values_mut().for_each(|item| item.shift(by)),
        }
    }
}

/// A step of a path, as messages write it: `.name`, `[3]` or `["key"]`.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A field, or a key of a map.
    Key(&'a str),
    /// An element of a list.
    Index(usize),
}

/// The first step of a path, and what comes after it.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        return (end > 0).then(|| (Step::Key(&rest[..end]), &rest[end..]));
    }
    let (inside, rest) = path.strip_prefix('[')?.split_once(']')?;
    let key = inside.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
    let step = key.map(Step::Key).or_else(|| inside.parse().ok().map(Step::Index));
    Some((step?, rest))
}

impl From<Spanned<Parts>> for Lines {
    fn from(part: Spanned<Parts>) -> Self {
        Self { line: part.referenced.line(), named: 0, parts: part.value }
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut parts = BTreeMap::new();
        while let Some((key, part)) = map.next_entry::<Spanned<String>, Spanned<Parts>>()? {
            let named = key.referenced.line();
            parts.insert(key.value, Lines { named, ..part.into() });
        }
        Ok(Parts::Map(parts))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parts, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element::<Spanned<Parts>>()? {
            parts.push(part.into());
        }
        Ok(Parts::List(parts))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        Parts::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Parts::None)
    }

    fn visit_unit<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_none<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Parts, E> {
        Ok(Parts::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"spec:
  data:
  - secretKey: a
    remoteRef: {key: a}
  - secretKey: b
    remoteRef:
      key: b
  target:
    template:
      data:
        "x.y": "{{ .a }}"
  dataFrom: [
    {extract: {key: j}},
    {find: {name: {regexp: "("}}}]
  odd: [1, -1, 1.5, true, null, 12345678901234567890, ~]
"#;

    #[test]
    fn a_path_is_followed_as_far_as_it_goes() {
        let lines = Lines::of(TEXT, 10);
        for (message, line) in [
            ("error processing spec.data[1] (secretKey \"b\"): no", Some(15)),
            ("spec.data[1].remoteRef.property is odd", Some(17)),
            ("spec.dataFrom[1].find: no", Some(24)),
            ("spec.target.template.data[\"x.y\"]: no", Some(21)),
            ("spec.data[7] is not there, but its list is", Some(13)),
            ("denied by spec.condition", None),
            ("nothing is named", None),
        ] {
            assert_eq!(lines.named_in(message), line, "{message}");
        }
        assert_eq!(lines.line(), Some(11));
    }

    #[test]
    fn a_part_begins_with_its_name() {
        let lines = Lines::of(TEXT, 0);
        let [data, remote, absent] = [Step::Key("data"), Step::Key("remoteRef"), Step::Key("absent")];
        let spec = Step::Key("spec");
        assert_eq!(lines.at([spec, data, Step::Index(1), remote]), Some(6));
        assert_eq!(lines.at([spec, data, Step::Index(1), absent]), Some(5), "as far as it goes");
        assert_eq!(lines.at([spec, Step::Key("target")]), Some(8));
        assert_eq!(lines.at([]), Some(1));
    }

    #[test]
    fn a_text_that_can_not_be_read_has_no_lines() {
        assert_eq!(Lines::of("a: [", 3).line(), None);
        assert_eq!(Lines::of("a: [", 3).named_in("spec.data[0]"), None);
    }
}
