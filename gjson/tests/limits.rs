//! Whatever comes in, there is an answer: no panic, no overflow of a small stack, no endless loop.

#[allow(unused, reason = "shared with the differential test")]
mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use keyferry_gjson::{Kind, TooComplex, get, valid};
use support::random::Random;

/// A quarter of what the runtime gives its threads.
const STACK: usize = 512 << 10;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread").join().expect("no panic");
}

#[test]
fn noise() {
    on_a_small_stack(|| {
        let mut random = Random::new(7);
        for _ in 0..30_000 {
            let (json, path) = (random.noise(80), random.noise(40));
            if let Ok(value) = get(&json, &path) {
                assert_eq!(value.exists(), value.kind() != Kind::Missing);
                let _ = value.text().len();
            }
            let _ = valid(&json);
            let pair = random.pair();
            let _ = get(&json, &pair.path);
            let _ = get(&pair.json, &path);
        }
    });
}

#[test]
fn deep_documents() {
    on_a_small_stack(|| {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]"), ("(", ")")] {
            for n in [150, 250, 20_000] {
                let whole = format!("{}1{}", open.repeat(n), close.repeat(n));
                for json in [whole.as_str(), &open.repeat(n), &close.repeat(n)] {
                    for path in [
                        "a",
                        "0",
                        "#",
                        "#.a",
                        "#(a)#",
                        "*",
                        "@this",
                        "@valid",
                        "@ugly",
                        "@pretty",
                        "@reverse",
                        "@keys",
                        "@values",
                        "@flatten",
                        "@flatten:{\"deep\":true}",
                        "@join",
                        "@group",
                        "@tostr",
                        "@dig:x",
                        "@tostr.@fromstr",
                        "..#.a",
                    ] {
                        let _ = get(json.as_bytes(), path.as_bytes()).map(|value| value.text().len());
                    }
                    let _ = valid(json.as_bytes());
                }
                assert_eq!(valid(whole.as_bytes()), open != "(");
            }
        }
    });
}

#[test]
fn deep_paths() {
    on_a_small_stack(|| {
        let json = format!("{}1{}", "{\"a\":[".repeat(20_000), "]}".repeat(20_000));
        for part in [
            "a.0.",
            "a|0|",
            "a.",
            "#.",
            "#.#.",
            "a.#(",
            "#(a.",
            "{a,",
            "[",
            "{\"a\":",
            "@dig:",
            "@this.",
            "@this|",
            "!{",
            "*",
            "a*",
            "\\",
            "#(a==\"",
            "*?",
            "a.0.@pretty.",
            "#(#(",
            "@flatten:{\"deep\":true}|",
        ] {
            for n in [3, 150, 5_000] {
                let path = part.repeat(n);
                let _ = get(json.as_bytes(), path.as_bytes());
                let _ = get(format!("{{\"{}\":1}}", "a".repeat(n)).as_bytes(), path.as_bytes());
            }
        }
    });
}

#[test]
fn what_multiplies_is_refused() {
    let json = format!("[{}1]", "1,".repeat(2_000));
    let doubled = format!("@this{}", "|[@this,@this]".repeat(60));
    let quoted = format!("@tostr{}", ".@tostr".repeat(60));
    let indented = format!("@pretty:{{\"width\":1,\"prefix\":\"{}\"}}", "\\n".repeat(50_000));
    for path in [doubled, quoted, indented] {
        let begun = Instant::now();
        assert_eq!(get(json.as_bytes(), path.as_bytes()).err(), Some(TooComplex), "{path:.40}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    // Every star tries every place of the text.
    let json = format!("{{\"{}\":1}}", "a".repeat(500));
    let stars = "*a?".repeat(20) + "b*";
    let begun = Instant::now();
    assert!(get(json.as_bytes(), stars.as_bytes()).is_err());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn ordinary_work_is_far_from_the_limits() {
    let item = r#"{"name":"some name","age":37,"roles":["a","b","c"],"text":"some text that goes on"},"#;
    let mut json = "[".to_owned() + &item.repeat(10_000);
    json.pop();
    json.push(']');
    for path in [
        "#.name",
        "#(age==37)#.roles.0",
        "9999.name",
        "#(name%\"*x*\")#",
        "@reverse.0.name",
        "@pretty",
        "@ugly|@pretty|@ugly",
        "#.{name,age}",
        "@dig:name",
        "@join",
        "@tostr|@fromstr|#",
    ] {
        assert!(get(json.as_bytes(), path.as_bytes()).is_ok_and(|value| value.exists()), "{path}");
    }
    let deep = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    for path in ["@pretty", "@flatten:{\"deep\":true}", "@dig:0", &"0.".repeat(89)] {
        assert!(get(deep.as_bytes(), path.as_bytes()).is_ok(), "{path}");
    }
}
