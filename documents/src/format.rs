//! How documents are written, and reading them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use keyferry_limits::{DOCUMENT_SIZE, DOCUMENT_VALUES};
use keyferry_provider_core::{Blame, Error, ErrorKind, SecretBuf, SecretBytes};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_saphyr::budget::BudgetBreach;

use crate::tree::Node;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML, of one document or several.
    Yaml,
    /// JSON.
    Json,
    /// Lines `NAME=value`.
    Dotenv,
    /// Sections of lines `name = value`.
    Ini,
    /// Any bytes.
    Binary,
}

impl Format {
    /// The words for them.
    pub const NAMES: [(&str, Self); 5] = [
        ("yaml", Self::Yaml),
        ("json", Self::Json),
        ("dotenv", Self::Dotenv),
        ("ini", Self::Ini),
        ("binary", Self::Binary),
    ];

    /// What a file of this name holds. What age encrypted as a whole is known by what stands before `.age`.
    pub fn of_name(name: &str) -> Self {
        let name = name.strip_suffix(".age").unwrap_or(name);
        match name.rsplit_once('.').map_or(name, |(_, end)| end) {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "env" => Self::Dotenv,
            "ini" => Self::Ini,
            _ => Self::Binary,
        }
    }

    /// Reads a document. Of several YAML documents in it a list is made.
    ///
    /// # Errors
    /// `Malformed`, with the line where that is known; nothing of the text is told.
    pub fn read(self, bytes: &[u8]) -> Result<Node, Error> {
        let text = self.checked(bytes)?;
        match self {
            Self::Yaml => Ok(joined(yaml(text)?)),
            Self::Json => json(text),
            Self::Dotenv => Ok(Node::Map(without_export(dotenv(text, unquoted)?))),
            Self::Ini => ini(text),
            Self::Binary => Ok(Node::Text(SecretBytes::new(bytes.to_vec()))),
        }
    }

    /// Reads a document as SOPS does, which takes quotes in dotenv for a part of the value and keeps other bytes in JSON. More
    /// than one there is in YAML only.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_encrypted(self, bytes: &[u8]) -> Result<Vec<Node>, Error> {
        let text = self.checked(bytes)?;
        let one = match self {
            Self::Yaml => return yaml(text),
            Self::Json | Self::Binary => json(text),
            // SOPS binds a value to all that stands before it, `export` too.
            Self::Dotenv => Ok(Node::Map(dotenv(text, with_newlines)?)),
            Self::Ini => ini(text),
        };
        Ok(vec![one?])
    }

    fn checked(self, bytes: &[u8]) -> Result<&str, Error> {
        if bytes.len() > DOCUMENT_SIZE.size() {
            return Err(Error::limit(&DOCUMENT_SIZE).with_blame(Blame::Store));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) if self == Self::Binary => Ok(""),
            Err(_) => Err(self.unreadable(None)),
        }
    }

    fn unreadable(self, line: Option<usize>) -> Error {
        let line = line.map(|line| format!(", from line {line} on")).unwrap_or_default();
        malformed(format!("it is not {self}{line}"))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Dotenv => "dotenv",
            Self::Ini => "INI",
            Self::Binary => "a file of any bytes",
        })
    }
}

/// What is kept is not as it should be.
pub(crate) fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

/// What documents of one text come to: one of them is itself, several are a list of those in which there is anything.
pub(crate) fn joined(mut documents: Vec<Node>) -> Node {
    if documents.len() > 1 {
        documents.retain(|one| !matches!(one, Node::Map(all) if all.is_empty()));
    }
    match documents.len() {
        0 => Node::Null,
        1 => documents.remove(0),
        _ => Node::List(documents),
    }
}

/// As SOPS's parser reads YAML: `yes` is a text, `017` is fifteen. Its documents, without those in which there is nothing.
fn yaml(text: &str) -> Result<Vec<Node>, Error> {
    // Aliases repeat what stands there once: what they come to is bounded as the text is.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_total_scalar_bytes: DOCUMENT_SIZE.size(),
            max_recorded_anchor_bytes: DOCUMENT_SIZE.size(),
            max_nodes: DOCUMENT_VALUES.size(),
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line() as usize);
        match cause(&error) {
            serde_saphyr::Error::Budget { breach: BudgetBreach::Nodes { .. }, .. } => {
                Error::limit(&DOCUMENT_VALUES).with_blame(Blame::Store)
            }
            serde_saphyr::Error::Budget { .. }
            | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
            | serde_saphyr::Error::AliasExpansionLimitExceeded { .. }
            | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => malformed(
                "it is more than is read of YAML: it lies too deep, or its aliases make it too long; split it",
            ),
            _ => Format::Yaml.unreadable(line),
        }
    })
}

/// What is wrong, without where an alias or a piece of the text led to it.
fn cause(mut error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    while let serde_saphyr::Error::AliasError { error: inner, .. }
    | serde_saphyr::Error::WithSnippet { error: inner, .. } = error
    {
        error = inner;
    }
    error
}

fn json(text: &str) -> Result<Node, Error> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| Format::Json.unreadable(Some(error.line())))?;
    node(raw, 128).ok_or_else(|| Format::Json.unreadable(None))
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = from.next_entry()? {
                    all.push(one);
                }
                Ok(Members(all))
            }
        }
        from.deserialize_map(Reader)
    }
}

/// Digit for digit: a number is never read as a float.
fn node(raw: &RawValue, depth: usize) -> Option<Node> {
    let (text, inside) = (raw.get(), depth.checked_sub(1)?);
    Some(match text.as_bytes().first()? {
        b'{' => {
            let Members(all) = serde_json::from_str(text).ok()?;
            let mut known = std::collections::HashSet::new();
            let all = all.into_iter().map(|(key, one)| {
                let is_new = known.insert(key.clone());
                Some((key, node(one, inside)?)).filter(|_| is_new)
            });
            Node::Map(all.collect::<Option<_>>()?)
        }
        b'[' => {
            let all = keyferry_provider_core::json::array(text.as_bytes())?;
            Node::List(all.into_iter().map(|one| node(one, inside)).collect::<Option<_>>()?)
        }
        b'"' => Node::Text(keyferry_provider_core::json::to_bytes(raw)),
        b't' => Node::Bool(true),
        b'f' => Node::Bool(false),
        b'n' => Node::Null,
        _ => Node::Number(text.into()),
    })
}

fn dotenv(text: &str, value: fn(&str) -> SecretBytes) -> Result<Vec<(String, Node)>, Error> {
    let mut all = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, written) = line.split_once('=').ok_or_else(|| Format::Dotenv.unreadable(Some(n + 1)))?;
        all.push((name.to_owned(), Node::Text(value(written))));
    }
    Ok(last_of_each(all))
}

/// Of a repeated name the last counts, as in a shell.
fn last_of_each(all: impl IntoIterator<Item = (String, Node)>) -> Vec<(String, Node)> {
    let mut last: Vec<(String, Node)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (name, one) in all {
        match places.get(&name) {
            Some(place) => last[*place].1 = one,
            None => {
                places.insert(name.clone(), last.len());
                last.push((name, one));
            }
        }
    }
    last
}

/// Names as a shell knows them: `export` before one is none of it.
pub(crate) fn without_export(all: Vec<(String, Node)>) -> Vec<(String, Node)> {
    last_of_each(all.into_iter().map(|(name, one)| match name.strip_prefix("export ") {
        Some(plain) => (plain.to_owned(), one),
        None => (name, one),
    }))
}

/// As SOPS writes values into a line.
fn with_newlines(written: &str) -> SecretBytes {
    let mut out = SecretBuf::with_capacity(written.len());
    for (n, part) in written.split("\\n").enumerate() {
        if n > 0 {
            out.push(b'\n');
        }
        out.extend(part.as_bytes());
    }
    out.into()
}

/// Quotes off, and escapes within double ones.
fn unquoted(written: &str) -> SecretBytes {
    let written = written.trim();
    let within = |quote: char| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(plain) = within('\'') {
        return plain.into();
    }
    let Some(escaped) = within('"') else { return written.into() };
    let mut out = SecretBuf::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (_, Some(b'n')) => out.push(b'\n'),
            (_, Some(b'r')) => out.push(b'\r'),
            (_, Some(b't')) => out.push(b'\t'),
            (_, Some(other)) => out.push(other),
            (byte, None) => out.push(byte),
        }
    }
    out.into()
}

/// What stands before the first section is in the section `DEFAULT`, as SOPS has it.
fn ini(text: &str) -> Result<Node, Error> {
    let mut sections: Vec<(String, Vec<(String, Node)>)> = vec![("DEFAULT".into(), Vec::new())];
    let mut places: HashMap<String, usize> = HashMap::from([("DEFAULT".into(), 0)]);
    // The section that is written to.
    let mut place = 0;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            place = *places.entry(name.trim().to_owned()).or_insert_with(|| {
                sections.push((name.trim().to_owned(), Vec::new()));
                sections.len() - 1
            });
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| Format::Ini.unreadable(Some(n + 1)))?;
        sections[place].1.push((name.trim().to_owned(), Node::Text(of_ini(value.trim()))));
    }
    sections.retain(|(_, keys)| !keys.is_empty());
    Ok(Node::Map(sections.into_iter().map(|(name, keys)| (name, Node::Map(keys))).collect()))
}

fn of_ini(value: &str) -> SecretBytes {
    let within = |quote: &str| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let quoted = within("\"\"\"").or_else(|| within("`")).or_else(|| within("\"")).or_else(|| within("'"));
    if let Some(plain) = quoted {
        return plain.into();
    }
    // What follows is a comment.
    let end = [" #", " ;"].iter().filter_map(|mark| value.find(mark)).min().unwrap_or(value.len());
    value[..end].trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    fn read(format: Format, text: &str) -> String {
        format.read(text.as_bytes()).unwrap().to_json().expose_str().unwrap().to_owned()
    }

    #[test]
    fn every_format_comes_to_the_same_json() {
        let expected = r#"{"a":"x y","b":"1"}"#;
        assert_eq!(read(Format::Yaml, "b: \"1\"\na: x y # why\n"), expected);
        assert_eq!(read(Format::Json, r#"{"b": "1", "a": "x y"}"#), expected);
        assert_eq!(read(Format::Dotenv, "# why\nexport b=1\n\na=\"x y\"\n"), expected);
        assert_eq!(read(Format::Ini, "[s]\nb = 1\na = x y ; why\n"), format!("{{\"s\":{expected}}}"));
    }

    #[test]
    fn numbers_keep_their_digits_and_words_stay_words() {
        assert_eq!(read(Format::Json, "[1.50, 12345678901234567890, -0]"), "[1.50,12345678901234567890,-0]");
        assert_eq!(
            read(Format::Yaml, "[1.5, 12345678901234567890, no, 017, 0x1f, ~]"),
            "[1.5,12345678901234567890,\"no\",15,31,null]"
        );
    }

    #[test]
    fn values_of_dotenv_are_unquoted_for_us_and_as_they_stand_for_sops() {
        let lines = "a=\"x\\ny\"\nb='p\\nq'\nc=r\\ns\na=z";
        assert_eq!(read(Format::Dotenv, lines), r#"{"a":"z","b":"p\\nq","c":"r\\ns"}"#);
        let of_sops = Format::Dotenv.read_encrypted(b"a=\"x\\ny\"").unwrap().remove(0);
        assert_eq!(of_sops.to_json().expose_str(), Some(r#"{"a":"\"x\ny\""}"#.replace('\n', "\\n").as_str()));
        let of_sops = Format::Dotenv.read_encrypted(b"export a=x").unwrap().remove(0);
        assert_eq!(of_sops.to_json().expose_str(), Some(r#"{"export a":"x"}"#), "its value is bound to that");
        assert_eq!(read(Format::Dotenv, "export a=x\na=y"), r#"{"a":"y"}"#);
    }

    #[test]
    fn several_documents_are_a_list_of_those_with_anything_in_them() {
        for (text, expected) in [
            ("a: 1\n---\nb: 2\n", r#"[{"a":1},{"b":2}]"#),
            ("---\na: 1\n---\n# only words\n---\n{}\n", r#"{"a":1}"#),
            ("a: 1\n---\n- x\n--- just\n...\n", r#"[{"a":1},["x"],"just"]"#),
            ("{}\n", "{}"),
            ("# nothing\n", "null"),
        ] {
            assert_eq!(read(Format::Yaml, text), expected, "{text}");
        }
        let many = format!("a: [{}]\n---\n", "1,".repeat(DOCUMENT_VALUES.size() / 2)).repeat(3);
        let error = Format::Yaml.read(many.as_bytes()).unwrap_err();
        assert!(error.message().contains("limit document-values"), "the limit is one of all together: {error}");
    }

    #[test]
    fn a_section_that_is_begun_twice_is_one() {
        assert_eq!(
            read(Format::Ini, "x=0\n[a]\nx=1\n[b]\nx=2\n[a]\ny=3"),
            r#"{"DEFAULT":{"x":"0"},"a":{"x":"1","y":"3"},"b":{"x":"2"}}"#
        );
        let many: String = (0..100_000).map(|n| format!("[{n}]\n")).collect();
        assert_eq!(read(Format::Ini, &many), "{}");
    }

    #[test]
    fn what_can_not_be_read_is_told_by_its_line_and_without_a_value() {
        for (format, text, says) in [
            (Format::Yaml, format!("a: b\nc: [{CANARY}"), "it is not YAML"),
            (Format::Yaml, format!("a: {CANARY}\na: b"), "it is not YAML"),
            (Format::Yaml, format!("a: b\n---\na: {CANARY}\n---\nc: ["), "it is not YAML"),
            (Format::Yaml, format!("a: &a {}\nb: [{}]", CANARY.repeat(10_000), "*a, ".repeat(20)), "aliases"),
            (Format::Json, format!("{{\n\"{CANARY}\"}}"), "it is not JSON, from line 2 on"),
            (Format::Json, format!("{{\"a\":1,\"a\":\"{CANARY}\"}}"), "it is not JSON"),
            (Format::Json, "[".repeat(200) + &"]".repeat(200), "it is not JSON"),
            (Format::Dotenv, format!("a=b\n{CANARY}"), "it is not dotenv, from line 2 on"),
            (Format::Ini, format!("[a]\n{CANARY}"), "it is not INI, from line 2 on"),
        ] {
            let error = format.read(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.message().contains(says) && !error.message().contains(CANARY), "{format}: {error}");
        }
    }

    #[test]
    fn a_document_has_an_end() {
        let long = vec![b'#'; DOCUMENT_SIZE.size() + 1];
        assert!(Format::Dotenv.read(&long).unwrap_err().message().contains("limit document-size"));
        assert!(Format::Dotenv.read(&long[1..]).is_ok());
        let many = format!("a: [{}]", "1,".repeat(DOCUMENT_VALUES.size()));
        assert!(Format::Yaml.read(many.as_bytes()).unwrap_err().message().contains("limit document-values"));
    }

    #[test]
    fn names_tell_the_format() {
        for (name, format) in [
            ("a.yaml", Format::Yaml),
            ("a.yml.age", Format::Yaml),
            ("a.b.json", Format::Json),
            (".env", Format::Dotenv),
            ("prod.env", Format::Dotenv),
            ("a.ini", Format::Ini),
            ("a.pem", Format::Binary),
            ("a", Format::Binary),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
