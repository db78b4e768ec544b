//! Renders the same 30 templates in Go and here, one after the other, and prints a table.
//!
//! `cargo run --release -p keyferry-template --example bench`
#![expect(clippy::print_stdout, reason = "a program for people to read")]

#[allow(unused, reason = "shared with the tests")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use keyferry_template::{Env, Template};
use support::{Data, corpus, here, oracle, ours};

/// Nanoseconds for parsing and for rendering.
struct Times {
    parse: u64,
    render: u64,
}

fn main() {
    let data = corpus::data();
    let templates: Vec<String> = corpus::written()
        .into_iter()
        .filter(|case| case.origin.starts_with("bench.txt"))
        .map(|case| case.template)
        .collect();
    let go = times_of_go(&templates, &data);
    let ours = times_of_ours(&templates, &data);
    print(&templates, &go, &ours);
}

fn times_of_go(templates: &[String], data: &Data) -> Vec<Times> {
    let requests: Vec<String> = templates
        .iter()
        .enumerate()
        .map(|(at, template)| oracle::request(template, (at == 0).then_some(data)))
        .collect();
    let file = here("../.cache/template-bench.jsonl");
    let program = oracle::program();
    fs::write(&file, requests.join("\n")).expect("the requests can be written");
    let output = Command::new(program).arg("bench").arg(&file).env("TZ", "UTC").output().expect("the oracle runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let times: serde_json::Value = serde_json::from_str(line).expect("the oracle prints JSON");
            let number = |name: &str| times[name].as_u64().unwrap_or_default();
            Times { parse: number("parse"), render: number("render") }
        })
        .collect()
}

fn times_of_ours(templates: &[String], data: &Data) -> Vec<Times> {
    let options = ours::options(&oracle::Options::default());
    let root = ours::root(data);
    let times = |text: &String| {
        let template = Template::parse("bench", text, &options).expect("it is a template");
        Times {
            parse: measure(|| drop(black_box(Template::parse("bench", text, &options)))),
            render: measure(|| drop(black_box(template.render(&root, &mut Env::default())))),
        }
    };
    templates.iter().map(times).collect()
}

fn print(templates: &[String], go: &[Times], ours: &[Times]) {
    println!("| Template | Go parse | parse | Go render | render | render, Go = 1 |");
    println!("|---|--:|--:|--:|--:|--:|");
    let micro = |nanos: u64| format!("{:.2} µs", nanos as f64 / 1000.0);
    let mut ratios = Vec::new();
    let mut both = Vec::new();
    for ((text, go), ours) in templates.iter().zip(go).zip(ours) {
        let ratio = ours.render as f64 / go.render as f64;
        ratios.push(ratio);
        both.push((ours.render + ours.parse) as f64 / (go.render + go.parse) as f64);
        let short: String = text.chars().take(48).collect::<String>().replace('\n', "⏎").replace('|', "\\|");
        let dots = if text.chars().count() > 48 { "…" } else { "" };
        println!(
            "| `{short}{dots}` | {} | {} | {} | {} | {ratio:.2} |",
            micro(go.parse),
            micro(ours.parse),
            micro(go.render),
            micro(ours.render),
        );
    }
    println!(
        "\nMedian of {} templates, Go = 1: rendering {:.2}, parsing and rendering {:.2}",
        templates.len(),
        median(&mut ratios),
        median(&mut both)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len.is_multiple_of(2) => f64::midpoint(values[len / 2 - 1], values[len / 2]),
        len => values[len / 2],
    }
}

/// The best of nine rounds of a few milliseconds each, as the oracle measures.
fn measure(mut work: impl FnMut()) -> u64 {
    work();
    let mut rounds = 1u64;
    let mut time = |rounds: u64| {
        let began = Instant::now();
        (0..rounds).for_each(|_| work());
        began.elapsed()
    };
    while time(rounds) < Duration::from_millis(4) {
        rounds *= 2;
    }
    (0..9).map(|_| time(rounds).as_nanos() as u64 / rounds).min().unwrap_or_default()
}
