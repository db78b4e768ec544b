use super::*;
use crate::envelope::tests::pair;

#[test]
fn a_text_says_for_whom_it_is_and_comes_back() {
    let key = pair(1);
    for whom in ["team-a", "team-a/app"] {
        let sealed = Sealed::new(key.public(), scope(whom).unwrap(), b"x").unwrap();
        let text = sealed.to_string();
        assert!(text.starts_with(&format!("sealed:{}:{whom}:", key.public().id())), "{text}");
        assert_eq!(text.parse::<Sealed>().unwrap(), sealed);
        let file = format!("a: {text}\nb: \"{text}\" # unsealed:{text}\nc: sealed:x\n");
        let found: Vec<_> = find(&file).into_iter().map(|at| &file[at]).collect();
        assert_eq!(found, [text.as_str(), &text]);
    }
}

#[test]
fn what_is_none_is_refused() {
    for text in [
        "",
        "sealed:",
        "sealed:0a0a0a0a:a",
        "sealed:0a0a0a0a:A_:AAAA",
        "sealed:0a0a0a0a:a:%",
        "sealed:key:a:AAAA",
        "0a0a0a0a:a:AAAA",
    ] {
        assert_eq!(text.parse::<Sealed>().unwrap_err().kind(), ErrorKind::Malformed, "{text}");
    }
    for whom in ["", "/", "a/", "/a", "a/b/c", "A"] {
        assert!(scope(whom).is_err(), "{whom}");
    }
}
