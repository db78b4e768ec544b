//! Lines of YAML, or of a template that becomes YAML: keys, and which of them belong to one object.

use std::ops::Range;

/// A text by its lines.
pub struct Lines<'a> {
    /// All of it.
    pub all: &'a str,
    starts: Vec<usize>,
}

/// A key with its value, or the begin of it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The column of the key.
    pub column: usize,
    /// Whether it begins an entry of a list.
    pub begins: bool,
    /// The key, without quotes.
    pub key: &'a str,
    /// Whether it has quotes.
    pub quoted: bool,
    /// What follows, without a comment.
    pub value: &'a str,
    /// Where that begins in the line.
    pub value_at: usize,
}

/// The object that a key belongs to.
pub struct Mapping<'a> {
    /// Its lines.
    pub lines: Range<usize>,
    /// Its other keys, and their lines.
    pub siblings: Vec<(usize, Entry<'a>)>,
}

impl<'a> Lines<'a> {
    /// The lines of a text.
    pub fn new(all: &'a str) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', all.as_bytes()).map(|at| at + 1));
        Self { all, starts: starts.collect() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// The line of a place, from 0.
    pub fn at(&self, place: usize) -> usize {
        self.starts.partition_point(|start| *start <= place) - 1
    }

    /// Where a line begins.
    pub fn start(&self, n: usize) -> usize {
        self.starts[n]
    }

    /// A line without its end.
    pub fn text(&self, n: usize) -> &'a str {
        let end = self.starts.get(n + 1).copied().unwrap_or(self.all.len());
        self.all[self.starts[n]..end].trim_end_matches(['\n', '\r'])
    }

    /// Whether a place in a line is in a comment.
    pub fn is_comment(&self, n: usize, place: usize) -> bool {
        let before = &self.all[self.starts[n]..place];
        before.trim_start().starts_with('#') || before.contains(" #")
    }

    /// The object whose key stands in line `n` at this column.
    pub fn mapping(&self, n: usize, column: usize) -> Mapping<'a> {
        let mut siblings = Vec::new();
        let (mut first, mut last) = (n, n);
        let mut begins = entry(self.text(n)).is_some_and(|entry| entry.begins);
        while !begins && first > 0 {
            match self.look(first - 1, column) {
                Look::Passed => {}
                Look::Sibling(entry) => {
                    begins = entry.begins;
                    siblings.push((first - 1, entry));
                }
                Look::Outside => break,
            }
            first -= 1;
        }
        while last + 1 < self.count() {
            match self.look(last + 1, column) {
                Look::Passed => {}
                // The next entry of a list.
                Look::Sibling(entry) if entry.begins => break,
                Look::Sibling(entry) => siblings.push((last + 1, entry)),
                Look::Outside => break,
            }
            last += 1;
        }
        Mapping { lines: first..last + 1, siblings }
    }

    /// What a line is to the object whose keys stand at this column.
    fn look(&self, n: usize, column: usize) -> Look<'a> {
        let text = self.text(n);
        let inner = text.trim_start_matches(' ');
        let indent = text.len() - inner.len();
        // Lines of a template's own stand where they like.
        if inner.is_empty() || inner.starts_with('#') || inner.starts_with("{{") {
            return Look::Passed;
        }
        if indent <= column && (inner == "---" || inner.starts_with("--- ") || inner == "...") {
            return Look::Outside;
        }
        match entry(text) {
            Some(entry) if entry.column == column && (indent == column || entry.begins) => Look::Sibling(entry),
            // A list that is no further in than the key that it belongs to.
            _ if indent > column || (indent == column && inner.starts_with('-')) => Look::Passed,
            _ if indent == column => Look::Passed,
            _ => Look::Outside,
        }
    }
}

enum Look<'a> {
    Passed,
    Sibling(Entry<'a>),
    Outside,
}

/// The key that a line has, where it has one.
pub fn entry(line: &str) -> Option<Entry<'_>> {
    let mut rest = line.trim_start_matches(' ');
    let mut begins = false;
    while let Some(inner) = rest.strip_prefix("- ") {
        rest = inner.trim_start_matches(' ');
        begins = true;
    }
    let column = line.len() - rest.len();
    let quote = rest.chars().next().filter(|letter| "\"'".contains(*letter));
    let (key, after) = match quote {
        Some(quote) => {
            let (key, after) = rest[1..].split_once(quote)?;
            (key, after.trim_start_matches(' ').strip_prefix(':')?)
        }
        None => rest.split_once(':')?,
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if key.is_empty() || !key.chars().all(is_plain) || !(after.is_empty() || after.starts_with([' ', '\t'])) {
        return None;
    }
    let value = after.trim_start();
    let value_at = line.len() - value.len();
    let end = if value.starts_with('#') { 0 } else { value.find(" #").unwrap_or(value.len()) };
    Some(Entry { column, begins, key, quoted: quote.is_some(), value: value[..end].trim_end(), value_at })
}

/// A value without its anchor and quotes.
pub fn scalar(value: &str) -> &str {
    let value = match value.strip_prefix('&') {
        Some(anchored) => anchored.split_once(char::is_whitespace).map_or("", |(_, value)| value.trim_start()),
        None => value,
    };
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}
