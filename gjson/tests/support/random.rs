//! Pairs made by chance: documents and paths from a grammar, some of them broken afterwards.

use super::Pair;

/// The same numbers for the same seed.
pub struct Random {
    state: u64,
    /// Where the value lies that is being made.
    trail: Vec<String>,
    /// Where one of the values of the document lies, each with the same chance.
    chosen: Vec<String>,
    values: usize,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, trail: Vec::new(), chosen: Vec::new(), values: 0 }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True so many times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<'s>(&mut self, of: &[&'s str]) -> &'s str {
        of[self.below(of.len())]
    }

    pub fn pair(&mut self) -> Pair {
        let mut json = String::new();
        (self.chosen, self.values) = (Vec::new(), 0);
        self.document(&mut json);
        let mut path = String::new();
        if self.chance(3) {
            path += "..";
        }
        if self.chance(70) {
            self.way_to_chosen(&mut path);
        }
        if path.is_empty() || self.chance(50) {
            self.path(&mut path, 3);
        } else if path.len() > 1 {
            path.pop();
        }
        let (mut path, mut json) = (path.into_bytes(), json.into_bytes());
        if self.chance(25) {
            self.damage(&mut json);
        }
        if self.chance(12) {
            self.damage(&mut path);
        }
        Pair { path, json }
    }

    /// The path of a value that is there, with other components that lead to it, too, and a separator at its end.
    fn way_to_chosen(&mut self, path: &mut String) {
        for step in std::mem::take(&mut self.chosen) {
            let is_index = step.bytes().all(|byte| byte.is_ascii_digit());
            match self.below(10) {
                0 if is_index => *path += "#",
                1 | 2 if is_index => self.query(path, 2),
                3 if !is_index => *path += self.one(&["*", "?", "?*", "*a*", "n*e"]),
                4 => self.modifier(path, 1),
                _ => *path += &step,
            }
            path.push(if self.chance(90) { '.' } else { '|' });
        }
    }

    /// Bytes without any sense.
    pub fn noise(&mut self, longest: usize) -> Vec<u8> {
        (0..self.below(longest + 1)).map(|_| self.noisy_byte()).collect()
    }

    fn noisy_byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"{}[]()\"\":,.|#@!*?\\\\~=<>%+-0123456789eEnulltrfasiNIx \t\n";
        if self.chance(90) { TELLING[self.below(TELLING.len())] } else { self.next() as u8 }
    }

    fn damage(&mut self, text: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(text.len() + 1);
            match self.below(4) {
                0 => text.truncate(at),
                1 => text.insert(at, self.noisy_byte()),
                2 if at < text.len() => text[at] = self.noisy_byte(),
                _ if at < text.len() => {
                    text.remove(at);
                }
                _ => {}
            }
        }
    }

    fn document(&mut self, out: &mut String) {
        let lines = if self.chance(4) { 1 + self.below(4) } else { 1 };
        for n in 0..lines {
            if n > 0 {
                out.push('\n');
            }
            match self.below(20) {
                0 => self.value(out, 0),
                1..6 => self.array(out, 4),
                _ => self.object(out, 4),
            }
        }
    }

    fn blank(&mut self, out: &mut String) {
        if self.chance(8) {
            *out += self.one(&[" ", "  ", "\n", "\t", "\r\n", " \n  "]);
        }
    }

    fn object(&mut self, out: &mut String, depth: usize) {
        out.push('{');
        for n in 0..[0, 1, 2, 3, 4, 5, 6, 8][self.below(8)] {
            if n > 0 {
                out.push(',');
            }
            self.blank(out);
            let key = self.key();
            *out += &format!("\"{key}\"");
            self.blank(out);
            out.push(':');
            self.blank(out);
            let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
            self.trail.push(if key.contains('\\') { "*".to_owned() } else { key.chars().map(escape).collect() });
            self.value(out, depth - 1);
            self.trail.pop();
            self.blank(out);
        }
        out.push('}');
    }

    fn array(&mut self, out: &mut String, depth: usize) {
        out.push('[');
        let alike = self.chance(50);
        for n in 0..self.below(6) {
            if n > 0 {
                out.push(',');
            }
            self.blank(out);
            self.trail.push(n.to_string());
            if alike && depth > 1 {
                self.object(out, depth - 1)
            } else {
                self.value(out, depth - 1)
            }
            self.trail.pop();
            self.blank(out);
        }
        out.push(']');
    }

    fn value(&mut self, out: &mut String, depth: usize) {
        self.values += 1;
        if self.below(self.values) == 0 {
            self.chosen = self.trail.clone();
        }
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 | 1 => *out += self.number(),
            2..4 => {
                let text = self.string();
                *out += &format!("\"{text}\"");
            }
            4 => {
                *out +=
                    self.one(&["true", "false", "null", "true", "false", "nan", "NaN", "inf", "+Inf", "-inf", "nul"])
            }
            5 => *out += self.one(&["0", "1", "2", "\"\"", "\"a\"", "[]", "{}"]),
            6 | 7 => self.array(out, depth),
            _ => self.object(out, depth),
        }
    }

    fn key(&mut self) -> &'static str {
        if self.chance(65) {
            return self.one(&["a", "b", "c", "name"]);
        }
        self.one(&[
            "a",
            "b",
            "c",
            "a",
            "b",
            "c",
            "name",
            "age",
            "0",
            "1",
            "-1",
            "first.last",
            "",
            "k*y",
            "k?y",
            "é",
            "日本",
            "a b",
            "q\\\"q",
            "t\\tt",
            "\\u0061",
            "\\u00e9",
            "@this",
            "@keys",
            "#",
            "a|b",
            "!x",
            "{",
            "[",
            "back\\\\slash",
            "a:b",
            "\\ud83d\\ude00",
            "\\ud83d",
            "~",
        ])
    }

    fn number(&mut self) -> &'static str {
        self.one(&[
            "0",
            "1",
            "2",
            "3",
            "-1",
            "10",
            "47",
            "1.5",
            "1.50",
            "1e5",
            "1E+2",
            "-0",
            "-0.0",
            "0.1",
            "1e-7",
            "1e400",
            "-1e400",
            "12345678901234567890",
            "9007199254740993",
            "0.30000000000000004",
            "5e-324",
            "1.7976931348623157e308",
            "123456789.125",
            "+5",
            "0x1p4",
            "0x1.8p-1",
            "1_000",
            "01",
            "1.",
            "--1",
            "1e",
            "2.2250738585072011e-308",
        ])
    }

    fn string(&mut self) -> &'static str {
        self.one(&[
            "a",
            "b",
            "abc",
            "a",
            "b",
            "",
            "true",
            "false",
            "TRUE",
            "t",
            "0",
            "1",
            "1.5",
            "null",
            "é",
            "日本語",
            "x y",
            "a.b",
            "q\\\"q",
            "\\\\",
            "\\n",
            "\\u0041",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\ude00x",
            "\\ud83d\\u0041",
            "\\x",
            "\\u12",
            "<b>&",
            "\u{2028}",
            "{\\\"a\\\":1}",
            "{",
            "]",
            "a*c",
            "a?c",
            "[1,2]",
            "\\/",
            "\u{1}",
            "tab\\t\u{1}z",
        ])
    }

    fn path(&mut self, out: &mut String, depth: usize) {
        let length = [0, 0, 0, 1, 1, 1, 2, 2, 3, 4][self.below(10)];
        for n in 0..=length {
            if n > 0 {
                out.push(if self.chance(80) { '.' } else { '|' });
            }
            self.component(out, depth);
        }
    }

    fn component(&mut self, out: &mut String, depth: usize) {
        match self.below(if depth == 0 { 13 } else { 22 }) {
            0..6 => self.path_key(out),
            6 => *out += self.one(&["0", "1", "2", "3", "-1", "00", "9", "18446744073709551616", "1x"]),
            7 | 8 => *out += "#",
            9 => {
                *out += self.one(&[
                    "*", "?", "a*", "*a", "?*", "*e*", "n?me", "*\\**", "k\\*y", "k\\**", "**", "?a*", "*b*c", "\\*",
                    "日*", "?本", "*.*",
                ]);
            }
            10..12 => self.modifier(out, depth),
            12 => self.literal(out),
            13..18 => self.query(out, depth),
            _ => self.multipath(out, depth),
        }
    }

    fn path_key(&mut self, out: &mut String) {
        if self.chance(70) {
            *out += self.one(&["a", "b", "c", "name", "0", "1"]);
            return;
        }
        *out += self.one(&[
            "a",
            "b",
            "c",
            "a",
            "b",
            "c",
            "name",
            "age",
            "first\\.last",
            "",
            "k*y",
            "é",
            "日本",
            "a b",
            "q\"q",
            "\\@this",
            "@keys",
            "a\\|b",
            "a|b",
            "\\!x",
            "\\{",
            "back\\\\slash",
            "a:b",
            "\\#",
            "😀",
            "~",
            "\\a",
            "a\\",
        ]);
    }

    fn modifier(&mut self, out: &mut String, depth: usize) {
        *out += self.one(&[
            "@reverse",
            "@ugly",
            "@pretty",
            "@this",
            "@valid",
            "@flatten",
            "@join",
            "@keys",
            "@values",
            "@tostr",
            "@fromstr",
            "@group",
            "@dig",
            "@nothing",
            "@",
            "@this:x",
            "@tostr.@fromstr",
            "@flatten:{\"deep\":true}",
            "@flatten:{\"deep\":\"t\",\"x\":1}",
            "@join:{\"preserve\":true}",
            "@join:{\"preserve\":1}",
            "@pretty:{\"sortKeys\":true}",
            "@pretty:{\"sortKeys\":true,\"indent\":\"\\t\",\"prefix\":\" \"}",
            "@pretty:{\"width\":20}",
            "@pretty:{\"width\":0}",
            "@pretty:{\"width\":-1}",
            "@pretty:{\"width\":\"30\",\"indent\":\"x \"}",
            "@pretty:{\"width\":1e3}",
            "@pretty:{\"indent\":\"\"}",
            "@pretty:",
            "@reverse:",
            "@join:\"x\"",
            "@flatten:[1]",
        ]);
        if self.chance(15) {
            *out += "|@dig:";
            if depth > 0 {
                self.component(out, depth - 1);
            } else {
                self.path_key(out);
            }
        }
    }

    fn literal(&mut self, out: &mut String) {
        *out += self.one(&[
            "!true",
            "!false",
            "!null",
            "!NULL",
            "!\"x\"",
            "!5",
            "!-1.50",
            "!{\"a\":1}",
            "![1,2]",
            "!nan",
            "!Inf",
            "!x",
            "!",
            "!\"",
        ]);
    }

    fn query(&mut self, out: &mut String, depth: usize) {
        *out += self.one(&["#(", "#(", "#(", "#["]);
        self.blank(out);
        match self.below(4) {
            0 => {}
            1 => self.path(out, depth - 1),
            _ => *out += self.one(&["a", "b", "c", "name", "age"]),
        }
        self.blank(out);
        if self.chance(85) {
            *out += self.one(&["==", "=", "!=", "<", "<=", ">", ">=", "%", "!%", "==", "==", "!", "==="]);
            self.blank(out);
            *out += self.one(&[
                "1",
                "2",
                "1.5",
                "10",
                "\"a\"",
                "\"b\"",
                "a",
                "\"*a*\"",
                "a*",
                "\"?\"",
                "\"a\\*c\"",
                "true",
                "false",
                "null",
                "~true",
                "~false",
                "~null",
                "~*",
                "~x",
                "\"~true\"",
                "",
                "\"\"",
                "\"q\\\"q\"",
                "\"\\u0041\"",
                "é",
                "0x1p4",
                "inf",
                "nan",
                "1_0",
                "abc",
                "*\\*",
            ]);
        }
        *out += self.one(&[")", ")#", ")#", "]", "]#", ""]);
    }

    fn multipath(&mut self, out: &mut String, depth: usize) {
        let object = self.chance(50);
        out.push(if object { '{' } else { '[' });
        for n in 0..1 + self.below(3) {
            if n > 0 {
                out.push(',');
            }
            if object && self.chance(40) {
                *out +=
                    self.one(&["\"k\":", "k:", "\"q\\\"q\":", "\"bad\\x\":", ":", "\"<\":", "<é>:", "\"u\\u0041\":"]);
            }
            self.path(out, depth - 1);
        }
        if self.chance(97) {
            out.push(if object { '}' } else { ']' });
        }
    }
}
