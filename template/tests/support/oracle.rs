//! The Go side: builds the oracle once, then asks it through pipes.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Data, NOW, here};

/// Builds the oracle, where it is not built yet, and says where it is.
///
/// # Panics
/// Where Go is missing or refuses.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = here("../.cache/template-oracle/oracle");
        let build = || {
            let mut go = Command::new("go");
            go.args(["build", "-trimpath", "-o"]).arg(&program).arg(".").current_dir(here("oracle"));
            go.output().expect("go runs: the oracle is a Go program")
        };
        let mut built = build();
        // The first build downloads its modules, over networks that fail now and then.
        for pause in [5, 15, 30] {
            if built.status.success() {
                break;
            }
            thread::sleep(Duration::from_secs(pause));
            built = build();
        }
        assert!(built.status.success(), "building the oracle: {}", String::from_utf8_lossy(&built.stderr));
        program.display().to_string()
    })
}

/// Flags of the oracle and of `gotmpl` alike.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub left: Option<String>,
    pub right: Option<String>,
    pub missingkey: Option<String>,
}

impl Options {
    pub fn flags(&self, dash: &str) -> Vec<String> {
        [("left", &self.left), ("right", &self.right), ("missingkey", &self.missingkey)]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{dash}{name}={value}")))
            .collect()
    }
}

/// The names of the functions that templates may call in Go, sorted.
pub fn names() -> Vec<String> {
    let output = Command::new(program()).arg("names").output().expect("the oracle runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// One line of the protocol.
pub fn request(template: &str, data: Option<&Data>) -> String {
    let encoded = data.map(|data| {
        let pairs = data.iter().map(|(key, value)| (key.clone(), Value::from(STANDARD.encode(value))));
        Value::Object(pairs.collect())
    });
    match encoded {
        Some(data) => json!({"template": template, "data": data}).to_string(),
        None => json!({"template": template}).to_string(),
    }
}

/// Reads an answer of the protocol.
///
/// # Panics
/// Where it is none.
pub fn response(line: &str) -> Answer {
    let answer: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no answer: {error}: {line}"));
    match answer["ok"].as_bool() {
        Some(true) => {
            let output = answer["output"].as_str().unwrap_or_default();
            Answer::Output(STANDARD.decode(output).expect("output is base64"))
        }
        _ => Answer::Error(answer["error"].as_str().unwrap_or_default().to_owned()),
    }
}

/// What Go makes of each template. One that kills the oracle counts as an error.
pub fn ask<S: AsRef<str>>(templates: &[S], data: &Data, options: &Options) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(templates.len());
    while answers.len() < templates.len() {
        let before = answers.len();
        one_process(&templates[before..], data, options, &mut answers);
        if answers.len() < templates.len() {
            answers.push(Answer::Error("the oracle died of it".to_owned()));
        }
    }
    answers
}

fn start(options: &Options) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(program())
        .arg(format!("-now={NOW}"))
        .args(options.flags("-"))
        .env("TZ", "UTC")
        .env("GOGC", "400")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the oracle starts");
    let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    (child, stdout)
}

fn one_process<S: AsRef<str>>(templates: &[S], data: &Data, options: &Options, answers: &mut Vec<Answer>) {
    let (mut child, stdout) = start(options);
    let stdin = child.stdin.take().expect("stdin is a pipe");
    let mut first = Some(data);
    let lines: Vec<String> = templates.iter().map(|template| request(template.as_ref(), first.take())).collect();
    let writer = thread::spawn(move || {
        let mut stdin = BufWriter::new(stdin);
        // A dead oracle breaks the pipe; the missing answers tell.
        let _ = lines.iter().try_for_each(|line| writeln!(stdin, "{line}"));
    });
    for line in stdout.lines() {
        match line {
            Ok(line) => answers.push(response(&line)),
            Err(_) => break,
        }
    }
    let _ = child.wait();
    let _ = writer.join();
}
