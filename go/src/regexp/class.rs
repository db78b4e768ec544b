//! Classes of characters by name.

use regex_syntax::{
    Parser,
    hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind},
};

/// The class of these ranges.
pub(super) fn of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

/// The characters between two code points, of which some may be none.
pub(super) fn between(first: u32, last: u32) -> ClassUnicode {
    let parts = [(first, last.min(0xd7ff)), (first.max(0xe000), last)];
    let whole = parts.iter().filter(|(first, last)| first <= last);
    let ranges = whole.filter_map(|(first, last)| Some((char::from_u32(*first)?, char::from_u32(*last)?)));
    of(&ranges.collect::<Vec<_>>())
}

/// All characters.
pub(super) fn any() -> ClassUnicode {
    of(&[('\0', char::MAX)])
}

/// A class with the other cases of its letters.
pub(super) fn folded(mut class: ClassUnicode) -> ClassUnicode {
    // Fails only without the tables, which are compiled in.
    let _ = class.try_case_fold_simple();
    class
}

/// The class without its members, and all others in it.
pub(super) fn negated(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}

/// `\d`, `\s` and `\w`, which know ASCII only.
pub(super) fn perl(letter: char) -> Option<ClassUnicode> {
    Some(match letter {
        'd' => of(&[('0', '9')]),
        's' => of(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]),
        'w' => of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        _ => return None,
    })
}

/// `[:alpha:]` and so on.
pub(super) fn posix(name: &str) -> Option<ClassUnicode> {
    Some(of(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    }))
}

/// Categories, by their short names.
const CATEGORIES: &str =
    "C Cc Cf Cn Co Cs L LC Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";

/// Categories by their long names.
const LONG_CATEGORIES: &str = "casedletter closepunctuation combiningmark connectorpunctuation control currencysymbol \
    dashpunctuation decimalnumber enclosingmark finalpunctuation format initialpunctuation letter letternumber \
    lineseparator lowercaseletter mark mathsymbol modifierletter modifiersymbol nonspacingmark number openpunctuation \
    other otherletter othernumber otherpunctuation othersymbol paragraphseparator privateuse punctuation separator \
    spaceseparator spacingmark surrogate symbol titlecaseletter unassigned uppercaseletter cntrl digit punct";

/// Scripts, as Go 1.26 finds them: those whose names are two words it does not.
const SCRIPTS: &str = "adlam ahom arabic armenian avestan balinese bamum batak bengali bhaiksuki bopomofo brahmi \
    braille buginese buhid carian chakma cham cherokee chorasmian common coptic cuneiform cypriot cyrillic deseret \
    devanagari dogra duployan elbasan elymaic ethiopic georgian glagolitic gothic grantha greek gujarati gurmukhi han \
    hangul hanunoo hatran hebrew hiragana inherited javanese kaithi kannada katakana kawi kharoshthi khmer khojki \
    khudawadi lao latin lepcha limbu lisu lycian lydian mahajani makasar malayalam mandaic manichaean marchen \
    medefaidrin miao modi mongolian mro multani myanmar nabataean nandinagari newa nko nushu ogham oriya osage osmanya \
    palmyrene phoenician rejang runic samaritan saurashtra sharada shavian siddham sinhala sogdian soyombo sundanese \
    syriac tagalog tagbanwa takri tamil tangsa tangut telugu thaana thai tibetan tifinagh tirhuta toto ugaritic vai \
    vithkuqi wancho yezidi yi";

/// `\p{Greek}` and so on. Case, spaces, hyphens and underscores count for nothing.
pub(super) fn unicode(name: &str) -> Option<ClassUnicode> {
    let name: String = name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).collect();
    let name = name.to_ascii_lowercase();
    let is_in = |names: &str| names.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(&name));
    match name.as_str() {
        "any" => Some(any()),
        "ascii" => Some(of(&[('\0', '\x7f')])),
        "assigned" => table("gc=Cn").map(negated),
        "cs" | "surrogate" => Some(ClassUnicode::empty()),
        name if is_in(CATEGORIES) || is_in(LONG_CATEGORIES) => table(&format!("gc={name}")),
        name if is_in(SCRIPTS) => table(&format!("sc={name}")),
        _ => None,
    }
}

fn table(query: &str) -> Option<ClassUnicode> {
    let found = Parser::new().parse(&format!("\\p{{{query}}}")).ok()?;
    match found.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(of(&text.chars().map(|letter| (letter, letter)).collect::<Vec<_>>()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_class() {
        for name in [CATEGORIES, LONG_CATEGORIES, SCRIPTS].iter().flat_map(|names| names.split_ascii_whitespace()) {
            assert!(unicode(name).is_some(), "{name}");
        }
        assert!(unicode("Old_Italic").is_none());
    }
}
