//! The tokens that have a text of their own: scalars, names, tags and directives.

use std::mem;

use zeroize::Zeroizing;

use super::{
    reader::{Complaint, Mark, is_blank, is_blank_or_end, is_break, is_break_or_end, is_word},
    scanner::{Kind, Scanner},
};

type Scanned<T> = Result<T, Complaint>;

/// Line breaks and blanks between words, which fold into one space or stay.
#[derive(Default)]
struct Gap {
    blanks: String,
    first_break: String,
    breaks: String,
}

impl Gap {
    /// Puts a folded line break down.
    fn fold(&mut self, out: &mut String) {
        let first = mem::take(&mut self.first_break);
        let others = mem::take(&mut self.breaks);
        match (first.starts_with('\n'), others.is_empty()) {
            (true, true) => out.push(' '),
            (true, false) => out.push_str(&others),
            (false, _) => {
                out.push_str(&first);
                out.push_str(&others);
            }
        }
    }

    fn add_break(&mut self, scanner: &mut Scanner, leading: &mut bool) {
        if !mem::replace(leading, true) {
            self.blanks.clear();
            scanner.reader.read_line(&mut self.first_break);
        } else {
            scanner.reader.read_line(&mut self.breaks)
        }
    }

    fn add_blank(&mut self, scanner: &mut Scanner, leading: bool) {
        if !leading { scanner.reader.read(&mut self.blanks) } else { scanner.reader.skip() }
    }
}

impl Scanner {
    pub(super) fn scan_plain_scalar(&mut self) -> Scanned<Zeroizing<String>> {
        let start = self.reader.mark;
        let indent = self.indent + 1;
        let mut out = Zeroizing::new(String::new());
        let mut gap = Gap::default();
        let mut leading = false;
        loop {
            if self.reader.at_document_indicator() || self.reader.here() == '#' {
                break;
            }
            while !is_blank_or_end(self.reader.here()) {
                let here = self.reader.here();
                if (here == ':' && is_blank_or_end(self.reader.peek(1)))
                    || (self.flow_level > 0 && matches!(here, ',' | '?' | '[' | ']' | '{' | '}'))
                {
                    break;
                }
                if leading {
                    gap.fold(&mut out)
                } else {
                    out.push_str(&mem::take(&mut gap.blanks))
                }
                leading = false;
                self.reader.read(&mut out);
            }
            if !is_blank(self.reader.here()) && !is_break(self.reader.here()) {
                break;
            }
            loop {
                match self.reader.here() {
                    '\t' if leading && self.reader.mark.column < indent => {
                        return Err(self.complaint(start, "found a tab character that violates indentation"));
                    }
                    ' ' | '\t' => gap.add_blank(self, leading),
                    here if is_break(here) => gap.add_break(self, &mut leading),
                    _ => break,
                }
            }
            if self.flow_level == 0 && self.reader.mark.column < indent {
                break;
            }
        }
        if leading {
            self.simple_key_allowed = true;
        }
        Ok(out)
    }

    pub(super) fn scan_flow_scalar(&mut self, single: bool) -> Scanned<Zeroizing<String>> {
        let start = self.reader.mark;
        let quote = if single { '\'' } else { '"' };
        self.reader.skip();
        let mut out = Zeroizing::new(String::new());
        let mut gap = Gap::default();
        loop {
            if self.reader.at_document_indicator() {
                return Err(self.complaint(start, "found unexpected document indicator"));
            }
            if self.reader.here() == '\0' {
                return Err(self.complaint(start, "found unexpected end of stream"));
            }
            let mut leading = false;
            while !is_blank_or_end(self.reader.here()) {
                match (self.reader.here(), self.reader.peek(1)) {
                    ('\'', '\'') if single => {
                        out.push('\'');
                        self.reader.skip();
                        self.reader.skip();
                    }
                    (here, _) if here == quote => break,
                    ('\\', next) if !single && is_break(next) => {
                        self.reader.skip();
                        self.reader.skip_line();
                        leading = true;
                        break;
                    }
                    ('\\', _) if !single => self.scan_escape(start, &mut out)?,
                    _ => self.reader.read(&mut out),
                }
            }
            if self.reader.here() == quote {
                break;
            }
            loop {
                match self.reader.here() {
                    ' ' | '\t' => gap.add_blank(self, leading),
                    here if is_break(here) => gap.add_break(self, &mut leading),
                    _ => break,
                }
            }
            if leading { gap.fold(&mut out) } else { out.push_str(&mem::take(&mut gap.blanks)) }
        }
        self.reader.skip();
        Ok(out)
    }

    fn scan_escape(&mut self, start: Mark, out: &mut String) -> Scanned<()> {
        let plain = match self.reader.peek(1) {
            '0' => '\0',
            'a' => '\x07',
            'b' => '\x08',
            't' | '\t' => '\t',
            'n' => '\n',
            'v' => '\x0b',
            'f' => '\x0c',
            'r' => '\r',
            'e' => '\x1b',
            c @ (' ' | '"' | '\'' | '\\') => c,
            'N' => '\u{85}',
            '_' => '\u{a0}',
            'L' => '\u{2028}',
            'P' => '\u{2029}',
            'x' => return self.scan_code(start, 2, out),
            'u' => return self.scan_code(start, 4, out),
            'U' => return self.scan_code(start, 8, out),
            _ => return Err(self.complaint(start, "found unknown escape character")),
        };
        out.push(plain);
        self.reader.skip();
        self.reader.skip();
        Ok(())
    }

    fn scan_code(&mut self, start: Mark, len: usize, out: &mut String) -> Scanned<()> {
        self.reader.skip();
        self.reader.skip();
        let mut code = 0u32;
        for ahead in 0..len {
            match self.reader.peek(ahead).to_digit(16) {
                Some(digit) => code = code.wrapping_shl(4) | digit,
                None => return Err(self.complaint(start, "did not find expected hexdecimal number")),
            }
        }
        match char::from_u32(code) {
            Some(c) => out.push(c),
            None => return Err(self.complaint(start, "found invalid Unicode character escape code")),
        }
        (0..len).for_each(|_| self.reader.skip());
        Ok(())
    }

    pub(super) fn scan_block_scalar(&mut self, literal: bool) -> Scanned<Zeroizing<String>> {
        let start = self.reader.mark;
        self.reader.skip();
        let (keep, increment) = self.scan_block_header(start)?;
        let mut indent = match increment {
            0 => 0,
            increment => self.indent.max(0) + increment,
        };
        let mut out = Zeroizing::new(String::new());
        let (mut first_break, mut breaks) = (String::new(), String::new());
        self.scan_block_breaks(start, &mut indent, &mut breaks)?;
        let mut leading_blank = false;
        while self.reader.mark.column == indent && self.reader.here() != '\0' {
            let blank = is_blank(self.reader.here());
            match !literal && !leading_blank && !blank && first_break.starts_with('\n') {
                true if breaks.is_empty() => out.push(' '),
                true => {}
                false => out.push_str(&first_break),
            }
            first_break.clear();
            out.push_str(&mem::take(&mut breaks));
            leading_blank = blank;
            while !is_break_or_end(self.reader.here()) {
                self.reader.read(&mut out);
            }
            self.reader.read_line(&mut first_break);
            self.scan_block_breaks(start, &mut indent, &mut breaks)?;
        }
        if keep != Some(false) {
            out.push_str(&first_break);
        }
        if keep == Some(true) {
            out.push_str(&breaks);
        }
        Ok(out)
    }

    /// What stands behind `|` and `>`: whether line breaks at the end are kept, and the indentation.
    fn scan_block_header(&mut self, start: Mark) -> Scanned<(Option<bool>, isize)> {
        let (mut keep, mut increment) = (None, 0);
        for _ in 0..2 {
            match self.reader.here() {
                sign @ ('+' | '-') if keep.is_none() => keep = Some(sign == '+'),
                '0' if increment == 0 => {
                    return Err(self.complaint(start, "found an indentation indicator equal to 0"));
                }
                digit @ '1'..='9' if increment == 0 => increment = digit as isize - '0' as isize,
                _ => break,
            }
            self.reader.skip();
        }
        self.reader.skip_while(is_blank);
        self.end_of_line(start)?;
        Ok((keep, increment))
    }

    /// A comment and the line break.
    fn end_of_line(&mut self, start: Mark) -> Scanned<()> {
        if self.reader.here() == '#' {
            self.reader.skip_while(|c| !is_break_or_end(c));
        }
        if !is_break_or_end(self.reader.here()) {
            return Err(self.complaint(start, "did not find expected comment or line break"));
        }
        self.reader.skip_line();
        Ok(())
    }

    fn scan_block_breaks(&mut self, start: Mark, indent: &mut isize, breaks: &mut String) -> Scanned<()> {
        let mut most = 0;
        loop {
            while (*indent == 0 || self.reader.mark.column < *indent) && self.reader.here() == ' ' {
                self.reader.skip();
            }
            most = most.max(self.reader.mark.column);
            if (*indent == 0 || self.reader.mark.column < *indent) && self.reader.here() == '\t' {
                return Err(self.complaint(start, "found a tab character where an indentation space is expected"));
            }
            if !is_break(self.reader.here()) {
                break;
            }
            self.reader.read_line(breaks);
        }
        if *indent == 0 {
            *indent = most.max(self.indent + 1).max(1);
        }
        Ok(())
    }

    pub(super) fn scan_anchor(&mut self, is_alias: bool) -> Scanned<Kind> {
        let start = self.reader.mark;
        self.reader.skip();
        let mut name = String::new();
        while is_word(self.reader.here()) {
            self.reader.read(&mut name);
        }
        let here = self.reader.here();
        let ends = is_blank_or_end(here) || matches!(here, '?' | ':' | ',' | ']' | '}' | '%' | '@' | '`');
        match (name.is_empty() || !ends, is_alias) {
            (true, _) => Err(self.complaint(start, "did not find expected alphabetic or numeric character")),
            (false, true) => Ok(Kind::Alias(name)),
            (false, false) => Ok(Kind::Anchor(name)),
        }
    }

    pub(super) fn scan_tag(&mut self) -> Scanned<Kind> {
        let start = self.reader.mark;
        let (handle, suffix) = if self.reader.peek(1) == '<' {
            self.reader.skip();
            self.reader.skip();
            let suffix = self.scan_tag_uri(start, "")?;
            if self.reader.here() != '>' {
                return Err(self.complaint(start, "did not find the expected '>'"));
            }
            self.reader.skip();
            (String::new(), suffix)
        } else {
            let handle = self.scan_tag_handle(start, false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.scan_tag_uri(start, "")?;
                (handle, suffix)
            } else {
                match self.scan_tag_uri(start, &handle)? {
                    suffix if suffix.is_empty() => (suffix, "!".to_owned()),
                    suffix => ("!".to_owned(), suffix),
                }
            }
        };
        if is_blank_or_end(self.reader.here()) {
            Ok(Kind::Tag { handle, suffix })
        } else {
            Err(self.complaint(start, "did not find expected whitespace or line break"))
        }
    }

    fn scan_tag_handle(&mut self, start: Mark, directive: bool) -> Scanned<String> {
        if self.reader.here() != '!' {
            return Err(self.complaint(start, "did not find expected '!'"));
        }
        let mut handle = String::new();
        self.reader.read(&mut handle);
        while is_word(self.reader.here()) {
            self.reader.read(&mut handle);
        }
        if self.reader.here() == '!' {
            self.reader.read(&mut handle);
        } else if directive && handle != "!" {
            return Err(self.complaint(start, "did not find expected '!'"));
        }
        Ok(handle)
    }

    fn scan_tag_uri(&mut self, start: Mark, head: &str) -> Scanned<String> {
        let mut uri: Vec<u8> = head.bytes().skip(1).collect();
        let mut found = !head.is_empty();
        loop {
            match self.reader.here() {
                '%' => self.scan_uri_escapes(start, &mut uri)?,
                c if is_word(c) || ";/?:@&=+$,.!~*'()[]".contains(c) => {
                    uri.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    self.reader.skip();
                }
                _ => break,
            }
            found = true;
        }
        if found {
            Ok(String::from_utf8_lossy(&uri).into_owned())
        } else {
            Err(self.complaint(start, "did not find expected tag URI"))
        }
    }

    /// One character, written as `%` and two digits for each of its bytes.
    fn scan_uri_escapes(&mut self, start: Mark, uri: &mut Vec<u8>) -> Scanned<()> {
        let mut left = None;
        while left != Some(0) {
            let octet = match (self.reader.here(), self.reader.peek(1).to_digit(16), self.reader.peek(2).to_digit(16)) {
                ('%', Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err(self.complaint(start, "did not find URI escaped octet")),
            };
            left = match left {
                Some(_) if octet & 0xc0 != 0x80 => {
                    return Err(self.complaint(start, "found an incorrect trailing UTF-8 octet"));
                }
                Some(left) => Some(left - 1),
                None => match octet {
                    0x00..=0x7f => Some(0),
                    0xc0..=0xdf => Some(1),
                    0xe0..=0xef => Some(2),
                    0xf0..=0xf7 => Some(3),
                    _ => return Err(self.complaint(start, "found an incorrect leading UTF-8 octet")),
                },
            };
            uri.push(octet);
            (0..3).for_each(|_| self.reader.skip());
        }
        Ok(())
    }

    pub(super) fn scan_directive(&mut self) -> Scanned<Kind> {
        let start = self.reader.mark;
        self.reader.skip();
        let mut name = String::new();
        while is_word(self.reader.here()) {
            self.reader.read(&mut name);
        }
        if name.is_empty() {
            return Err(self.complaint(start, "could not find expected directive name"));
        }
        if !is_blank_or_end(self.reader.here()) {
            return Err(self.complaint(start, "found unexpected non-alphabetical character"));
        }
        let kind = match name.as_str() {
            "YAML" => {
                self.reader.skip_while(is_blank);
                let major = self.scan_version_number(start)?;
                if self.reader.here() != '.' {
                    return Err(self.complaint(start, "did not find expected digit or '.' character"));
                }
                self.reader.skip();
                Kind::Version(major, self.scan_version_number(start)?)
            }
            "TAG" => {
                self.reader.skip_while(is_blank);
                let handle = self.scan_tag_handle(start, true)?;
                if !is_blank(self.reader.here()) {
                    return Err(self.complaint(start, "did not find expected whitespace"));
                }
                self.reader.skip_while(is_blank);
                let prefix = self.scan_tag_uri(start, "")?;
                if !is_blank_or_end(self.reader.here()) {
                    return Err(self.complaint(start, "did not find expected whitespace or line break"));
                }
                Kind::TagDirective { handle, prefix }
            }
            _ => return Err(self.complaint(start, "found unknown directive name")),
        };
        self.reader.skip_while(is_blank);
        self.end_of_line(start)?;
        Ok(kind)
    }

    fn scan_version_number(&mut self, start: Mark) -> Scanned<u32> {
        let mut value = None;
        let mut len = 0;
        while let Some(digit) = self.reader.here().to_digit(10) {
            len += 1;
            if len > 2 {
                return Err(self.complaint(start, "found extremely long version number"));
            }
            value = Some(value.unwrap_or(0) * 10 + digit);
            self.reader.skip();
        }
        value.ok_or_else(|| self.complaint(start, "did not find expected version number"))
    }
}
