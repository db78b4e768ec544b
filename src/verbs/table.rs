//! Tables and colours for a person at a terminal.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write};

use serde::Serialize;

/// Whether what is printed may have colours: on a terminal, where nobody said otherwise.
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text as a part of one line: what others wrote ends no line, and tells a terminal nothing.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// As JSON, of which the same is true: it escapes some control characters itself, and these are the others.
pub fn json(of: &impl Serialize, is_pretty: bool) -> Result<String, String> {
    let text = if is_pretty { serde_json::to_string_pretty(of) } else { serde_json::to_string(of) };
    let text = text.map_err(|_| "can't write JSON".to_owned())?;
    let escaped =
        |c: char| if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    let text =
        if text.contains(|c: char| c.is_control() && c != '\n') { text.chars().map(escaped).collect() } else { text };
    Ok(text + "\n")
}

/// Tells what is to be noted.
pub fn note(notes: &[String], err: &mut dyn Write) {
    notes.iter().for_each(|note| _ = writeln!(err, "note: {}", plain(note)));
}

/// Rows as a table; the first is its head.
pub fn table(rows: &[Vec<String>]) -> String {
    lines(rows).concat()
}

/// The same, a line each.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<Cow<'_, str>>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A line in the colour of a status.
pub fn coloured(line: &str, status: &str, has_colours: bool) -> String {
    let line = plain(line);
    let colour = match status {
        "Failed" | "warning" => "31",
        "Unknown" | "unknown" => "33",
        _ => return line.into_owned(),
    };
    if has_colours { format!("\u{1b}[{colour}m{line}\u{1b}[0m") } else { line.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&rows), "A        B\nlonger\n");
        assert_eq!(coloured("x", "Failed", false), "x");
        assert_eq!(coloured("x", "Failed", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(coloured("x", "Ready", true), "x");
    }

    #[test]
    fn what_others_wrote_tells_a_terminal_nothing() {
        let hostile = "a\u{1b}[2Jb\nc\u{9b}d\u{7f}";
        let escaped = "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{7f}";
        assert_eq!(plain(hostile), escaped);
        assert_eq!(table(&[vec![hostile.to_owned()]]), format!("{escaped}\n"));
        assert_eq!(coloured(hostile, "Ready", true), escaped);
        assert_eq!(coloured(hostile, "Failed", true), format!("\u{1b}[31m{escaped}\u{1b}[0m"));
        let mut err = Vec::new();
        note(&[hostile.to_owned()], &mut err);
        assert_eq!(String::from_utf8(err).unwrap(), format!("note: {escaped}\n"));
        let told = json(&[hostile], false).unwrap();
        assert!(!told.trim_end().contains(char::is_control), "{told:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&told).unwrap(), [hostile]);
    }
}
