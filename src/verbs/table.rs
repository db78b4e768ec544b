//! Tables and colours for a person at a terminal.

use std::io::IsTerminal as _;

/// Whether what is printed may have colours: on a terminal, where nobody said otherwise.
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows as a table; the first is its head.
pub fn table(rows: &[Vec<String>]) -> String {
    lines(rows).concat()
}

/// The same, a line each.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A line in the colour of a status.
pub fn coloured(line: &str, status: &str, has_colours: bool) -> String {
    let colour = match status {
        "Failed" | "warning" => "31",
        "Unknown" | "unknown" => "33",
        _ => return line.to_owned(),
    };
    if has_colours { format!("\u{1b}[{colour}m{line}\u{1b}[0m") } else { line.to_owned() }
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
}
