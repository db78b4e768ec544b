//! Flags, padding, and single values: booleans, integers, floats, strings.

use zeroize::Zeroizing;

use super::append;
use crate::strconv::{float, quote, unicode};

/// The flags of one verb.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flags {
    pub width: Option<usize>,
    pub precision: Option<usize>,
    pub minus: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    /// `%+v`, which is not `%v` with a plus.
    pub plus_v: bool,
    /// `%#v`, which is not `%v` with a sharp.
    pub sharp_v: bool,
}

/// Text under construction, wiped when dropped, with an upper bound.
pub(super) struct Writer {
    pub flags: Flags,
    out: Zeroizing<Vec<u8>>,
    most: usize,
    full: bool,
}

/// What an integer is written with.
#[derive(Clone, Copy)]
pub(super) struct Integer {
    pub value: u64,
    pub signed: bool,
}

/// An integer's digits, without a sign.
pub(super) struct Digits {
    buffer: [u8; 64],
    start: usize,
}

impl Digits {
    pub fn of(mut value: u64, base: u64, upper: bool) -> Self {
        let letters = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let mut digits = Self { buffer: [0; 64], start: 64 };
        loop {
            digits.start -= 1;
            digits.buffer[digits.start] = letters[(value % base) as usize];
            value /= base;
            if value == 0 {
                return digits;
            }
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Writer {
    pub fn new(most: usize) -> Self {
        Self { flags: Flags::default(), out: Zeroizing::default(), most, full: false }
    }

    /// Has the bound been hit? Nothing is written from then on.
    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn finish(self) -> Option<Zeroizing<Vec<u8>>> {
        (!self.full).then_some(self.out)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.full = self.full || !append(&mut self.out, self.most, bytes);
    }

    pub fn write_char(&mut self, rune: char) {
        self.write(rune.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn write_padding(&mut self, count: usize) {
        let byte = if self.flags.zero && !self.flags.minus { b'0' } else { b' ' };
        if count > self.most { self.full = true } else { self.write(&vec![byte; count]) }
    }

    /// Writes text in a field of the width asked for, counted in code points.
    pub fn pad(&mut self, text: &[u8]) {
        let missing = match self.flags.width {
            Some(width) if width > 0 => width.saturating_sub(unicode::rune_count(text)),
            _ => 0,
        };
        match (missing, self.flags.minus) {
            (0, _) => self.write(text),
            (missing, true) => {
                self.write(text);
                self.write_padding(missing);
            }
            (missing, false) => {
                self.write_padding(missing);
                self.write(text);
            }
        }
    }

    fn pad_with_spaces(&mut self, text: &[u8]) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    /// At most as many code points as the precision allows.
    fn truncate<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        match self.flags.precision {
            Some(precision) if precision < text.len() => {
                let kept = unicode::runes(text).take(precision).map(|(_, bytes)| bytes.len()).sum();
                &text[..kept]
            }
            _ => text,
        }
    }

    pub fn bool(&mut self, value: bool) {
        self.pad(if value { b"true" } else { b"false" });
    }

    /// `%s`
    pub fn text(&mut self, text: &[u8]) {
        let text = self.truncate(text);
        self.pad(text);
    }

    /// `%q`
    pub fn quoted(&mut self, text: &[u8]) {
        let text = self.truncate(text);
        let mut out = Zeroizing::new(Vec::with_capacity(text.len() + 2));
        if self.flags.sharp && quote::can_backquote(text) {
            out.push(b'`');
            out.extend_from_slice(text);
            out.push(b'`');
        } else {
            quote::quote(&mut out, text, self.flags.plus)
        }
        self.pad(&out);
    }

    /// `%x` and `%X` of bytes
    pub fn hex(&mut self, bytes: &[u8], upper: bool) {
        let shown = &bytes[..bytes.len().min(self.flags.precision.unwrap_or(usize::MAX))];
        let (sharp, space) = (self.flags.sharp, self.flags.space);
        let prefix: &[u8] = match (sharp, upper) {
            (false, _) => b"",
            (true, false) => b"0x",
            (true, true) => b"0X",
        };
        let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let mut out = Zeroizing::new(Vec::with_capacity(shown.len().saturating_mul(5)));
        for (at, byte) in shown.iter().enumerate() {
            if at > 0 && space {
                out.push(b' ');
            }
            if at == 0 || space {
                out.extend_from_slice(prefix);
            }
            out.extend([digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
        self.pad(&out);
    }

    /// `%c`
    pub fn character(&mut self, rune: u64) {
        let mut out = Vec::new();
        unicode::push_rune(&mut out, rune);
        self.pad(&out);
    }

    /// `%q` of an integer
    pub fn quoted_character(&mut self, rune: u64) {
        let mut out = Vec::new();
        quote::quote_rune(&mut out, rune, self.flags.plus);
        self.pad(&out);
    }

    /// `%U`
    pub fn unicode(&mut self, rune: u64) {
        let digits = self.flags.precision.unwrap_or(0).max(4);
        let mut out = b"U+".to_vec();
        let hex = format!("{rune:X}");
        out.resize(out.len() + digits.saturating_sub(hex.len()).min(self.most), b'0');
        out.extend_from_slice(hex.as_bytes());
        let shown = u32::try_from(rune).ok().and_then(char::from_u32).filter(|rune| unicode::is_print(*rune));
        if let (true, Some(shown)) = (self.flags.sharp, shown) {
            out.extend_from_slice(format!(" '{shown}'").as_bytes());
        }
        self.pad_with_spaces(&out);
    }

    /// `%d`, `%b`, `%o`, `%O`, `%x`, `%X`
    pub fn integer(&mut self, integer: Integer, verb: char) {
        let negative = integer.signed && integer.value as i64 <= -1;
        let value = if negative { integer.value.wrapping_neg() } else { integer.value };
        let flags = self.flags;
        let least = match (flags.precision, flags.width) {
            (Some(0), _) if value == 0 => {
                let zero = std::mem::take(&mut self.flags.zero);
                self.write_padding(flags.width.unwrap_or(0));
                self.flags.zero = zero;
                return;
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => {
                width.saturating_sub(usize::from(negative || flags.plus || flags.space))
            }
            _ => 0,
        };
        let digits = match verb {
            'b' => Digits::of(value, 2, false),
            'o' | 'O' => Digits::of(value, 8, false),
            'x' | 'X' => Digits::of(value, 16, verb == 'X'),
            _ => Digits::of(value, 10, false),
        };
        let digits = digits.as_bytes();
        let zeros = least.saturating_sub(digits.len());
        let mut out = Vec::new();
        out.extend_from_slice(match (negative, flags.plus, flags.space) {
            (true, ..) => b"-",
            (_, true, _) => b"+",
            (_, _, true) => b" ",
            _ => b"",
        });
        out.extend_from_slice(match verb {
            'O' => b"0o",
            'b' if flags.sharp => b"0b",
            'x' if flags.sharp => b"0x",
            'X' if flags.sharp => b"0X",
            _ => b"",
        });
        // An octal number that starts with a zero needs no other mark; that of `%O` comes on top.
        if matches!(verb, 'o' | 'O') && flags.sharp && zeros == 0 && !digits.starts_with(b"0") {
            out.push(b'0');
        }
        if out.is_empty() && zeros == 0 {
            return self.pad_with_spaces(digits);
        }
        out.resize(out.len() + zeros.min(self.most), b'0');
        out.extend_from_slice(digits);
        self.pad_with_spaces(&out);
    }

    /// `%e`, `%f`, `%g`, ... with the precision the verb has by default
    pub fn float(&mut self, value: f64, verb: u8, default: Option<usize>) {
        let precision = self.flags.precision.or(default);
        let mut number = Vec::with_capacity(32);
        float::format(&mut number, value, verb, precision.map(|digits| digits.min(self.most)));
        let signed = matches!(number.first(), Some(b'-' | b'+'));
        if !signed {
            number.insert(0, b'+');
        }
        let flags = self.flags;
        if flags.space && number[0] == b'+' && !flags.plus {
            number[0] = b' ';
        }
        // Not numbers, so zeros do not fill them up; an infinity keeps its sign.
        if !value.is_finite() {
            let bare = value.is_nan() && !flags.space && !flags.plus;
            return self.pad_with_spaces(&number[usize::from(bare)..]);
        }
        if flags.sharp && verb != b'b' {
            number = with_point(&number, verb, precision);
        }
        if flags.plus || number[0] != b'+' {
            match flags.width {
                Some(width) if flags.zero && !flags.minus && width > number.len() => {
                    self.write(&number[..1]);
                    self.write_padding(width - number.len());
                    self.write(&number[1..]);
                }
                _ => self.pad(&number),
            }
        } else {
            self.pad(&number[1..])
        }
    }
}

/// What `#` does to a float: a decimal point always, and the zeros that `%g` drops.
fn with_point(number: &[u8], verb: u8, precision: Option<usize>) -> Vec<u8> {
    let hex = matches!(verb, b'x' | b'X');
    let mut missing = match verb {
        b'g' | b'G' | b'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let tail_at = number.iter().position(|byte| match byte {
        b'p' | b'P' => true,
        b'e' | b'E' => !hex,
        _ => false,
    });
    let (head, tail) = number.split_at(tail_at.unwrap_or(number.len()));
    let significant = head[1..].iter().filter(|byte| **byte != b'.').skip_while(|digit| **digit == b'0').count();
    missing = missing.saturating_sub(significant);
    let mut out = head.to_vec();
    if !head.contains(&b'.') {
        // A lone zero counts as one digit.
        if head.len() == 2 && head[1] == b'0' {
            missing = missing.saturating_sub(1);
        }
        out.push(b'.');
    }
    out.resize(out.len() + missing, b'0');
    out.extend_from_slice(tail);
    out
}
