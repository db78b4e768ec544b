//! Renders Go templates from the command line: JSON lines for programs, files for people.
//!
//! Modules, in reading order: [`lines`] JSON lines in, JSON lines out, [`person`] a template and a file of values.

mod lines;
mod person;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use keyferry_template::{Functions, MissingKey, Options};

/// Renders Go templates, with sprig and the functions of External Secrets Operator.
///
/// Without --file it reads JSON lines {"template": "...", "data": {"key": "<base64>"}} from standard input and answers
/// each, in order, with {"ok": true, "output": "<base64>"} or {"ok": false, "error": "..."}.
#[derive(Debug, Parser)]
#[command(name = "gotmpl", version)]
struct Cli {
    /// Render this template and print the result
    #[arg(short, long, value_name = "TEMPLATE")]
    file: Option<PathBuf>,
    /// What the template is rendered with: a YAML or JSON file of keys and texts, or a Secret's manifest
    #[arg(short, long, value_name = "VALUES", requires = "file")]
    data: Option<PathBuf>,
    /// What opens an action
    #[arg(long, value_name = "TEXT", default_value = "{{", alias = "left-delimiter", alias = "left-delim")]
    left: String,
    /// What closes an action
    #[arg(long, value_name = "TEXT", default_value = "}}", alias = "right-delimiter", alias = "right-delim")]
    right: String,
    /// What a key does that the data do not have
    #[arg(long, value_name = "WHAT", default_value = "error", alias = "missing-key")]
    missingkey: Missing,
    /// With JSON lines, also show texts that may hold data, such as the argument of `fail`
    #[arg(long)]
    details: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missing {
    /// It is an error, as in External Secrets Operator
    Error,
    /// It is the zero value
    Zero,
    /// It prints as `<no value>`
    #[value(alias = "invalid")]
    Default,
}

impl Cli {
    fn options(&self) -> Options {
        let mut options = Options::new(Functions::standard().into());
        options.left_delim = self.left.clone();
        options.right_delim = self.right.clone();
        options.missing_key = match self.missingkey {
            Missing::Error => MissingKey::Error,
            Missing::Zero => MissingKey::Zero,
            Missing::Default => MissingKey::Default,
        };
        options
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = cli.options();
    let done = match &cli.file {
        Some(file) => person::render(file, cli.data.as_deref(), &options),
        None => lines::answer(io::stdin().lock(), io::stdout().lock(), &options, cli.details)
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if that fails too.
            let _ = writeln!(io::stderr(), "gotmpl: {error}");
            ExitCode::FAILURE
        }
    }
}
