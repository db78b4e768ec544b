//! Makes a template that differs smaller, as long as it differs.

use keyferry_template::Options;

use super::support::{Answer, Data, oracle, ours};

/// How often to try.
const TRIES: usize = 150;

pub fn both(text: &str, data: &Data, options: &Options, flags: &oracle::Options) -> (Answer, Answer) {
    let go = oracle::ask(&[text], data, flags).remove(0);
    (go, ours::render(text.as_bytes(), &ours::root(data), options))
}

pub fn shrink(pieces: Vec<String>, data: &Data, options: &Options, flags: &oracle::Options) -> String {
    let mut tries = 0;
    let mut differs = |text: &str| {
        tries += 1;
        let (go, rust) = both(text, data, options, flags);
        tries < TRIES && !go.agrees(&rust)
    };
    let mut kept = pieces;
    let mut at = 0;
    while at < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(at);
        if differs(&fewer.concat()) { kept = fewer } else { at += 1 }
    }
    let mut text = kept.concat();
    while let Some(smaller) = candidates(&text).into_iter().find(|candidate| differs(candidate)) {
        text = smaller;
    }
    text
}

/// The template with an expression in parentheses made simple.
fn candidates(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    let mut ranges = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => open.push(at),
            b')' => ranges.extend(open.pop().map(|from| from..at + 1)),
            _ => {}
        }
    }
    ranges.sort_by_key(|range| std::cmp::Reverse(range.len()));
    for range in ranges {
        for simple in ["\"x\"", "1", "(list 1 \"a\")", "(dict \"a\" 1)"] {
            if range.len() > simple.len() {
                found.push(format!("{}{simple}{}", &text[..range.start], &text[range.end..]));
            }
        }
        found.push(format!("{{{{ {} }}}}", &text[range.start + 1..range.end - 1]));
    }
    found.retain(|candidate| candidate.len() < text.len());
    found
}
