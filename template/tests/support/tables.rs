//! Templates made from tables: every function with all kinds of arguments, every verb with every kind of value.
//!
//! `tests/corpus/functions.tbl` has two kinds of lines: `kind = sample ; sample ...` gives expressions for a kind of
//! argument, `name kind kind ..kind` a function and what it takes (`..` is the variadic rest, `!name` one whose answer
//! is random, so that only its errors are compared, `?name` one that is slow, so that few combinations are made).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{corpus::Case, here};

/// Arguments of other types than the one asked for.
const ODD: &[&str] = &[
    "nil",
    "1",
    "-3",
    "2.5",
    "true",
    "\"s\"",
    "\"\"",
    "(list 1 \"a\" nil)",
    "(dict \"k\" 1)",
    "now",
    ".",
    ".bin",
    "'x'",
];

/// A function and the kinds it takes.
pub struct Row {
    pub name: String,
    pub kinds: Vec<String>,
    pub rest: Option<String>,
    pub random: bool,
    pub slow: bool,
}

/// Samples by kind, and functions.
pub struct Table {
    pub samples: BTreeMap<String, Vec<String>>,
    pub rows: Vec<Row>,
}

/// Reads the table.
///
/// # Panics
/// Where it is broken.
pub fn load() -> Table {
    let text = fs::read_to_string(here("tests/corpus/functions.tbl")).expect("tests/corpus/functions.tbl");
    let mut table = Table { samples: BTreeMap::new(), rows: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(" = ") {
            Some((kind, samples)) => {
                let samples = samples.split(" ; ").map(|sample| sample.trim().to_owned()).collect();
                table.samples.insert(kind.trim().to_owned(), samples);
            }
            None => table.rows.push(row(line)),
        }
    }
    for row in &table.rows {
        for kind in row.kinds.iter().chain(&row.rest) {
            assert!(table.samples.contains_key(kind), "no samples of {kind} for {}", row.name);
        }
    }
    table
}

fn row(line: &str) -> Row {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let (mut kinds, mut rest) = (Vec::new(), None);
    for word in words {
        match word.strip_prefix("..") {
            Some(kind) => rest = Some(kind.to_owned()),
            None => kinds.push(word.to_owned()),
        }
    }
    Row {
        name: name.trim_start_matches(['!', '?']).to_owned(),
        kinds,
        rest,
        random: name.starts_with('!'),
        slow: name.starts_with('?'),
    }
}

/// Every function with ordinary, empty, wrong-typed, too few and too many arguments, alone and in pipelines.
pub fn functions() -> Vec<Case> {
    let table = load();
    let mut made = BTreeSet::new();
    let mut cases = Vec::new();
    for row in &table.rows {
        let mut add = |template: String| {
            if made.insert(template.clone()) {
                cases.push(Case { origin: format!("{}:{}", row.name, made.len()), template });
            }
        };
        if !row.random {
            ordinary(&table, row, &mut add);
            odd(&table, row, &mut add);
        }
        counts(&table, row, &mut add);
    }
    cases
}

/// The `round`th choice of arguments.
fn arguments(table: &Table, row: &Row, round: usize) -> Vec<String> {
    let pick = |kind: &String, at: usize| {
        let samples = &table.samples[kind];
        // Pools of the same length must not run in step.
        samples[(round + at * (1 + round / samples.len())) % samples.len()].clone()
    };
    let mut arguments: Vec<String> = row.kinds.iter().enumerate().map(|(at, kind)| pick(kind, at)).collect();
    if let Some(kind) = &row.rest {
        let many = [1, 2, 0, 3, 1][round % 5];
        arguments.extend((0..many).map(|at| pick(kind, row.kinds.len() + at * 2)));
    }
    arguments
}

fn call(name: &str, arguments: &[String]) -> String {
    if arguments.is_empty() { name.to_owned() } else { format!("{name} {}", arguments.join(" ")) }
}

fn ordinary(table: &Table, row: &Row, add: &mut impl FnMut(String)) {
    let longest = row.kinds.iter().chain(&row.rest).map(|kind| table.samples[kind].len()).max().unwrap_or(1);
    let rounds = if row.slow { 1 } else { (longest * row.kinds.len().max(1)).clamp(4, longest.max(28)) };
    for round in 0..rounds {
        let arguments = arguments(table, row, round);
        let whole = call(&row.name, &arguments);
        add(format!("{{{{ {whole} }}}}"));
        if row.slow {
            continue;
        }
        let piped = arguments.split_last().map(|(last, others)| format!("{last} | {}", call(&row.name, others)));
        match round {
            0 | 5 => add(format!("{{{{ $r := {whole} }}}}{{{{ printf \"%T|%v|%#v\" $r $r $r }}}}")),
            1 => add(format!("{{{{ with {whole} }}}}{{{{ . }}}}{{{{ else }}}}none{{{{ end }}}}")),
            2 => add(format!("{{{{ {whole} | toString | quote }}}}")),
            3 => add(format!("{{{{ range $k, $v := {whole} }}}}{{{{ $k }}}}={{{{ $v }}}};{{{{ end }}}}")),
            4 => add(format!("{{{{ ({whole}) | toJson }}}}")),
            _ => {}
        }
        if let Some(piped) = piped.filter(|_| round % 3 == 0) {
            add(format!("{{{{ {piped} }}}}"));
        }
    }
}

fn odd(table: &Table, row: &Row, add: &mut impl FnMut(String)) {
    let places = row.kinds.len() + usize::from(row.rest.is_some());
    for place in 0..places {
        for (round, odd) in ODD.iter().enumerate() {
            if row.slow && round > 1 {
                continue;
            }
            let mut arguments = arguments(table, row, round % 3);
            match arguments.get_mut(place) {
                Some(argument) => *argument = (*odd).to_owned(),
                None => arguments.push((*odd).to_owned()),
            }
            add(format!("{{{{ {} }}}}", call(&row.name, &arguments)));
        }
    }
}

fn counts(table: &Table, row: &Row, add: &mut impl FnMut(String)) {
    let full: Vec<String> = arguments(table, row, 0).into_iter().take(row.kinds.len()).collect();
    for count in 0..full.len() {
        add(format!("{{{{ {} }}}}", call(&row.name, &full[..count])));
    }
    if row.rest.is_none() {
        let mut more = full.clone();
        more.push("1".to_owned());
        add(format!("{{{{ {} }}}}", call(&row.name, &more)));
        add(format!("{{{{ \"s\" | {} }}}}", call(&row.name, &full)));
        // A variadic function of the template language, and a value where a function is asked for.
        add(format!("{{{{ call {} }}}}", call(&row.name, &full)));
    }
    if let Some((last, others)) = full.split_last().filter(|_| !row.random && !row.slow) {
        add(format!("{{{{ {last} | {} | printf \"%v%d\" }}}}", call(&row.name, others)));
        add(format!("{{{{ $x := {last} }}}}{{{{ {} }}}}", call(&row.name, &[others, &["$x".to_owned()]].concat())));
    }
}

const VERBS: &str = "vTtbcdoOqxXUeEfFgGspwzZy!";

const FORMATS: &[&str] = &[
    "%", "%+", "%-", "%#", "%0", "% ", "%+#", "%8", "%-8", "%08", "%+8", "%-08", "%.2", "%.0", "%.", "%8.3", "%-8.3",
    "%08.3", "%+.1", "%# ", "% 8", "%#8", "%+08", "%#.3", "%20.10", "%-20.10", "%+-8", "%.40",
];

const VALUES: &[&str] = &[
    "true",
    "0",
    "-42",
    "8364",
    "(int64 65)",
    "(index \"az\" 1)",
    "'☃'",
    "3.14159",
    "-0.5",
    "1e21",
    "1e-7",
    "100000000.0",
    "(float64 \"NaN\")",
    "(float64 \"-Inf\")",
    "1+2i",
    "\"\"",
    "\"héllo ☃\\n\\x00`\"",
    ".bin",
    "nil",
    "(list 1 \"a\" nil 2.5 true)",
    "(list)",
    "(until 3)",
    "(splitList \",\" .csv)",
    "(list (list 1) (dict \"k\" nil))",
    "(dict \"b\" 2 \"a\" \"x\" \"n\" nil)",
    "(dict)",
    "(split \",\" .csv)",
    "now",
    "now.Month",
    "(now.Sub now)",
];

const BAD_FORMATS: &[&str] = &[
    "%",
    "%!",
    "%d",
    "%d %d",
    "%[1]d",
    "%[2]d %[1]d",
    "%[3]d",
    "%[x]d",
    "%[]d",
    "%[1]",
    "%[-1]d",
    "%[0]d",
    "%[99999999]d",
    "%*d",
    "%-*d",
    "%.*f",
    "%*.*f",
    "%[2]*[1]d",
    "%[1]*d",
    "%6.*d",
    "%.[2]*[1]d",
    "%%",
    "%5%",
    "%-%",
    "100%",
    "% d|%+d",
    "%[1]d %d",
    "%[2]*d",
    "%99999999d",
    "%.99999999d",
    "%-010d",
    "%+-010d",
    "%é",
    "%.é",
    "%[1]é",
    "%s\x00",
    "%v%v%v%v",
];

/// Every verb of `printf` with every kind of value, all flags in one template.
pub fn verbs() -> Vec<Case> {
    let mut cases = Vec::new();
    for verb in VERBS.chars() {
        for value in VALUES {
            // What is behind a pointer prints as an address.
            let pointer = value.starts_with("(list") || value.starts_with("(dict") || value.starts_with("(split");
            if verb == 'p' && (pointer || value.starts_with("(until")) {
                continue;
            }
            let formats: Vec<String> = FORMATS.iter().map(|format| format!("{format}{verb}")).collect();
            let arguments = vec![*value; formats.len()].join(" ");
            let template = format!("{{{{ printf \"{}\" {arguments} }}}}", formats.join("|"));
            cases.push(Case { origin: format!("%{verb}:{value}"), template });
        }
    }
    for format in BAD_FORMATS {
        for arguments in ["", "1", "1 2", "8 -3 \"s\"", "2.5 true", "\"a\" nil", "-5 7", "(list 1 2) 4"] {
            let template = format!("{{{{ printf \"{format}\" {arguments} }}}}");
            cases.push(Case { origin: format!("format:{format}"), template });
        }
    }
    for function in ["print", "println"] {
        for pair in VALUES.windows(3) {
            let template = format!("{{{{ {function} {} }}}}", pair.join(" "));
            cases.push(Case { origin: function.to_owned(), template });
        }
    }
    cases
}
