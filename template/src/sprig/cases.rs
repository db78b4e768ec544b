//! Upper, lower and title case, one code point to one code point as Go maps them, and the functions that use them.

use super::{
    args::{Answer, function},
    case_tables as tables,
};
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    strconv::unicode::{decode, is_digit, is_letter, runes},
    value::Str,
};

/// Functions that change the case of letters.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("upper", (string => string), each(|rune, _| to_upper(rune))),
    function!("lower", (string => string), each(|rune, _| to_lower(rune))),
    function!("title", (string => string), each(title)),
    function!("untitle", (string => string), untitle),
    function!("swapcase", (string => string), swapcase),
    function!("snakecase", (string => string), |_: &mut _, text: &Str| ok(separated(text, '_'))),
    function!("kebabcase", (string => string), |_: &mut _, text: &Str| ok(separated(text, '-'))),
    function!("camelcase", (string => string), |_: &mut _, text: &Str| ok(pascal(text))),
];

fn ok<T: Answer>(answer: T) -> Result<T, Failure> {
    Ok(answer)
}

fn within(table: &[u32], rune: char) -> bool {
    let rune = u32::from(rune);
    let ranges = table.as_chunks::<3>().0;
    let at = ranges.partition_point(|[_, last, _]| *last < rune);
    ranges.get(at).is_some_and(|[first, _, step]| *first <= rune && (rune - first).is_multiple_of(*step))
}

/// Is it an upper case letter?
pub(super) fn is_upper(rune: char) -> bool {
    if rune.is_ascii() { rune.is_ascii_uppercase() } else { within(tables::UPPER, rune) }
}

fn is_lower(rune: char) -> bool {
    if rune.is_ascii() { rune.is_ascii_lowercase() } else { within(tables::LOWER, rune) }
}

fn is_number(rune: char) -> bool {
    if rune.is_ascii() { rune.is_ascii_digit() } else { within(tables::NUMBER, rune) }
}

/// Which case a letter is mapped to; the number is its place in the table.
#[derive(Clone, Copy)]
enum Case {
    Upper = 0,
    Lower = 1,
    Title = 2,
}

fn to_case(rune: char, case: Case) -> char {
    /// Stands for a range in which upper and lower case letters take turns.
    const IN_TURN: i32 = 1_114_112;
    let code = u32::from(rune).cast_signed();
    let ranges = tables::CASES.as_chunks::<5>().0;
    let at = ranges.partition_point(|[_, last, ..]| *last < code);
    let mapped = match ranges.get(at) {
        Some([first, _, deltas @ ..]) if *first <= code => match deltas[case as usize] {
            IN_TURN => first + (((code - first) & !1) | (case as i32 & 1)),
            delta => code + delta,
        },
        _ => code,
    };
    u32::try_from(mapped).ok().and_then(char::from_u32).unwrap_or(rune)
}

/// The upper case letter.
pub(super) fn to_upper(rune: char) -> char {
    if rune.is_ascii() { rune.to_ascii_uppercase() } else { to_case(rune, Case::Upper) }
}

/// The lower case letter.
pub(super) fn to_lower(rune: char) -> char {
    if rune.is_ascii() { rune.to_ascii_lowercase() } else { to_case(rune, Case::Lower) }
}

fn to_title(rune: char) -> char {
    if rune.is_ascii() { rune.to_ascii_uppercase() } else { to_case(rune, Case::Title) }
}

fn push(out: &mut Vec<u8>, rune: char) {
    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Maps each code point, given the one before it.
fn each(map: fn(char, char) -> char) -> impl Fn(&mut Context<'_, '_>, &Str) -> Result<Vec<u8>, Failure> {
    move |_, text| {
        let mut before = ' ';
        let mut out = Vec::with_capacity(text.len());
        for (rune, _) in runes(text) {
            push(&mut out, map(rune, before));
            before = rune;
        }
        Ok(out)
    }
}

fn title(rune: char, before: char) -> char {
    let separated = match before {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => false,
        '\0'..='\x7f' => true,
        other => !is_letter(other) && !is_digit(other) && other.is_whitespace(),
    };
    if separated { to_title(rune) } else { rune }
}

/// The first letter of each word in lower case.
fn untitle(_: &mut Context<'_, '_>, text: &Str) -> Result<Vec<u8>, Failure> {
    let mut first = true;
    let mut out = Vec::with_capacity(text.len());
    for (rune, _) in runes(text) {
        match (rune.is_whitespace(), first) {
            (false, true) => push(&mut out, to_lower(rune)),
            _ => push(&mut out, rune),
        }
        first = rune.is_whitespace();
    }
    Ok(out)
}

/// Lower case becomes upper case (title case at the start of a word), everything else lower case.
fn swapcase(_: &mut Context<'_, '_>, text: &Str) -> Result<Vec<u8>, Failure> {
    let mut start = true;
    let mut out = Vec::with_capacity(text.len());
    for (rune, _) in runes(text) {
        let lower = is_lower(rune);
        match lower {
            true if start => push(&mut out, to_title(rune)),
            true => push(&mut out, to_upper(rune)),
            false if is_upper(rune) || within(tables::TITLE, rune) => push(&mut out, to_lower(rune)),
            false => push(&mut out, rune),
        }
        start = if lower || is_upper(rune) || within(tables::TITLE, rune) { false } else { rune.is_whitespace() };
    }
    Ok(out)
}

fn is_connector(rune: char) -> bool {
    matches!(rune, '-' | '_') || rune.is_whitespace()
}

/// A letter of a script that has words, which leaves out Chinese characters.
fn is_alphabet(rune: char) -> bool {
    is_letter(rune) && !matches!(rune, '\u{4e00}'..='\u{9fcc}' | '\u{3400}'..='\u{4d85}' | '\u{20000}'..='\u{2b81d}')
}

/// `http_server` to `HttpServer`: connectors go and the letter after them is put in upper case; of a run of upper
/// case letters only the first stays. Leading connectors stay, of several in a row all but one.
fn pascal(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = runes(text).map(|(rune, _)| rune);
    let mut connector = None;
    let mut last = loop {
        match rest.next() {
            // Of a text of nothing but connectors the last comes twice.
            None => {
                connector.into_iter().for_each(|rune| push(&mut out, rune));
                return out;
            }
            Some(rune) if is_connector(rune) => {
                push(&mut out, rune);
                connector = Some(rune);
            }
            Some(rune) => break rune,
        }
    };
    let mut shouting = is_upper(last);
    last = to_upper(last);
    for rune in rest {
        let mut rune = rune;
        match (is_connector(last), is_connector(rune)) {
            (true, true) => push(&mut out, last),
            (true, false) => {
                shouting = is_upper(rune);
                rune = to_upper(rune);
            }
            (false, _) => {
                if shouting && is_upper(rune) {
                    rune = to_lower(rune)
                } else {
                    shouting = false
                }
                push(&mut out, last);
            }
        }
        last = rune;
    }
    push(&mut out, last);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing, or nothing but bytes that are not UTF-8.
    Nothing,
    Number,
    Upper,
    Alphabet,
    Connector,
    Punct,
    Other,
}

impl Word {
    fn is_letters_or_digits(self) -> bool {
        matches!(self, Self::Alphabet | Self::Number)
    }

    fn ends_a_word(self) -> bool {
        matches!(self, Self::Connector | Self::Punct)
    }
}

/// The next code point that is not U+FFFD and the width up to its end; with none left, `otherwise` and all the rest.
fn next_valid(text: &[u8], otherwise: char) -> (char, usize) {
    let mut width = 0;
    for (rune, bytes) in runes(text) {
        width += bytes.len();
        if rune != '\u{fffd}' {
            return (rune, width);
        }
    }
    (otherwise, width)
}

/// The width of what follows from `at` as long as `belongs` holds, and the code point that ended it.
fn run(text: &[u8], at: usize, first: char, belongs: impl Fn(char) -> bool) -> (usize, char) {
    let (mut at, mut rune) = (at, first);
    while at < text.len() {
        let (next, width) = next_valid(&text[at..], rune);
        rune = next;
        if !belongs(rune) {
            break;
        }
        at += width;
    }
    (at, rune)
}

/// Splits off the first word.
fn next_word(text: &[u8]) -> (Word, &[u8], &[u8]) {
    let (first, width) = next_valid(text, '\u{fffd}');
    let is_small = |rune| is_alphabet(rune) && !is_upper(rune);
    let (word, end) = match first {
        '\u{fffd}' => (Word::Nothing, width),
        rune if is_connector(rune) => (Word::Connector, run(text, width, rune, is_connector).0),
        rune if within(tables::PUNCT, rune) => {
            (Word::Punct, run(text, width, rune, |rune| within(tables::PUNCT, rune)).0)
        }
        rune if is_upper(rune) => (Word::Upper, upper_word(text, width, rune)),
        rune if is_alphabet(rune) => (Word::Alphabet, run(text, width, rune, is_small).0),
        rune if is_number(rune) => (Word::Number, run(text, width, rune, is_number).0),
        rune => {
            let ends = |rune| is_connector(rune) || is_alphabet(rune) || is_number(rune) || within(tables::PUNCT, rune);
            (Word::Other, run(text, width, rune, |rune| !ends(rune)).0)
        }
    };
    let (word_text, rest) = text.split_at(end);
    (word, word_text, rest)
}

/// Where a word ends that starts with an upper case letter: `HTTP|Server`, `Server|Name`.
fn upper_word(text: &[u8], width: usize, first: char) -> usize {
    if width == text.len() {
        return width;
    }
    let (second, second_width) = next_valid(&text[width..], first);
    match second {
        rune if is_upper(rune) => {
            let (mut at, mut rune, mut last_width) = (width + second_width, rune, second_width);
            while at < text.len() {
                let (next, next_width) = next_valid(&text[at..], rune);
                rune = next;
                if !is_upper(rune) {
                    break;
                }
                last_width = next_width;
                at += next_width;
            }
            if at < text.len() && is_alphabet(rune) { at - last_width } else { at }
        }
        rune if is_alphabet(rune) => {
            let is_small = |rune| is_alphabet(rune) && !is_upper(rune);
            run(text, width + second_width, rune, is_small).0
        }
        _ => width,
    }
}

fn push_word(out: &mut Vec<u8>, word: Word, text: &[u8], connector: char) {
    match word {
        Word::Upper | Word::Connector => {
            for (rune, _) in runes(text) {
                match is_connector(rune) {
                    true => push(out, connector),
                    false if is_upper(rune) => push(out, to_lower(rune)),
                    false => push(out, rune),
                }
            }
        }
        _ => out.extend_from_slice(text),
    }
}

/// `FirstName` to `first_name`. A number belongs to the letters before it, unless lower case letters follow it.
fn separated(text: &[u8], connector: char) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    let (mut word, mut part, mut rest) = match decode(text) {
        (_, 0) => return out,
        _ => next_word(text),
    };
    while !rest.is_empty() {
        if word != Word::Connector {
            push_word(&mut out, word, part, connector);
        }
        let (before, last) = (word, part);
        (word, part, rest) = next_word(rest);
        match before {
            Word::Number => {
                while word.is_letters_or_digits() {
                    push_word(&mut out, word, part, connector);
                    (word, part, rest) = next_word(rest);
                }
                if word != Word::Nothing && !word.ends_a_word() {
                    push(&mut out, connector);
                }
            }
            Word::Connector => push_word(&mut out, before, last, connector),
            Word::Punct => {}
            _ if word != Word::Number => {
                if !word.ends_a_word() {
                    push(&mut out, connector);
                }
            }
            _ if rest.is_empty() => {}
            _ => {
                let number = part;
                (word, part, rest) = next_word(rest);
                match word {
                    Word::Alphabet => {
                        push(&mut out, connector);
                        push_word(&mut out, Word::Number, number, connector);
                        while word.is_letters_or_digits() {
                            push_word(&mut out, word, part, connector);
                            (word, part, rest) = next_word(rest);
                        }
                        if word != Word::Nothing && !word.ends_a_word() {
                            push(&mut out, connector);
                        }
                    }
                    _ => {
                        push_word(&mut out, Word::Number, number, connector);
                        if !word.ends_a_word() {
                            push(&mut out, connector);
                        }
                    }
                }
            }
        }
    }
    push_word(&mut out, word, part, connector);
    out
}
