//! The formats of `printf`.

use super::{scalar::Flags, value::Printer};
use crate::{strconv::unicode, value::Value};

/// Go refuses widths and precisions beyond this.
const MOST: i64 = 1_000_000;

/// Where in the format and at which operand we are.
struct Cursor<'a> {
    format: &'a [u8],
    at: usize,
    args: &'a [Value],
    arg: usize,
    /// The last thing read was an index such as `[3]`.
    after_index: bool,
    /// Some index was used: unused operands are no mistake then.
    reordered: bool,
    /// The index of the current verb makes sense.
    good_index: bool,
}

impl Printer {
    /// Go's `Sprintf`.
    pub fn printf(&mut self, format: &[u8], args: &[Value]) {
        let mut cursor = Cursor { format, at: 0, args, arg: 0, after_index: false, reordered: false, good_index: true };
        while cursor.at < format.len() && !self.writer.is_full() {
            let rest = &format[cursor.at..];
            let plain = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            self.write(&rest[..plain]);
            cursor.at += plain + 1;
            if cursor.at <= format.len() && plain < rest.len() {
                self.verb(&mut cursor);
            }
        }
        if !cursor.reordered && cursor.arg < args.len() {
            self.writer.flags = Flags::default();
            self.extra(&args[cursor.arg..]);
        }
    }

    /// What follows a `%`.
    fn verb(&mut self, cursor: &mut Cursor<'_>) {
        cursor.good_index = true;
        self.writer.flags = Flags::default();
        cursor.flags(&mut self.writer.flags);
        cursor.index();
        self.width(cursor);
        self.precision(cursor);
        if !cursor.after_index {
            cursor.index();
        }
        let (verb, size) = unicode::decode(cursor.format.get(cursor.at..).unwrap_or_default());
        if size == 0 {
            return self.write(b"%!(NOVERB)");
        }
        cursor.at += size;
        let flags = &mut self.writer.flags;
        match cursor.args.get(cursor.arg) {
            _ if verb == '%' => self.write(b"%"),
            _ if !cursor.good_index => self.complain(verb, b"(BADINDEX)"),
            None => self.complain(verb, b"(MISSING)"),
            Some(arg) => {
                if matches!(verb, 'v' | 'w') {
                    flags.sharp_v = std::mem::take(&mut flags.sharp);
                    flags.plus_v = std::mem::take(&mut flags.plus);
                }
                self.arg(arg, verb);
                cursor.arg += 1;
            }
        }
    }

    fn width(&mut self, cursor: &mut Cursor<'_>) {
        match cursor.byte() {
            Some(b'*') => {
                cursor.at += 1;
                let width = cursor.operand();
                let flags = &mut self.writer.flags;
                flags.width = width.map(|width| width.unsigned_abs() as usize);
                if width.is_some_and(|width| width < 0) {
                    flags.minus = true;
                    flags.zero = false;
                }
                if width.is_none() {
                    self.write(b"%!(BADWIDTH)");
                }
                cursor.after_index = false;
            }
            _ => {
                self.writer.flags.width = cursor.number(cursor.format.len());
                if cursor.after_index && self.writer.flags.width.is_some() {
                    cursor.good_index = false;
                }
            }
        }
    }

    fn precision(&mut self, cursor: &mut Cursor<'_>) {
        if cursor.byte() != Some(b'.') || cursor.at + 1 >= cursor.format.len() {
            return;
        }
        cursor.at += 1;
        if cursor.after_index {
            cursor.good_index = false;
        }
        cursor.index();
        match cursor.byte() {
            Some(b'*') => {
                cursor.at += 1;
                let precision = cursor.operand().and_then(|precision| usize::try_from(precision).ok());
                self.writer.flags.precision = precision;
                if precision.is_none() {
                    self.write(b"%!(BADPREC)");
                }
                cursor.after_index = false;
            }
            _ => self.writer.flags.precision = Some(cursor.number(cursor.format.len()).unwrap_or(0)),
        }
    }

    /// `%!d(MISSING)`
    fn complain(&mut self, verb: char, what: &[u8]) {
        self.write(b"%!");
        self.writer.write_char(verb);
        self.write(what);
    }

    /// `%!(EXTRA string=x)`
    fn extra(&mut self, args: &[Value]) {
        self.write(b"%!(EXTRA ");
        for (at, arg) in args.iter().enumerate() {
            if at > 0 {
                self.write(b", ");
            }
            if arg.is_nil() {
                self.write(b"<nil>")
            } else {
                self.write(arg.type_of().to_string().as_bytes());
                self.write(b"=");
                self.arg(arg, 'v');
            }
        }
        self.write(b")");
    }
}

impl Cursor<'_> {
    fn byte(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn flags(&mut self, flags: &mut Flags) {
        loop {
            match self.byte() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    /// A number in the format. One that is too large swallows everything up to `end`, as in Go.
    fn number(&mut self, end: usize) -> Option<usize> {
        let mut value = None;
        while let Some(digit @ b'0'..=b'9') = self.format.get(self.at).filter(|_| self.at < end) {
            let before = value.unwrap_or(0);
            if before > MOST as usize {
                self.at = end;
                return None;
            }
            value = Some(before * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        value
    }

    /// An index such as `[3]`, if one is here.
    fn index(&mut self) {
        self.after_index = false;
        if self.byte() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let close = rest.iter().position(|byte| *byte == b']').filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.good_index = false;
            self.at += 1;
            return;
        };
        let (end, start) = (self.at + close, self.at + 1);
        self.at = start;
        let number = self.number(end).filter(|_| self.at == end && start < end);
        self.at = end + 1;
        let Some(number) = number else {
            self.good_index = false;
            return;
        };
        self.after_index = true;
        match number.checked_sub(1).filter(|index| *index < self.args.len()) {
            Some(index) => self.arg = index,
            None => self.good_index = false,
        }
    }

    /// The operand a `*` stands for, if it is an integer and not too large.
    fn operand(&mut self) -> Option<i64> {
        let operand = self.args.get(self.arg)?;
        self.arg += 1;
        match operand {
            Value::Int(_, number) => Some(*number),
            Value::Uint(_, number) => i64::try_from(*number).ok(),
            Value::Object(object) => match object.underlying() {
                Some(Value::Int(_, number)) => Some(number),
                _ => None,
            },
            _ => None,
        }
        .filter(|number| (-MOST..=MOST).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: &str, args: &[Value]) -> String {
        let mut printer = Printer::new(10_000_000);
        printer.printf(format.as_bytes(), args);
        String::from_utf8(printer.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn errors_look_like_those_of_go() {
        let s = || Value::str("x");
        for (format, args, expected) in [
            ("%d", vec![s()], "%!d(string=x)"),
            ("%d", vec![], "%!d(MISSING)"),
            ("%s", vec![s(), Value::int(1)], "x%!(EXTRA int=1)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%5", vec![], "%!(NOVERB)"),
            ("%[5]d", vec![s()], "%!d(BADINDEX)"),
            ("%*d", vec![s(), Value::int(1)], "%!(BADWIDTH)1"),
            ("%.*d", vec![s(), Value::int(1)], "%!(BADPREC)1"),
            ("%w", vec![Value::int(1)], "%!w(int=1)"),
            ("%s", vec![Value::Nil], "%!s(<nil>)"),
            ("%v", vec![Value::Nil], "<nil>"),
            ("%d", vec![Value::list(vec![s(), Value::Nil])], "[%!d(string=x) <nil>]"),
            ("%[2]s %[1]s", vec![s(), Value::str("y")], "y x"),
            ("100%%", vec![], "100%"),
        ] {
            assert_eq!(text(format, &args), expected, "{format}");
        }
    }

    #[test]
    fn go_syntax() {
        let value = Value::dict([
            ("a", Value::list(vec![Value::int(1), Value::Nil, Value::byte(3)])),
            ("b", Value::strings(["x"])),
        ]);
        assert_eq!(text("%v", std::slice::from_ref(&value)), "map[a:[1 <nil> 3] b:[x]]");
        assert_eq!(
            text("%#v", &[value]),
            r#"map[string]interface {}{"a":[]interface {}{1, interface {}(nil), 0x3}, "b":[]string{"x"}}"#
        );
    }

    #[test]
    fn widths_and_flags() {
        assert_eq!(
            text("%+d|% d|%05d|%-5d|%x|%#o", &[7, 7, -7, 7, 255, 8].map(Value::int)),
            "+7| 7|-0007|7    |ff|010"
        );
        assert_eq!(text("%6.2f|%-8.1e|%+g", &[2.71523, 1234.5, 1.0].map(Value::Float)), "  2.72|1.2e+03 |+1");
        assert_eq!(text("%q|%x|% X|%.2s|%5s", &["a\"", "hi", "hi", "héllo", "é"].map(Value::str)), {
            "\"a\\\"\"|6869|68 69|hé|    é"
        });
    }

    #[test]
    fn printing_does_not_recurse_and_is_bounded() {
        let mut value = Value::Nil;
        for _ in 0..100_000 {
            value = Value::list(vec![value]);
        }
        assert_eq!(text("%v", &[value.clone()]).len(), 200_005);
        let mut printer = Printer::new(100);
        printer.printf(b"%v", &[value]);
        assert!(printer.finish().is_none());
        let map = crate::value::Map::new();
        map.insert("self", Value::Map(map.clone())).unwrap();
        let mut printer = Printer::new(1000);
        printer.printf(b"%v", &[Value::Map(map.clone())]);
        assert!(printer.finish().is_none());
        map.remove(b"self");
    }
}
