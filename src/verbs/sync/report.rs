//! What is told while files are written: lines for a person, or JSON for a program.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use keyferry_sync::dependency::Name;
use serde_json::{Value, json};

use super::args::Output;

/// What came of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It was not there, and is.
    Created,
    /// It holds something else than before.
    Updated,
    /// It was removed.
    Removed,
    /// It is as it should be.
    Unchanged,
    /// There is none, and none to be.
    Nothing,
    /// It could not be done.
    Failed,
}

impl Result {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// How many targets there are, and how they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub all: usize,
    /// Those that were written since this was told last.
    pub changed: usize,
    /// Those that failed.
    pub failed: usize,
}

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// What came of a target.
    Target {
        /// The ExternalSecret.
        name: &'a Name,
        /// Where the target is.
        path: Option<&'a Path>,
        /// What came of it.
        result: Result,
        /// Why, or what else there is to say.
        message: Option<&'a str>,
        /// The same for a person, with the places in files that it is about.
        lines: &'a [String],
    },
    /// What can't be read, or else there is to say of what is read; for a person already.
    Line(&'a str),
    /// The command was run.
    Command(std::result::Result<usize, &'a str>),
    /// Targets have been seen to.
    Summary(Count),
}

/// Who tells.
pub struct Reporter<'a> {
    out: &'a mut (dyn Write + Send),
    output: Output,
    /// Whether it says how far it is, on a terminal.
    shows_progress: bool,
    is_progress_shown: bool,
}

impl<'a> Reporter<'a> {
    /// Tells `out`.
    pub fn new(out: &'a mut (dyn Write + Send), output: Output, is_terminal: bool) -> Self {
        Self { out, output, shows_progress: is_terminal && output == Output::Text, is_progress_shown: false }
    }

    /// Tells something. Nobody who listens is no trouble: the files are what counts.
    pub fn tell(&mut self, event: &Event<'_>, now: Timestamp) {
        self.clear();
        let text = match self.output {
            Output::Text => text(event),
            Output::Json => {
                let mut line = json(event);
                line["time"] = json!(now.to_string());
                format!("{line}\n")
            }
        };
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Says how far it is.
    pub fn progress(&mut self, done: usize, all: usize) {
        if self.shows_progress && done < all {
            let _ = write!(self.out, "\r{done} of {all}").and_then(|()| self.out.flush());
            self.is_progress_shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_progress_shown) {
            let _ = write!(self.out, "\r\u{1b}[K");
        }
    }
}

fn text(event: &Event<'_>) -> String {
    match event {
        Event::Target { lines, result: Result::Failed, .. } => lines.iter().map(|line| format!("{line}\n")).collect(),
        Event::Target { result: Result::Unchanged, message: None, .. } => String::new(),
        Event::Target { name: (namespace, name), path, result, message, .. } => {
            let path = path.map(|path| format!(" {}", path.display())).unwrap_or_default();
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{namespace}/{name}: {}{path}{message}\n", result.as_str())
        }
        Event::Line(line) => format!("{line}\n"),
        Event::Command(Ok(1)) => "ran the command for 1 target\n".to_owned(),
        Event::Command(Ok(targets)) => format!("ran the command for {targets} targets\n"),
        Event::Command(Err(why)) => format!("error: {why}\n"),
        Event::Summary(Count { all, changed, failed }) => {
            let unit = if *all == 1 { "target" } else { "targets" };
            format!("{all} {unit}: {changed} changed, {failed} failed\n")
        }
    }
}

fn json(event: &Event<'_>) -> Value {
    match event {
        Event::Target { name: (namespace, name), path, result, message, lines } => {
            let mut line = json!({"event": "target", "namespace": namespace, "externalSecret": name,
                "result": result.as_str()});
            if let Some(path) = path {
                line["path"] = json!(path.display().to_string());
            }
            if let Some(message) = message {
                line[if *result == Result::Failed { "error" } else { "message" }] = json!(message);
            }
            // `FILE:LINE: error: ...`, as a person reads it.
            let places: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once(": error: ")?.0)).collect();
            if !places.is_empty() {
                line["places"] = json!(places);
            }
            line
        }
        Event::Line(text) => json!({"event": "note", "message": text}),
        Event::Command(Ok(targets)) => json!({"event": "command", "targets": targets}),
        Event::Command(Err(why)) => json!({"event": "command", "error": why}),
        Event::Summary(Count { all, changed, failed }) => {
            json!({"event": "summary", "targets": all, "changed": changed, "failed": failed})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: Output, event: &Event<'_>) -> String {
        let mut out = Vec::new();
        Reporter::new(&mut out, output, false).tell(event, Timestamp::UNIX_EPOCH);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn how_far_it_is_goes_before_the_next_line_and_is_for_terminals_alone() {
        let progress = |output, is_terminal| {
            let mut out = Vec::new();
            let mut reporter = Reporter::new(&mut out, output, is_terminal);
            reporter.progress(1, 3);
            reporter.progress(2, 3);
            reporter.tell(&Event::Line("note: something"), Timestamp::UNIX_EPOCH);
            reporter.progress(3, 3);
            reporter.tell(&Event::Line("note: more"), Timestamp::UNIX_EPOCH);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(progress(Output::Text, true), "\r1 of 3\r2 of 3\r\u{1b}[Knote: something\nnote: more\n");
        assert_eq!(progress(Output::Text, false), "note: something\nnote: more\n");
        assert!(!progress(Output::Json, true).contains("of 3"), "lines of JSON, also on a terminal");
    }

    #[test]
    fn both_forms_tell_the_same() {
        let name = ("team".to_owned(), "app".to_owned());
        let created = Event::Target {
            name: &name,
            path: Some(Path::new("out/app")),
            result: Result::Created,
            message: None,
            lines: &[],
        };
        assert_eq!(told(Output::Text, &created), "team/app: created out/app\n");
        assert_eq!(
            told(Output::Json, &created),
            "{\"event\":\"target\",\"externalSecret\":\"app\",\"namespace\":\"team\",\"path\":\"out/app\",\"result\":\"created\",\
             \"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        let lines = ["a.yaml:7: error: ExternalSecret team/app: why".to_owned()];
        let failed =
            Event::Target { name: &name, path: None, result: Result::Failed, message: Some("why"), lines: &lines };
        assert_eq!(told(Output::Text, &failed), "a.yaml:7: error: ExternalSecret team/app: why\n");
        let line: Value = serde_json::from_str(&told(Output::Json, &failed)).unwrap();
        assert_eq!((&line["error"], &line["places"]), (&json!("why"), &json!(["a.yaml:7"])));
        let count = Event::Summary(Count { all: 3, changed: 1, failed: 1 });
        assert_eq!(told(Output::Text, &count), "3 targets: 1 changed, 1 failed\n");
        assert_eq!(
            told(
                Output::Text,
                &Event::Target { name: &name, path: None, result: Result::Unchanged, message: None, lines: &[] }
            ),
            ""
        );
    }
}
