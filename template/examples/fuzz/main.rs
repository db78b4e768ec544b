//! Looks for templates that Go and this crate disagree on, or that make this crate panic.
//!
//! `cargo run --release -p keyferry-template --example fuzz -- --templates 200000 [--seed N]` compares random templates
//! with the Go oracle, and templates of the corpus with words changed; `-- --crash --minutes 10 [--seed N]` only looks for panics, endless loops and overflows.
//!
//! Modules, in reading order: [`words`] and [`generate`] random templates, [`mutate`] changed ones, [`shrink`] the
//! shortest that still fails, [`crash`] the search for panics.
#![expect(clippy::print_stdout, reason = "a program for people to watch")]

mod words;
mod generate;
mod mutate;
mod shrink;
mod crash;

#[allow(unused, reason = "shared with the tests")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{collections::HashMap, process::ExitCode, time::Instant};

use clap::Parser;
use rand::{SeedableRng, rngs::StdRng};
use support::{Answer, corpus, known, oracle, ours};

#[derive(Parser)]
struct Cli {
    /// How many templates to compare
    #[arg(long, default_value_t = 200_000)]
    templates: usize,
    /// The same number gives the same templates
    #[arg(long)]
    seed: Option<u64>,
    /// Look for crashes instead of differences
    #[arg(long)]
    crash: bool,
    /// For how long to look for crashes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Also count why Go's renderings fail
    #[arg(long)]
    causes: bool,
    /// Stop after so many differences
    #[arg(long, default_value_t = 50)]
    differences: usize,
}

const BATCH: usize = 2000;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    if cli.crash { crash::run(seed, cli.minutes) } else { compare(&cli, seed) }
}

fn compare(cli: &Cli, seed: u64) -> ExitCode {
    let data = corpus::data();
    let table = known::table();
    let root = ours::root(&data);
    let ways = [None, Some("zero"), None, Some("default")].map(|missingkey| {
        let flags = oracle::Options { missingkey: missingkey.map(str::to_owned), ..oracle::Options::default() };
        (ours::options(&flags), flags)
    });
    let mut generator = generate::Generator::new(StdRng::seed_from_u64(seed), &data);
    let began = Instant::now();
    let mut causes: HashMap<String, usize> = HashMap::new();
    let (mut done, mut rendered, mut excused, mut different) = (0, 0, 0, 0);
    while done < cli.templates && different < cli.differences {
        let (options, flags) = &ways[done / BATCH % ways.len()];
        let templates: Vec<Vec<String>> = (0..BATCH.min(cli.templates - done)).map(|_| generator.template()).collect();
        let texts: Vec<String> = templates.iter().map(|pieces| pieces.concat()).collect();
        let answers = oracle::ask(&texts, &data, flags);
        for ((pieces, text), go) in templates.into_iter().zip(&texts).zip(&answers) {
            rendered += usize::from(go.is_output());
            if let Answer::Error(error) = go {
                *causes.entry(cause(error)).or_insert(0usize) += 1;
            }
            let rust = ours::render(text.as_bytes(), &root, options);
            if go.agrees(&rust) {
                continue;
            }
            if known::excused(&table, text) {
                excused += 1;
                continue;
            }
            different += 1;
            let smaller = shrink::shrink(pieces, &data, options, flags);
            let (go, rust) = shrink::both(&smaller, &data, options, flags);
            println!("DIFFERENT {}\n    Go   {}\n    ours {}", smaller.replace('\n', "⏎"), go.show(), rust.show());
        }
        done += texts.len();
        if (done / BATCH).is_multiple_of(5) || done == cli.templates {
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "{done} templates, {rendered} render in Go, {excused} known, {different} different, {seconds:.0} s"
            );
        }
    }
    if cli.causes {
        let mut causes: Vec<_> = causes.into_iter().collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        causes.iter().take(40).for_each(|(cause, count)| println!("{count:7} {cause}"));
    }
    println!("{done} templates, {rendered} render in Go, {excused} known differences, {different} others, seed {seed}");
    match different {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The function that failed, or what else Go says.
fn cause(error: &str) -> String {
    match error.split_once("error calling ") {
        Some((_, call)) => call.chars().take(60).collect(),
        None => error.rsplit(": ").next().unwrap_or(error).chars().take(60).collect(),
    }
}
