//! How findings are told: to a person, to a program, to GitHub.

use std::io::{self, Write};

use super::Format;
use super::finding::{Finding, Severity};
use crate::verbs::table::{json, plain};

/// Prints all of them.
pub fn print(found: &[Finding], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => found.iter().try_for_each(|finding| writeln!(out, "{}", plain(&finding.to_string())))?,
        Format::Json => out.write_all(json(&found, true).map_err(io::Error::other)?.as_bytes())?,
        Format::Github => found.iter().try_for_each(|finding| writeln!(out, "{}", annotation(finding)))?,
    }
    out.flush()
}

/// A workflow command of GitHub Actions, which it shows beside the line.
fn annotation(finding: &Finding) -> String {
    let command = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let message: Vec<&str> = finding.parts().collect();
    let line = if finding.line > 0 { format!(",line={}", finding.line) } else { String::new() };
    format!("::{command} file={}{line},title=keyferry::{}", property(&finding.file), data(&message.join(": ")))
}

fn data(text: &str) -> String {
    plain(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")).into_owned()
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::finding::At;
    use super::*;

    #[test]
    fn an_annotation_ends_no_line_and_begins_no_other_command() {
        let finding =
            Finding::at(At::named_in("spec.data[0]"), Severity::Warning, "spec", "a\n::error::b 5%".to_owned());
        let finding = Finding { file: "a,b:c.yaml".to_owned(), line: 3, ..finding };
        let expected = "::warning file=a%2Cb%3Ac.yaml,line=3,title=keyferry::spec.data[0]: a%0A::error::b 5%25";
        assert_eq!(annotation(&finding), expected);
    }

    #[test]
    fn what_a_manifest_says_tells_a_terminal_nothing() {
        let finding =
            Finding::at(At::named_in("spec.data[0]"), Severity::Error, "spec", "a\u{1b}[2J\nb: c\u{9b}".to_owned());
        let finding = Finding { file: "a\u{1b}.yaml".to_owned(), line: 3, ..finding };
        for format in [Format::Text, Format::Json, Format::Github] {
            let mut out = Vec::new();
            print(std::slice::from_ref(&finding), format, &mut out).unwrap();
            let told = String::from_utf8(out).unwrap();
            let is_bare = told.lines().any(|line| line.contains(char::is_control) || line.starts_with('b'));
            assert!(!is_bare, "{told:?}");
        }
    }
}
