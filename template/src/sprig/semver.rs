//! Semantic versions and constraints on them, in the syntax of Go's Masterminds/semver.

use std::{any::Any, cmp::Ordering, sync::LazyLock};

use regex::bytes::Regex;

use super::args::{Args, function};
use crate::{
    env::Context,
    error::Failure,
    f,
    function::Function,
    sig,
    value::{Named, Object, Str, Type, Value},
};

/// `*semver.Version`
pub(super) const VERSION: Type = Type::Named(&Named { name: "*semver.Version", kind: "ptr" });
const VERSION_STRUCT: Type = Type::Named(&Named { name: "semver.Version", kind: "struct" });
const BYTES: Type = Type::Slice(&Type::BYTE);

/// `semver` and `semverCompare`.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("semver", (string => VERSION), |_: &mut _, text: &Str| Ok(Value::object(Version::parse(text)?))),
    function!("semverCompare", (string, string => bool), |context: &mut Context<'_, '_>, constraint: &Str, text: &Str| {
        context.spend((constraint.len() + text.len()) as u64 / 16 + Constraint::cost(constraint))?;
        let constraint = Constraint::parse(constraint)?;
        Ok(constraint.admits(&Version::parse(text)?))
    }),
];

/// A version, either the pointer `semver` returns or the struct that methods such as `IncMajor` return.
#[derive(Clone)]
pub(super) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Str,
    metadata: Str,
    original: Str,
    pointer: bool,
}

fn invalid() -> Failure {
    Failure::new("Invalid Semantic Version")
}

/// How much of the text is dot-separated identifiers.
fn identifiers(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-' && *byte != b'.');
    let text = &text[..end.unwrap_or(text.len())];
    let whole = text.split(|byte| *byte == b'.').take_while(|part| !part.is_empty());
    match whole.map(|part| part.len() + 1).sum::<usize>() {
        0 => 0,
        len => len - 1,
    }
}

fn number(text: &[u8]) -> Result<u64, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    text.parse().map_err(|_| Failure::new("Error parsing version segment: value out of range"))
}

impl Version {
    /// The pointer to a version whose fields are all zero.
    pub(super) fn zero() -> Self {
        let empty: Str = "".into();
        Self {
            major: 0,
            minor: 0,
            patch: 0,
            pre: empty.clone(),
            metadata: empty.clone(),
            original: empty,
            pointer: true,
        }
    }

    /// One to three numbers, with or without `v`, a pre-release after `-` and metadata after `+`.
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let mut rest = text.strip_prefix(b"v").unwrap_or(text);
        let mut segments: Vec<&[u8]> = Vec::new();
        while segments.len() < 3 {
            let digits = match (segments.is_empty(), rest.strip_prefix(b".")) {
                (true, _) => rest,
                (false, Some(after)) if after.first().is_some_and(u8::is_ascii_digit) => after,
                (false, _) => break,
            };
            let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (segment, after) = digits.split_at(len);
            segments.push(segment);
            rest = after;
        }
        let mut suffix = |sign: &[u8]| match rest.strip_prefix(sign) {
            Some(after) => {
                let (found, after) = after.split_at(identifiers(after));
                rest = after;
                (!found.is_empty()).then_some(found).ok_or_else(invalid)
            }
            None => Ok(&[][..]),
        };
        let (pre, metadata) = (suffix(b"-")?, suffix(b"+")?);
        if !rest.is_empty() || segments.first().is_none_or(|major| major.is_empty()) {
            return Err(invalid());
        }
        let segment = |place: usize| segments.get(place).map_or(Ok(0), |digits| number(digits));
        let version = Self {
            major: segment(0)?,
            minor: segment(1)?,
            patch: segment(2)?,
            pre: pre.into(),
            metadata: metadata.into(),
            original: text.into(),
            pointer: true,
        };
        check_prerelease(&version.pre)?;
        Ok(version)
    }

    fn text(&self) -> Vec<u8> {
        let mut out = format!("{}.{}.{}", self.major, self.minor, self.patch).into_bytes();
        for (sign, part) in [(b'-', &self.pre), (b'+', &self.metadata)] {
            if !part.is_empty() {
                out.push(sign);
                out.extend_from_slice(part);
            }
        }
        out
    }

    /// As `toJson` writes it.
    pub(super) fn json(&self) -> Vec<u8> {
        self.text()
    }

    /// Have both the same fields?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
            && self.pre == other.pre
            && self.metadata == other.metadata
            && self.original == other.original
            && self.pointer == other.pointer
    }

    fn numbers(&self) -> (u64, u64, u64) {
        (self.major, self.minor, self.patch)
    }

    /// By precedence; metadata counts for nothing.
    fn compare(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers()).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => compare_prereleases(&self.pre, &other.pre),
        })
    }

    /// The struct a method returns: other numbers, no pre-release and no metadata.
    fn changed(&self, numbers: (u64, u64, u64), pre: Str, metadata: Str) -> Value {
        let (major, minor, patch) = numbers;
        let mut version = Self { major, minor, patch, pre, metadata, original: "".into(), pointer: false };
        let prefix: &[u8] = if self.original.starts_with(b"v") { b"v" } else { b"" };
        version.original = [prefix, &version.text()].concat().into();
        Value::object(version)
    }
}

fn check_prerelease(pre: &[u8]) -> Result<(), Failure> {
    let wrong = |part: &[u8]| part.len() > 1 && part.starts_with(b"0") && part.iter().all(u8::is_ascii_digit);
    if pre.split(|byte| *byte == b'.').any(wrong) { Err(Failure::new("Version segment starts with 0")) } else { Ok(()) }
}

fn check_identifiers(text: &[u8], complaint: &'static str) -> Result<(), Failure> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if text.iter().all(fits) { Ok(()) } else { Err(Failure::new(complaint)) }
}

fn compare_prereleases(left: &[u8], right: &[u8]) -> Ordering {
    let mut left = left.split(|byte| *byte == b'.');
    let mut right = right.split(|byte| *byte == b'.');
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => compare_parts(one.unwrap_or_default(), other.unwrap_or_default()),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Numbers come before words; a part that is missing comes before both.
fn compare_parts(left: &[u8], right: &[u8]) -> Ordering {
    let as_number = |part: &[u8]| std::str::from_utf8(part).ok().and_then(|part| part.parse::<u64>().ok());
    match (left, right) {
        (left, right) if left == right => Ordering::Equal,
        ([], _) => Ordering::Less,
        (_, []) => Ordering::Greater,
        _ => match (as_number(left), as_number(right)) {
            (None, None) => left.cmp(right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) if left > right => Ordering::Greater,
            (Some(_), Some(_)) => Ordering::Less,
        },
    }
}

impl Object for Version {
    fn type_of(&self) -> &'static Named {
        match if self.pointer { VERSION } else { VERSION_STRUCT } {
            Type::Named(named) => named,
            _ => &Named { name: "semver.Version", kind: "struct" },
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn display(&self) -> Option<Str> {
        Some(self.text().into())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("major", Value::uint64(self.major)),
            ("minor", Value::uint64(self.minor)),
            ("patch", Value::uint64(self.patch)),
            ("pre", Value::Str(self.pre.clone())),
            ("metadata", Value::Str(self.metadata.clone())),
            ("original", Value::Str(self.original.clone())),
        ]
    }

    fn methods(&self) -> &'static [Function] {
        if self.pointer { METHODS } else { METHODS.split_at(STRUCT_METHODS).0 }
    }

    fn equals(&self, other: &dyn Object) -> Option<bool> {
        let other: &Self = other.as_any().downcast_ref()?;
        Some(if self.pointer { std::ptr::eq(self, other) } else { self.is_same(other) })
    }
}

fn receiver<'a>(args: &mut Args<'a>) -> Result<&'a Version, Failure> {
    args.any()?.downcast().ok_or(Failure::new("invalid memory address or nil pointer dereference"))
}

macro_rules! method {
    ($name:literal, ($($param:ident),* => $result:ident), $call:expr) => {
        f($name, sig!($($param),* => $result), |_, args| {
            let mut args = Args(args);
            let version = receiver(&mut args)?;
            $call(version, &mut args)
        })
    };
}

/// So many of the methods need no pointer.
const STRUCT_METHODS: usize = 13;

const METHODS: &[Function] = &[
    method!("Major", (=> uint64), |version: &Version, _: &mut _| Ok(Value::uint64(version.major))),
    method!("Minor", (=> uint64), |version: &Version, _: &mut _| Ok(Value::uint64(version.minor))),
    method!("Patch", (=> uint64), |version: &Version, _: &mut _| Ok(Value::uint64(version.patch))),
    method!("Prerelease", (=> string), |version: &Version, _: &mut _| Ok(Value::Str(version.pre.clone()))),
    method!("Metadata", (=> string), |version: &Version, _: &mut _| Ok(Value::Str(version.metadata.clone()))),
    method!("String", (=> string), |version: &Version, _: &mut _| Ok(Value::str(version.text()))),
    method!("IncMajor", (=> VERSION_STRUCT), |version: &Version, _: &mut _| {
        Ok(version.changed((version.major.wrapping_add(1), 0, 0), "".into(), "".into()))
    }),
    method!("IncMinor", (=> VERSION_STRUCT), |version: &Version, _: &mut _| {
        Ok(version.changed((version.major, version.minor.wrapping_add(1), 0), "".into(), "".into()))
    }),
    method!("IncPatch", (=> VERSION_STRUCT), |version: &Version, _: &mut _| {
        let patch = if version.pre.is_empty() { version.patch.wrapping_add(1) } else { version.patch };
        Ok(version.changed((version.major, version.minor, patch), "".into(), "".into()))
    }),
    method!("SetPrerelease", (string => VERSION_STRUCT), |version: &Version, args: &mut Args<'_>| {
        let pre = args.string()?;
        check_identifiers(pre, "Invalid Prerelease string")?;
        check_prerelease(pre)?;
        Ok(version.changed(version.numbers(), pre.clone(), version.metadata.clone()))
    }),
    method!("SetMetadata", (string => VERSION_STRUCT), |version: &Version, args: &mut Args<'_>| {
        let metadata = args.string()?;
        check_identifiers(metadata, "Invalid Metadata string")?;
        Ok(version.changed(version.numbers(), version.pre.clone(), metadata.clone()))
    }),
    method!("MarshalText", (=> BYTES), |version: &Version, _: &mut _| Ok(super::text::bytes(&version.text()))),
    method!("MarshalJSON", (=> BYTES), |version: &Version, _: &mut _| {
        Ok(super::text::bytes(&[b"\"", version.text().as_slice(), b"\""].concat()))
    }),
    method!("Original", (=> string), |version: &Version, _: &mut _| Ok(Value::Str(version.original.clone()))),
    method!("Compare", (VERSION => int), |version: &Version, args: &mut Args<'_>| {
        Ok(Value::int(version.compare(receiver(args)?) as i64))
    }),
    method!("Equal", (VERSION => bool), |version: &Version, args: &mut Args<'_>| compared(version, args, Ordering::is_eq)),
    method!("LessThan", (VERSION => bool), |version: &Version, args: &mut Args<'_>| {
        compared(version, args, Ordering::is_lt)
    }),
    method!("LessThanEqual", (VERSION => bool), |version: &Version, args: &mut Args<'_>| {
        compared(version, args, Ordering::is_le)
    }),
    method!("GreaterThan", (VERSION => bool), |version: &Version, args: &mut Args<'_>| {
        compared(version, args, Ordering::is_gt)
    }),
    method!("GreaterThanEqual", (VERSION => bool), |version: &Version, args: &mut Args<'_>| {
        compared(version, args, Ordering::is_ge)
    }),
];

fn compared(version: &Version, args: &mut Args<'_>, is: fn(Ordering) -> bool) -> Result<Value, Failure> {
    Ok(Value::Bool(is(version.compare(receiver(args)?))))
}

/// The version in a constraint, where `x` and `*` are numbers too.
const WILD_VERSION: &str = r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?";

/// All operators; none at all is one of them.
const OPERATORS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";

fn pattern(text: &str) -> Option<Regex> {
    let text = text.replace("VERSION", WILD_VERSION).replace("OPERATOR", OPERATORS).replace("SPACE", r"[\t\n\f\r ]");
    Regex::new(&format!("(?-u){text}")).ok()
}

static SINGLE: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"^SPACE*(OPERATOR)SPACE*(VERSION)SPACE*$"));
static RANGE: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"SPACE*(VERSION)SPACE+-SPACE+(VERSION)SPACE*"));
static EACH: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"(OPERATOR)SPACE*(VERSION)"));
static ALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(r"^(SPACE*(OPERATOR)SPACE*(VERSION)SPACE*)((?:SPACE+|,SPACE*)(OPERATOR)SPACE*(VERSION)SPACE*)*$")
});

fn compiled(pattern: &'static LazyLock<Option<Regex>>) -> Result<&'static Regex, Failure> {
    pattern.as_ref().ok_or(Failure::new("internal error: pattern of constraints"))
}

/// Alternatives of conditions that must all hold.
struct Constraint(Vec<Vec<Condition>>);

/// Pre-releases are admitted only where one of the conditions names one.
fn admits(conditions: &[Condition], version: &Version) -> bool {
    let asked_for = version.pre.is_empty() || conditions.iter().any(|condition| !condition.version.pre.is_empty());
    asked_for && conditions.iter().all(|condition| condition.admits(version))
}

struct Condition {
    operator: Vec<u8>,
    version: Version,
    /// Is anything left open?
    open: bool,
    open_minor: bool,
    open_patch: bool,
}

impl Constraint {
    /// What its conditions cost in steps, whatever they are: each is matched, and held with what it names in some 300 bytes.
    fn cost(text: &[u8]) -> u64 {
        const CONDITION: usize = 64;
        let between = text.iter().filter(|byte| matches!(byte, b'|' | b',' | b'\t' | b'\n' | 0x0c | b'\r' | b' '));
        (CONDITION * between.count()) as u64
    }

    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let text = spell_out_ranges(text)?;
        let mut alternatives = Vec::new();
        let mut rest: &[u8] = &text;
        loop {
            let (alternative, after) = match super::strings::find(rest, b"||") {
                Some(at) => (&rest[..at], Some(&rest[at + 2..])),
                None => (rest, None),
            };
            if !compiled(&ALL)?.is_match(alternative) {
                return Err(Failure::new("improper constraint"));
            }
            let conditions = compiled(&EACH)?.find_iter(alternative).map(|found| Condition::parse(found.as_bytes()));
            alternatives.push(conditions.collect::<Result<_, _>>()?);
            match after {
                Some(after) => rest = after,
                None => return Ok(Self(alternatives)),
            }
        }
    }

    fn admits(&self, version: &Version) -> bool {
        self.0.iter().any(|conditions| admits(conditions, version))
    }
}

/// `1.2 - 3` to `>= 1.2, <= 3`.
fn spell_out_ranges(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut out = text.to_vec();
    for found in compiled(&RANGE)?.captures_iter(text) {
        let group = |number| found.get(number).map_or(&[][..], |group| group.as_bytes());
        let spelt = [b">= ", group(1), b", <= ", group(11), b" "].concat();
        if let Some(at) = super::strings::find(&out, group(0)) {
            out.splice(at..at + group(0).len(), spelt);
        }
    }
    Ok(out)
}

impl Condition {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let found = compiled(&SINGLE)?.captures(text).ok_or(Failure::new("improper constraint"))?;
        let group = |number| found.get(number).map_or(&[][..], |group| group.as_bytes());
        let is_open = |number| matches!(group(number), b"" | b"x" | b"X" | b"*" | b".x" | b".X" | b".*");
        let (version, open, open_minor, open_patch) = match () {
            () if is_open(3) => ([b"0.0.0", group(6)].concat(), true, false, false),
            () if is_open(4) => ([group(3), b".0.0", group(6)].concat(), true, true, false),
            () if is_open(5) => ([group(3), group(4), b".0", group(6)].concat(), true, false, true),
            () => (group(2).to_vec(), false, false, false),
        };
        let version = Version::parse(&version).map_err(|_| Failure::new("constraint Parser Error"))?;
        Ok(Self { operator: group(1).to_vec(), version, open, open_minor, open_patch })
    }

    fn admits(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let order = version.compare(wanted);
        match self.operator.as_slice() {
            b"" | b"=" => {
                if self.open {
                    self.admits_tilde(version)
                } else {
                    order.is_eq()
                }
            }
            b"!=" => self.differs(version),
            b">" => match self.open {
                true if version.major != wanted.major => version.major > wanted.major,
                true if self.open_minor => false,
                true if self.open_patch => version.minor > wanted.minor,
                _ => order.is_gt(),
            },
            b"<" => order.is_lt(),
            b">=" | b"=>" => order.is_ge(),
            b"<=" | b"=<" => {
                if self.open {
                    version.major < wanted.major
                        || (version.major == wanted.major && (version.minor <= wanted.minor || self.open_minor))
                } else {
                    order.is_le()
                }
            }
            b"~" | b"~>" => self.admits_tilde(version),
            b"^" => order.is_ge() && self.admits_caret(version),
            _ => false,
        }
    }

    fn differs(&self, version: &Version) -> bool {
        let wanted = &self.version;
        match () {
            () if !self.open => version.compare(wanted).is_ne(),
            () if version.major != wanted.major => true,
            () if version.minor != wanted.minor && !self.open_minor => true,
            () if self.open_minor => false,
            () if version.patch != wanted.patch && !self.open_patch => true,
            () if self.open_patch => {
                (!version.pre.is_empty() || !wanted.pre.is_empty())
                    && compare_prereleases(&version.pre, &wanted.pre).is_ne()
            }
            () => version.compare(wanted).is_ne(),
        }
    }

    fn admits_tilde(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let anything = wanted.numbers() == (0, 0, 0) && !self.open_minor && !self.open_patch;
        let near = version.major == wanted.major && (version.minor == wanted.minor || self.open_minor);
        version.compare(wanted).is_ge() && (anything || near)
    }

    fn admits_caret(&self, version: &Version) -> bool {
        let wanted = &self.version;
        match () {
            () if wanted.major > 0 || self.open_minor => version.major == wanted.major,
            () if version.major > 0 => false,
            () if wanted.minor > 0 || self.open_patch => version.minor == wanted.minor,
            () if version.minor > 0 => false,
            () => version.patch == wanted.patch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Masterminds/semver 3.4.0 says.
    #[test]
    fn constraints() {
        for (constraint, version, admitted) in [
            ("^1.2.3", "1.9.9", true),
            ("^1.2.3", "2.0.0", false),
            ("^0.2", "0.2.9", true),
            ("^0.0.3", "0.0.4", false),
            ("~1.2", "1.2.9", true),
            ("~1", "1.9.0", true),
            ("1.2 - 3", "2.5.0", true),
            ("1.2 - 3", "3.5.0", true),
            (">= 1.2, < 3.0.0 || >= 4.2.3", "4.2.3", true),
            (">1.x", "1.5.0", false),
            ("*", "1.2.3", true),
            ("*", "1.2.3-beta", false),
            (">=1.2.3-0", "1.2.3-beta", true),
            ("!=1.x", "1.2.3", false),
            ("!=1.2.3", "1.2.3-rc1", false),
            (">=1.0.0-0 <2.0.0", "1.2.3-rc1", true),
        ] {
            let constraint_ = Constraint::parse(constraint.as_bytes()).unwrap();
            let version_ = Version::parse(version.as_bytes()).unwrap();
            assert_eq!(constraint_.admits(&version_), admitted, "{constraint} {version}");
        }
        assert!(Constraint::parse(b">>1").is_err());
        assert!(Constraint::parse(b"").is_err());
    }

    #[test]
    fn versions() {
        for text in ["1", "v1.2", "1.2.3-a.b+c.d", "1.2.3-0a", "1+b"] {
            assert!(Version::parse(text.as_bytes()).is_ok(), "{text}");
        }
        for text in ["", "v", "1.", "1.2.3.4", "1.2.3-", "1-a..b", "1.2.3-01", "V1", "1.a", "99999999999999999999"] {
            assert!(Version::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
