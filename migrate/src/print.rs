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
    /// What `--apply` did; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// What `--apply` did.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    /// Why it changed nothing at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was done, in order.
    pub done: Vec<String>,
    /// What could not be done, and why.
    pub failed: Vec<String>,
}

impl Report {
    /// A report of these findings.
    pub fn new(findings: Vec<Finding>, would: Vec<String>, applied: Option<Applied>) -> Self {
        Self { blocked: blocks(&findings), findings, would, applied }
    }

    /// Whether whoever asked should not go on.
    pub fn is_bad(&self) -> bool {
        let applied = self.applied.as_ref();
        self.blocked || applied.is_some_and(|applied| applied.refused.is_some() || !applied.failed.is_empty())
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
        if let Some(refused) = self.applied.as_ref().and_then(|applied| applied.refused.as_ref()) {
            writeln!(out, "Refused to change anything: {refused}.")?;
            return Ok(());
        }
        if !self.would.is_empty() {
            let again =
                if self.applied.is_some() { "Still to be done by --apply:" } else { "Run again with --apply to:" };
            writeln!(out, "{again}")?;
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
    writeln!(out, "  {} [{}]", sentence(&finding.summary), finding.code)?;
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
