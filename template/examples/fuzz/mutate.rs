//! Templates of the corpus with a few words taken away, doubled, swapped or put in from others: what a grammar would
//! not come up with.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use regex::Regex;

use super::{
    support::corpus,
    words::{GROWING, LEFT_OUT},
};

pub struct Mutator {
    words: Regex,
    too_much: Regex,
    templates: Vec<Vec<String>>,
}

impl Mutator {
    pub fn new() -> Self {
        let words =
            Regex::new(r#"\{\{-?|-?\}\}|"(?:[^"\\]|\\.)*"|`[^`]*`|[$.]?\w+|\s+|:=|(?s:.)"#).expect("an expression");
        // Go has no limits: large numbers must stay away from what makes much of them.
        let too_much = Regex::new(r"\d{5}|\d[eEpP]\+?\d|0[xX]\w{4}").expect("an expression");
        let left_out: Vec<Regex> =
            LEFT_OUT.iter().filter_map(|name| Regex::new(&format!(r"\b{name}\b")).ok()).collect();
        let templates = corpus::all()
            .into_iter()
            .filter(|case| !left_out.iter().any(|name| name.is_match(&case.template)))
            // Definitions that call each other would keep Go busy until its stack is full.
            .filter(|case| !case.template.contains("template"))
            .map(|case| words.find_iter(&case.template).map(|word| word.as_str().to_owned()).collect())
            .collect();
        Self { words, too_much, templates }
    }

    /// A changed template, word by word.
    pub fn template(&self, random: &mut StdRng) -> Vec<String> {
        loop {
            let mut words = self.any(random).to_vec();
            for _ in 0..random.random_range(1..4) {
                self.change(&mut words, random);
            }
            let text = words.concat();
            let grows = words.iter().any(|word| GROWING.contains(&word.as_str()) || word == "range");
            let is_too_much = grows && self.too_much.is_match(&text);
            // A map within itself is more than Go can print.
            let is_cyclic = words.iter().any(|word| ["set", "append", "prepend"].contains(&word.as_str()));
            let is_left_out = self.words.find_iter(&text).any(|word| LEFT_OUT.contains(&word.as_str()));
            if !(is_too_much || is_cyclic || is_left_out) {
                return words;
            }
        }
    }

    fn any(&self, random: &mut StdRng) -> &[String] {
        self.templates.choose(random).map_or(&[], Vec::as_slice)
    }

    fn change(&self, words: &mut Vec<String>, random: &mut StdRng) {
        let at = random.random_range(0..=words.len());
        let other = self.any(random);
        let other = other.choose(random).cloned().unwrap_or_default();
        match (random.random_range(0..6), words.get(at).cloned()) {
            (0, Some(_)) => drop(words.remove(at)),
            (1, Some(word)) => words.insert(at, word),
            (2, Some(_)) if at > 0 => words.swap(at - 1, at),
            (3, Some(_)) => words[at] = other,
            (4, Some(word)) if !word.is_empty() => {
                let place = random.random_range(0..=word.chars().count());
                words[at] = word.chars().enumerate().filter(|(nth, _)| *nth != place).map(|(_, c)| c).collect();
            }
            _ => words.insert(at, other),
        }
    }
}
