//! Reports for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::judge::{Finding, Severity, blocks};

/// Everything that is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether something forbids to go on.
    pub blocked: bool,
    /// What was found; after `--apply`, what remains.
    pub findings: Vec<Finding>,
    /// What `--apply` would do, or would still do.
    pub would: Vec<String>,
    /// Why `--apply` changes nothing now.
    pub refusal: Option<String>,
    /// What `--apply` did; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// What `--apply` did.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    /// What was done, in order.
    pub done: Vec<String>,
    /// What could not be done, and why.
    pub failed: Vec<String>,
}

impl Report {
    /// A report of these findings.
    pub fn new(findings: Vec<Finding>, would: Vec<String>, refusal: Option<String>, applied: Option<Applied>) -> Self {
        Self { blocked: blocks(&findings), findings, would, refusal, applied }
    }

    /// Whether whoever asked should not go on.
    pub fn is_bad(&self) -> bool {
        let is_undone = |applied: &Applied| self.refusal.is_some() || !applied.failed.is_empty();
        self.blocked || self.applied.as_ref().is_some_and(is_undone)
    }

    /// One JSON document.
    pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// For people. What was done is printed as it is done, not here.
    pub fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for severity in [Severity::Blocks, Severity::Attention, Severity::Note] {
            let of_it: Vec<&Finding> = self.findings.iter().filter(|finding| finding.severity == severity).collect();
            if of_it.is_empty() {
                continue;
            }
            writeln!(out, "{}\n", heading(severity, of_it.len()))?;
            for finding in of_it {
                print(finding, out)?;
            }
        }
        if let (Some(why), Some(applied)) = (&self.refusal, &self.applied) {
            let more = if applied.done.is_empty() { "anything" } else { "anything more" };
            return writeln!(out, "Refused to change {more}: {why}.");
        }
        if !self.would.is_empty() {
            match (&self.refusal, &self.applied) {
                (Some(why), _) => writeln!(out, "--apply changes nothing now: {why}. After that it will:")?,
                (None, Some(_)) => writeln!(out, "Still to be done by --apply:")?,
                (None, None) => writeln!(out, "Run again with --apply to:")?,
            }
            for step in &self.would {
                writeln!(out, "  {step}")?;
            }
            writeln!(out)?;
        }
        let attention = self.findings.iter().filter(|finding| finding.severity == Severity::Attention).count();
        match (self.blocked, attention) {
            (true, _) => writeln!(out, "Do not go on before what blocks is dealt with."),
            (false, 0) => writeln!(out, "Nothing is in the way."),
            (false, _) => writeln!(out, "Nothing blocks the switch; read what needs attention first."),
        }
    }
}

fn heading(severity: Severity, count: usize) -> String {
    match severity {
        Severity::Blocks => format!("BLOCKS ({count})"),
        Severity::Attention => format!("ATTENTION ({count})"),
        Severity::Note => format!("NOTES ({count})"),
    }
}

fn print(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {} [{}]", headline(&finding.summary), finding.code)?;
    // The summary names it already.
    let is_named = finding.objects.len() == 1 && finding.count == 1 && finding.summary.contains(&finding.objects[0]);
    if !finding.objects.is_empty() && !is_named {
        const NAMED: usize = 8;
        for object in finding.objects.iter().take(NAMED) {
            writeln!(out, "    - {object}")?;
        }
        let more = finding.count.saturating_sub(finding.objects.len().min(NAMED));
        if more > 0 {
            writeln!(out, "    - and {more} more")?;
        }
    }
    if !finding.consequence.is_empty() {
        writeln!(out, "    So:   {}", sentence(&finding.consequence))?;
    }
    if !finding.next.is_empty() {
        writeln!(out, "    Next: {}", sentence(&finding.next))?;
    }
    for command in &finding.commands {
        writeln!(out, "          {command}")?;
    }
    writeln!(out)
}

/// With an end, where it has none.
fn sentence(text: &str) -> String {
    let end = if text.ends_with([':', '.']) { "" } else { "." };
    format!("{text}{end}")
}

/// The same, with a capital letter, unless it begins with the name of something.
fn headline(text: &str) -> String {
    let is_word = text.split(' ').next().is_some_and(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
    match text.chars().next().filter(|_| is_word && !text.starts_with("keyferry")) {
        Some(first) => format!("{}{}", first.to_ascii_uppercase(), sentence(&text[1..])),
        None => sentence(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding {
            code: "a-code",
            severity,
            summary: "something was found".to_owned(),
            count: 12,
            objects: vec!["a/b".to_owned(), "a/c".to_owned()],
            consequence: "it matters".to_owned(),
            next: "do this:".to_owned(),
            commands: vec!["kubectl do".to_owned()],
        }
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn for_people() {
        let would = vec!["delete x/y".to_owned()];
        let report = Report::new(vec![finding(Severity::Blocks)], would.clone(), None, None);
        assert_eq!(
            text(&report),
            "BLOCKS (1)

  Something was found. [a-code]
    - a/b
    - a/c
    - and 10 more
    So:   it matters.
    Next: do this:
          kubectl do

Run again with --apply to:
  delete x/y

Do not go on before what blocks is dealt with.
"
        );
        assert!(report.is_bad());
        let refused = Report::new(Vec::new(), would, Some("it runs".to_owned()), None);
        assert!(
            text(&refused).starts_with("--apply changes nothing now: it runs. After that it will:\n  delete x/y\n")
        );
        assert!(!refused.is_bad(), "nobody asked");
        let clear = Report::new(vec![finding(Severity::Attention)], Vec::new(), None, None);
        assert!(text(&clear).ends_with("Nothing blocks the switch; read what needs attention first.\n"));
        assert!(!clear.is_bad());
        assert_eq!(text(&Report::new(Vec::new(), Vec::new(), None, None)), "Nothing is in the way.\n");
    }

    #[test]
    fn an_object_that_the_summary_names_is_not_named_twice() {
        let mut one = finding(Severity::Note);
        (one.count, one.objects) = (1, vec!["something".to_owned()]);
        assert!(!text(&Report::new(vec![one], Vec::new(), None, None)).contains("- something"));
    }

    #[test]
    fn what_was_refused_or_failed_is_bad() {
        let refused = |done: Vec<String>| {
            let applied = Applied { done, ..Default::default() };
            Report::new(Vec::new(), vec!["delete x/y".to_owned()], Some("it runs".to_owned()), Some(applied))
        };
        assert!(refused(Vec::new()).is_bad());
        assert_eq!(text(&refused(Vec::new())), "Refused to change anything: it runs.\n");
        assert_eq!(text(&refused(vec!["x".to_owned()])), "Refused to change anything more: it runs.\n");
        let failed = Applied { failed: vec!["could not".to_owned()], ..Default::default() };
        assert!(Report::new(Vec::new(), Vec::new(), None, Some(failed)).is_bad());
        assert!(!Report::new(Vec::new(), Vec::new(), None, Some(Applied::default())).is_bad());
    }

    #[test]
    fn for_programs() {
        let report = Report::new(vec![finding(Severity::Attention)], Vec::new(), None, None);
        let mut out = Vec::new();
        report.json(&mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "blocked": false, "would": [], "refusal": null,
            "findings": [{
                "code": "a-code", "severity": "attention", "summary": "something was found", "count": 12,
                "objects": ["a/b", "a/c"], "consequence": "it matters", "next": "do this:", "commands": ["kubectl do"],
            }],
        });
        assert_eq!(json, expected);
    }
}
