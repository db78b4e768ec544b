//! All functions against what Go made of them, and against the limits.

use std::sync::Arc;

use keyferry_limits::{Exceeded, TEMPLATE_HASH_COST, TEMPLATE_KEY_BITS};

use crate::{Env, Functions, Limit, Limits, Options, Random, Template};

fn render(text: &str, env: &mut Env<'_>) -> Result<Vec<u8>, crate::Error> {
    let options = Options::new(Arc::new(Functions::standard()));
    let template = Template::parse("t", text.as_bytes(), &options)?;
    Ok(template.render_strings([("text", "a\u{e9}b")], env)?.to_vec())
}

/// Lines of a template and what Go 1.26 with sprig 3.3.0, cast 1.10.0 and semver 3.4.0 rendered, or of a template alone where it failed.
#[test]
fn as_go_does() {
    let mut wrong = Vec::new();
    for line in include_str!("tests.jsonl").lines() {
        let case: Vec<String> = serde_json::from_str(line).unwrap();
        let found = render(&case[0], &mut Env::default()).ok();
        if found.as_deref() != case.get(1).map(|output| output.as_bytes()) {
            wrong.push(format!("{line} but {:?}", found.map(|found| String::from_utf8_lossy(&found).into_owned())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn hit(text: &str, limits: Limits) -> Option<Limit> {
    let mut env = Env { limits, ..Env::default() };
    render(text, &mut env).err().and_then(|error| error.hit())
}

#[test]
fn limits_are_named() {
    for (text, limit) in [
        (r#"{{ repeat 1000000000 "abc" }}"#, Limit::ValueBytes),
        (r#"{{ repeat 9223372036854775807 "abc" }}"#, Limit::ValueBytes),
        ("{{ until 9223372036854775807 }}", Limit::ListLength),
        ("{{ untilStep -9223372036854775808 9223372036854775807 1 }}", Limit::ListLength),
        ("{{ untilStep 5 -9223372036854775808 -1 }}", Limit::ListLength),
        ("{{ seq 1000000000 }}", Limit::ListLength),
        ("{{ seq 1 1 9223372036854775806 | len }}", Limit::ListLength),
        ("{{ randBytes 1000000000 }}", Limit::ValueBytes),
        ("{{ randAlphaNum 9223372036854775807 }}", Limit::ValueBytes),
        ("{{ randAscii 100000000 }}", Limit::ValueBytes),
        (r#"{{ indent 1000000000 "a" }}"#, Limit::ValueBytes),
        (r#"{{ nindent 9223372036854775807 "a\nb" }}"#, Limit::ValueBytes),
        (r#"{{ replace "" (repeat 100000 "a") (repeat 100000 "b") }}"#, Limit::ValueBytes),
        (r#"{{ join (repeat 100000 "a") (until 1000) }}"#, Limit::ValueBytes),
        (r#"{{ regexReplaceAll "" (repeat 100000 "a") (repeat 100000 "b") }}"#, Limit::ValueBytes),
        (r#"{{ wrapWith 1 (repeat 100000 "-") (repeat 100000 "b") }}"#, Limit::ValueBytes),
        (r#"{{ splitList "" (repeat 1000000 "b") }}"#, Limit::ListLength),
        (r#"{{ split "" (repeat 1000000 "b") }}"#, Limit::ListLength),
        (r#"{{ regexMatch "(\\pL{500}){2}" "b" }}"#, Limit::RegexSize),
        (r#"{{ regexMatch (printf "%s%s" (repeat 400 "(") (repeat 400 ")")) "b" }}"#, Limit::RegexSize),
        (r#"{{ regexReplaceAll "a.*b|a" (repeat 100000 "a") "x" }}"#, Limit::Steps),
        (r#"{{ regexReplaceAll "((a|ab|b){1,9}){1,9}c|a" (repeat 2000 "ab") "x" }}"#, Limit::Steps),
        (r#"{{ range until 1000 }}{{ bcrypt "a" }}{{ end }}"#, Limit::Steps),
        (r#"{{ semverCompare (print (repeat 100 "1.2.3 || ") "1") "9.9.9" }}"#, Limit::Steps),
        (r#"{{ semverCompare (print (repeat 100 "1, ") "1") "9.9.9" }}"#, Limit::Steps),
        (r#"{{ semverCompare (print (repeat 100 "1 - 2 ") "1") "9.9.9" }}"#, Limit::Steps),
    ] {
        let limits = Limits { steps: if limit == Limit::Steps { 9_000 } else { 2_000_000 }, ..Limits::default() };
        assert_eq!(hit(text, limits), Some(limit), "{text}");
    }
    let small = || Limits { bcrypt_cost: 9, rsa_bits: 1024, ..Limits::default() };
    assert_eq!(hit(r#"{{ bcrypt "a" }}"#, small()), Some(Limit::HashCost));
    assert_eq!(hit(r#"{{ htpasswd "a" "b" }}"#, small()), Some(Limit::HashCost));
    assert_eq!(hit(r#"{{ genPrivateKey "rsa" }}"#, small()), Some(Limit::KeyBits));
    assert_eq!(hit(r#"{{ genCA "a" 1 }}"#, small()), Some(Limit::KeyBits));
    assert_eq!(hit(r#"{{ semverCompare (print (repeat 20 "1.2.3 || ") "9.x") "9.9.9" }}"#, small()), None);
    // No text meets these two with the limits that hold. They are told by their rows all the same.
    assert_eq!(Limit::HashCost.exceeded(), Exceeded::Limit(&TEMPLATE_HASH_COST));
    assert_eq!(Limit::KeyBits.exceeded(), Exceeded::Limit(&TEMPLATE_KEY_BITS));
}

/// Nesting that no stack would hold, and a map within itself.
#[test]
fn nothing_is_too_deep() {
    let deep = r#"{{ $l := list }}{{ range until 20000 }}{{ $l = list $l }}{{ end }}"#;
    for call in ["toJson $l | len", "deepCopy $l | len", "deepEqual $l (deepCopy $l)", "has $l (list $l)"] {
        assert!(render(&format!("{deep}{{{{ {call} }}}}"), &mut Env::default()).is_ok(), "{call}");
    }
    let cycle = r#"{{ $d := dict }}{{ $_ := set $d "a" $d }}"#;
    assert_eq!(render(&format!("{cycle}{{{{ toJson $d }}}}"), &mut Env::default()).unwrap(), b"");
    for call in ["mustToJson $d", "deepCopy $d", "merge (deepCopy (dict)) $d (dict \"a\" $d) | toJson | fail"] {
        assert!(render(&format!("{cycle}{{{{ {call} }}}}"), &mut Env::default()).is_err(), "{call}");
    }
}

/// Counts up.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), crate::Failure> {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

/// What is random comes from the context, so that it can be foreseen, and has the right shape.
#[test]
fn randomness_is_lent() {
    let once = |text: &str| {
        let mut env = Env { random: Box::new(Counter(0)), ..Env::default() };
        String::from_utf8(render(text, &mut env).unwrap()).unwrap()
    };
    for (text, shape) in [
        ("{{ randAlphaNum 40 }}", "^[0-9A-Za-z]{40}$"),
        ("{{ randAlpha 40 }}", "^[A-Za-z]{40}$"),
        ("{{ randNumeric 40 }}", "^[0-9]{40}$"),
        ("{{ randAscii 40 }}", "^[ -~]{40}$"),
        ("{{ randAscii -1 }}{{ randAlpha 0 }}", "^$"),
        ("{{ randBytes 16 }}", "^AQIDBAUGBwgJCgsMDQ4PEA==$"),
        ("{{ randInt 5 8 }}", "^[567]$"),
        (r#"{{ shuffle "aab" }}"#, "^(aab|aba|baa)$"),
        ("{{ uuidv4 }}", "^01020304-0506-4708-890a-0b0c0d0e0f10$"),
        (r#"{{ encryptAES "key" "text" | decryptAES "key" }}"#, "^text$"),
        (r#"{{ htpasswd "u" "p" }}"#, r"^u:\$2a\$10\$[./0-9A-Za-z]{53}$"),
        (r#"{{ htpasswd "u" "p" "sha" }}"#, r"^u:\{SHA\}UWuXg/ylF\+7L0dBk2i0WUxCxl1k=$"),
        (r#"{{ genPrivateKey "ed25519" }}"#, "^-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE[0-9A-Za-z+/=]+\n"),
        (r#"{{ genPrivateKey "ecdsa" }}"#, "^-----BEGIN EC PRIVATE KEY-----\n"),
    ] {
        let found = once(text);
        assert!(regex::Regex::new(shape).unwrap().is_match(&found), "{text} gave {found:?}");
        assert_eq!(once(text), found, "{text}");
    }
}
