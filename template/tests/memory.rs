//! What values take is charged for what it is: whatever a template makes, the process has not much more than the budget.

#![cfg(target_os = "linux")]

use std::fs;

use keyferry_limits::{Budget, LOOK_BYTES};
use keyferry_template::{Env, Functions, Options, Template};

/// What may be had beside the budget: halves of growing lists and nodes, and what the allocator keeps.
const BESIDE: u64 = 32 << 20;

/// The most memory that this process had since [`forget`].
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn forget() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Keeps what an expression comes to, a thousand times.
fn kept(before: &str, expression: &str) -> String {
    format!("{before}{{{{ $l := list }}}}{{{{ range until 1000 }}}}{{{{ $l = list $l ({expression}) }}}}{{{{ end }}}}")
}

/// A map of many entries that holds itself, before all others.
const CIRCLE: &str =
    r#"{{ $m := dict }}{{ range until 20000 }}{{ $_ := set $m (print .) 1 }}{{ end }}{{ $_ := set $m "" $m }}"#;

/// A map of many small entries.
const MAP: &str = r#"{{ $m := dict }}{{ range until 5000 }}{{ $_ := set $m (print .) 1 }}{{ end }}"#;

/// Many elements that are one and the same.
const MANY: &str = r#"{{ range until 16 }}{{ $x = list $x $x }}{{ end }}"#;

fn templates() -> Vec<String> {
    let doubled = |first: &str, last: &str| format!("{{{{ $x := {first} }}}}{{{{ range until 60 }}}}{last}");
    let circle = |last: &str| format!("{CIRCLE}{{{{ {last} }}}}");
    vec![
        doubled("dict", r#"{{ $x = dict "a" $x "b" $x }}{{ end }}{{ toJson $x }}"#),
        doubled("dict", r#"{{ $x = dict "a" $x "b" $x }}{{ end }}{{ toYaml $x }}"#),
        doubled("dict", r#"{{ $x = dict "a" $x "b" $x }}{{ end }}{{ deepEqual $x (deepCopy $x) }}"#),
        doubled("list 1", "{{ $x = list $x $x }}{{ end }}{{ toYaml $x }}"),
        doubled("list 1", "{{ $x = list $x $x }}{{ end }}{{ $x }}"),
        doubled("list 1", "{{ $x = list $x $x }}{{ end }}{{ deepCopy $x | len }}"),
        r#"{{ $x := dict }}{{ range 1000000 }}{{ $x = dict "a" $x }}{{ end }}"#.to_owned(),
        r#"{{ $x := list }}{{ range 1000000 }}{{ $x = list $x }}{{ end }}"#.to_owned(),
        circle("toJson $m"),
        circle("toPrettyJson $m"),
        circle("toYaml $m"),
        circle("$m"),
        circle(r#"printf "%#v" $m"#),
        circle("deepCopy $m"),
        format!("{MAP}{}{}", "{{ range $m }}".repeat(1000), "{{ end }}".repeat(1000)),
        format!("{{{{ $x := slice (until 100000) 0 0 }}}}{MANY}{{{{ deepCopy $x | len }}}}"),
        format!(r#"{{{{ $x := dict (repeat 1000 "k") 1 }}}}{MANY}{{{{ toYaml $x | len }}}}"#),
        kept(r#"{{ $t := print "[\"" (repeat 4000000 "x") "\"]" }}"#, "fromJson $t"),
        kept(r#"{{ $t := print "[\"" (repeat 4000000 "x") "\"]" }}"#, "fromYaml (print \"a: \" $t)"),
        kept(r#"{{ $t := print "[" (repeat 50000 "{\"a\":1},") "1]" }}"#, "fromJson $t"),
        kept(r#"{{ $t := repeat 50000 "- {a: b}\n" }}"#, "fromYaml (print \"a:\\n\" $t)"),
        kept(r#"{{ $u := print "http://h/" (repeat 1000000 "x") }}"#, "urlParse $u"),
        kept(r#"{{ $u := "http://h/" }}"#, "list (urlParse $u) (urlParse $u) (urlParse $u) (urlParse $u)"),
        kept(r#"{{ $t := repeat 50000 "x" }}"#, r#"split "" $t"#),
        kept(r#"{{ $t := repeat 50000 "x" }}"#, r#"splitList "" $t"#),
        kept(r#"{{ $t := repeat 50000 "x" }}"#, r#"regexFindAll "." $t -1"#),
        kept(r#"{{ $t := repeat 50000 "x" }}"#, r#"regexSplit "" $t -1"#),
        kept("{{ $n := until 50000 }}", "toStrings $n"),
        kept("{{ $n := until 50000 }}", "chunk 1 $n"),
        kept("{{ $n := until 50000 }}", "toStrings $n | sortAlpha"),
        kept("{{ $n := until 50000 }}", "reverse $n"),
        kept(MAP, "merge dict $m"),
        kept(MAP, r#"omit $m "a""#),
        kept(MAP, "deepCopy $m"),
        kept(MAP, "keys $m | sortAlpha"),
        kept(MAP, "values $m"),
    ]
}

#[test]
fn what_a_template_makes_is_charged_before_it_takes_the_process_down() {
    let options = Options::new(Functions::standard().into());
    forget();
    let start = peak();
    for text in templates() {
        let template = Template::parse("t", &text, &options).unwrap_or_else(|error| panic!("{text}: {error}"));
        forget();
        let budget = Budget::default();
        let mut env = Env { budget: Some(&budget), ..Env::default() };
        // Most meet a limit; what counts is what they had by then.
        let done = template.render_strings([("k", "v")], &mut env);
        let had = peak() - start;
        assert!(had <= LOOK_BYTES.most + BESIDE, "{} MiB: {text}: {:?}", had >> 20, done.err());
    }
}
